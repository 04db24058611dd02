"""Which images of a shard kill: found by trying groups alone, and single images in the end.

A death costs a server's or worker's start, seconds; a group that lives costs milliseconds. So the
search does not halve: it cuts a shard of n images into about √n groups, and a group that died into
single images. A single image is poison when it has killed twice, alone; one that kills once and
then lives is cleared. Knows nothing of what runs it.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from platemill.schema import Stage

__all__ = ["POISON", "Death", "Ending", "Isolation", "PoisonSearch", "Step", "Verdict"]

POISON: Final = "poison"
"""The reason in ``images.reason``."""

_DEATHS_ALONE: Final = 2
_FAILURES: Final = 3
_SEARCHES: Final = 3


@dataclass(frozen=True, slots=True)
class Death:
    """What is known of a death: where the image was, and what was seen, for people."""

    stage: Stage
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why an image is poison: where it killed, what was seen, and how often it killed alone."""

    stage: Stage
    detail: str
    deaths: int


class PoisonSearch:
    """Finds the members of a group that kill.

    Ask ``group`` what to try alone next, try it, and say ``lived`` or ``died``; an empty group
    ends the search. With k killers among n members there are at most 3k deaths, and at most
    √n + 2 + k(√n + 1) tries.

    Args:
        members: n different numbers.
    """

    def __init__(self, members: Sequence[int]) -> None:
        self.verdicts: dict[int, Verdict] = {}
        self.deaths = 0
        self._alone: Counter[int] = Counter()
        size = max(1, math.isqrt(len(members)))
        starts = range(0, len(members), size)
        self._groups = deque(tuple(members[start : start + size]) for start in starts)

    @property
    def group(self) -> tuple[int, ...]:
        """What to try next; the same until ``lived`` or ``died`` is said."""
        return self._groups[0] if self._groups else ()

    def lived(self) -> None:
        """All of the group were tried, and nothing died."""
        self._groups.popleft()

    def died(self, death: Death) -> None:
        """Something died while the group was tried."""
        group = self._groups.popleft()
        self.deaths += 1
        if len(group) > 1:
            self._groups.extendleft((member,) for member in reversed(group))
            return
        (member,) = group
        self._alone[member] += 1
        if self._alone[member] >= _DEATHS_ALONE:
            self.verdicts[member] = Verdict(death.stage, death.detail, self._alone[member])
        else:
            self._groups.appendleft(group)


class Ending(Enum):
    """What became of an isolation."""

    GOES_ON = auto()
    RECORDED = auto()
    GIVEN_UP = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next with an isolated shard, one image after the other.

    Args:
        images: places in the shard, ascending.
        record: recognise and record the whole shard, less the poison; else only try the images.
    """

    images: tuple[int, ...]
    record: bool


class Isolation:
    """A shard that was there at two deaths, worked alone: recorded if it lives, else searched.

    Args:
        images: how many images the shard has.
    """

    def __init__(self, images: int) -> None:
        self._images = images
        self._search: PoisonSearch | None = None
        self._searches = 0
        self._failures = 0
        self._verdicts: dict[int, Verdict] = {}
        self.deaths = 0
        self.ending = Ending.GOES_ON

    @property
    def verdicts(self) -> Mapping[int, Verdict]:
        """The poison that is known by now, by its place in the shard."""
        return MappingProxyType(self._verdicts)

    @property
    def step(self) -> Step:
        """What to do next; the same until one of the three below is said."""
        if self._search is not None:
            return Step(self._search.group, record=False)
        return Step(self._left(), record=True)

    def lived(self) -> None:
        """The step ended well."""
        self._failures = 0
        if self._search is None:
            self.ending = Ending.RECORDED
            return
        self._search.lived()
        self._after_a_try()

    def died(self, death: Death) -> None:
        """The server or the worker died in the step, or never answered."""
        self.deaths += 1
        if self._search is not None:
            self._search.died(death)
            self._after_a_try()
        elif self._searches == _SEARCHES or not self._left():
            self.ending = Ending.GIVEN_UP
        else:
            self._searches += 1
            self._search = PoisonSearch(self._left())

    def failed(self) -> None:
        """The step failed without a death, for want of memory say; it is done again a few times."""
        self._failures += 1
        if self._failures == _FAILURES:
            self.ending = Ending.GIVEN_UP

    def _left(self) -> tuple[int, ...]:
        return tuple(place for place in range(self._images) if place not in self._verdicts)

    def _after_a_try(self) -> None:
        if self._search is not None:
            self._verdicts |= self._search.verdicts
            if not self._search.group:
                self._search = None
