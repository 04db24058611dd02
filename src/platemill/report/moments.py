"""When what happened in a night, as plain values: stages, nodes, workers, and what was lost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["Bar", "Lane", "LostPart", "Mark", "StageTry", "Times"]


@dataclass(frozen=True)
class StageTry:
    """An attempt at a stage, in seconds since the run's first sign.

    ``error`` is the class of what it failed with; a cut off one has neither that nor an end of its
    own.
    """

    stage: str
    began: float
    ended: float
    attempt: int = 1
    error: str = ""
    text: str = ""
    is_open: bool = False

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


@dataclass(frozen=True)
class LostPart:
    """Something that went away: when, what, where and why; ``times`` in a row for the same."""

    at: float
    what: str
    where: str
    why: str
    times: int = 1


@dataclass(frozen=True)
class Bar:
    """A time in a lane, in seconds since the run's first sign."""

    began: float
    ended: float
    said: str
    kind: str = ""


@dataclass(frozen=True)
class Mark:
    """A moment in a lane."""

    at: float
    said: str
    kind: str = ""


@dataclass(frozen=True)
class Lane:
    """A row of the timeline: a stage, a node or a worker."""

    name: str
    kind: str
    bars: tuple[Bar, ...] = ()
    marks: tuple[Mark, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Times:
    """When what happened.

    Attributes:
        began: the time of the first sign in the journal.
        seconds: from there to the last one.
        tries: attempts at stages, in the order of their beginning.
        nodes: nodes, each followed by its workers, as lanes.
        more_workers: workers that got no lane.
        rate: images a second, at equal steps.
        rate_began: where the first step begins.
        step: how long a step is.
        lost: what went away or failed, in the order of time.
        more_lost: how often more.
    """

    began: datetime
    seconds: float
    tries: tuple[StageTry, ...] = ()
    nodes: tuple[Lane, ...] = ()
    more_workers: int = 0
    rate: tuple[float, ...] = ()
    rate_began: float = 0.0
    step: float = 1.0
    lost: tuple[LostPart, ...] = ()
    more_lost: int = 0
