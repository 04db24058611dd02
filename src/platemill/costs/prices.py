"""The price of time on nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from platemill.settings import Settings

__all__ = ["HOUR", "Prices"]

HOUR: Final = 3600.0


@dataclass(frozen=True)
class Prices:
    """A price table.

    Attributes:
        per_hour: what an hour of a node costs, by its kind; none: there are no prices.
        currency: what it is counted in.
    """

    per_hour: Mapping[str, float] = field(default_factory=dict)
    currency: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The settings' table."""
        return cls(settings.node_prices, settings.currency)

    @classmethod
    def from_json(cls, said: Any) -> Self:
        """What ``to_json`` gave; anything else is no price table. Raises ``ValueError``."""
        if not isinstance(said, dict) or not isinstance(said.get("per_hour"), dict):
            raise ValueError("no price table")
        per_hour = {str(kind): float(price) for kind, price in said["per_hour"].items()}
        return cls(per_hour, str(said.get("currency", "")))

    def to_json(self) -> dict[str, object]:
        """The table as JSON has it."""
        return {"per_hour": dict(self.per_hour), "currency": self.currency}

    def price(self, kind: str, node_seconds: float) -> float | None:
        """What that time on nodes of a kind costs; None if the kind has no price."""
        per_hour = self.per_hour.get(kind)
        return None if per_hour is None else node_seconds / HOUR * per_hour

    def at_most(self, kind: str, node_seconds: float) -> float:
        """``price``; of a kind that has none, at the dearest one's: a budget must not be fooled."""
        dearest = max(self.per_hour.values(), default=0.0)
        return node_seconds / HOUR * self.per_hour.get(kind, dearest)
