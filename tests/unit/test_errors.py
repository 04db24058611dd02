"""Errors survive the border between processes, and each ends a command with its exit code."""

from __future__ import annotations

import pickle

import pytest

from platemill import errors
from platemill.errors import PlatemillError, error_from_record, error_record
from platemill.lake.trials import Refused

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, PlatemillError)
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_survives_pickling_and_its_record(kind: type[PlatemillError]) -> None:
    before = kind("something happened")
    for after in (pickle.loads(pickle.dumps(before)), error_from_record(error_record(before))):
        assert type(after) is kind
        assert str(after) == str(before)
        assert after.exit_code == before.exit_code


def test_a_rejection_keeps_its_reason_and_detail() -> None:
    after = pickle.loads(pickle.dumps(errors.ImageRejected("truncated", "ends after 12 bytes")))
    assert (after.reason, after.detail) == ("truncated", "ends after 12 bytes")


def test_a_record_of_a_foreign_error_is_one_of_ours() -> None:
    after = error_from_record(error_record(ZeroDivisionError("by zero")))
    assert type(after) is PlatemillError
    assert str(after) == "ZeroDivisionError: by zero"


def test_an_error_of_a_part_is_known_by_the_class_that_everybody_knows() -> None:
    record = error_record(Refused("the store says 403", 403, "AccessDenied"))
    assert record == {"error": "ConfigurationError", "text": "the store says 403"}
    assert error_from_record(record).exit_code == 2


def test_the_tree_at_the_top_names_every_error_with_its_code() -> None:
    assert errors.__doc__ is not None
    for kind in KINDS:
        (line,) = [line for line in errors.__doc__.splitlines() if kind.__name__ in line.split(" ")]
        if kind.exit_code != 1:
            assert f" {kind.exit_code} " in line
