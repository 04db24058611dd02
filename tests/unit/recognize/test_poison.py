"""The search for images that kill: with any killers, exactly they are found, at a bounded price."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platemill.recognize.poison import Death, Ending, Isolation, PoisonSearch
from platemill.schema import Stage

DEATH = Death(Stage.INFER, "it died")
SIZES = st.integers(0, 200)


@st.composite
def killers_among(draw: st.DrawFn) -> tuple[int, set[int]]:
    size = draw(st.integers(1, 200))
    return size, draw(st.sets(st.integers(0, size - 1)))


def searched(size: int, killers: Collection[int]) -> tuple[PoisonSearch, int]:
    """Search among ``size`` images; also how many groups were tried."""
    search = PoisonSearch(range(size))
    tries = 0
    while search.group:
        tries += 1
        if set(search.group) & set(killers):
            search.died(DEATH)
        else:
            search.lived()
    return search, tries


@given(killers_among())
def test_exactly_the_killers_are_found(case: tuple[int, set[int]]) -> None:
    size, killers = case
    search, tries = searched(size, killers)
    assert set(search.verdicts) == killers
    assert all(verdict.deaths == 2 for verdict in search.verdicts.values())
    assert search.deaths <= 3 * len(killers)
    assert tries <= math.sqrt(size) + 2 + len(killers) * (math.sqrt(size) + 1)


def test_one_killer_of_a_usual_shard_costs_three_deaths() -> None:
    search, tries = searched(128, {77})
    assert (search.deaths, tries) == (3, 24)


@given(killers_among())
def test_what_kills_once_only_is_cleared(case: tuple[int, set[int]]) -> None:
    size, killers = case
    search = PoisonSearch(range(size))
    killed: Counter[int] = Counter()
    while search.group:
        (guilty, *_) = [*(set(search.group) & killers), None]
        if guilty is not None and not killed[guilty]:
            killed[guilty] += 1
            search.died(DEATH)
        else:
            search.lived()
    assert search.verdicts == {}


def isolated(size: int, killers: Collection[int], limit: int = 10_000) -> Isolation:
    isolation = Isolation(size)
    for _ in range(limit):
        if isolation.ending is not Ending.GOES_ON:
            return isolation
        if set(isolation.step.images) & set(killers):
            isolation.died(DEATH)
        else:
            isolation.lived()
    raise AssertionError("it does not end")


@given(killers_among())
def test_a_shard_is_recorded_whole_but_for_its_killers(case: tuple[int, set[int]]) -> None:
    size, killers = case
    isolation = isolated(size, killers)
    assert isolation.ending is Ending.RECORDED
    assert set(isolation.verdicts) == killers
    assert isolation.deaths <= 1 + 3 * len(killers)
    assert isolation.step.record
    assert set(isolation.step.images) == set(range(size)) - killers


def test_an_innocent_shard_is_recorded_at_once() -> None:
    isolation = Isolation(128)
    assert isolation.step.record
    isolation.lived()
    assert isolation.ending is Ending.RECORDED


def test_a_shard_that_dies_only_as_a_whole_is_given_up_after_some_searches() -> None:
    isolation = Isolation(30)
    rounds = 0
    while isolation.ending is Ending.GOES_ON:
        if isolation.step.record:
            rounds += 1
            isolation.died(DEATH)
        else:
            isolation.lived()
    assert isolation.ending is Ending.GIVEN_UP
    assert rounds == 4
    assert isolation.verdicts == {}


def test_a_shard_that_dies_though_all_its_images_are_known_is_given_up() -> None:
    isolation = Isolation(1)
    for _ in range(3):
        isolation.died(DEATH)
    assert isolation.step.images == ()
    assert isolation.step.record
    isolation.died(DEATH)
    assert isolation.ending is Ending.GIVEN_UP


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_failures_without_a_death_are_tried_again_a_few_times(failures: int) -> None:
    isolation = Isolation(4)
    for _ in range(failures):
        isolation.failed()
    given_up = isolation.ending is Ending.GIVEN_UP
    assert given_up == (failures == 3)
    assert isolation.deaths == 0
