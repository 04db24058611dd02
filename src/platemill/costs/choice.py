"""Which days of a night a budget pays for: whole days, the newest first.

What readers miss most in the morning is the day before; a backlog takes what is left of the money.
A day that does not fit is passed over, for smaller ones behind it may.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from platemill.costs.estimate import DayWork, Estimate
from platemill.errors import ConfigurationError
from platemill.settings import Settings

__all__ = ["Choice", "choose_days", "money", "require_prices"]


@dataclass(frozen=True)
class Choice:
    """What a budget decides.

    Attributes:
        estimate: of the days that it pays for.
        left: the days that it does not, sorted.
    """

    estimate: Estimate
    left: tuple[DayWork, ...] = ()


def require_prices(settings: Settings, budget: float | None) -> None:
    """Refuse a budget that nothing can be compared with.

    Raises:
        ConfigurationError: it is not above zero, or there is no price.
    """
    if budget is None:
        return
    if not budget > 0:
        raise ConfigurationError(f"--budget takes a price above 0, not {budget:g}")
    if not settings.node_prices:
        raise ConfigurationError(
            "--budget needs to know what a node costs: set PLATEMILL_NODE_PRICES, "
            """'{"cpu": 0.10}' say, the price of an hour by the kind of node"""
        )


def choose_days(
    days: Sequence[DayWork],
    budget: float | None,
    expect: Callable[[Sequence[DayWork]], Estimate],
) -> Choice:
    """Take days, the newest first, as long as the night is expected to stay within the budget.

    Without anything measured before, all days are taken: the night is stopped when it has spent
    the budget. Without a budget, too.

    Args:
        days: what there is to do.
        budget: what the night may cost, in the currency of the price table.
        expect: what a night over some of the days is expected to take.

    Raises:
        ConfigurationError: a kind of node has no price, or the budget is too small for any day.
    """
    everything = expect(days)
    if budget is None or everything.stages is None or not days:
        return Choice(everything)
    if everything.unpriced:
        raise ConfigurationError(
            f"a budget needs a price for every kind of node; {', '.join(everything.unpriced)} has "
            "none in PLATEMILL_NODE_PRICES"
        )
    taken: list[DayWork] = []
    left: list[DayWork] = []
    for day in sorted(days, key=lambda work: work.day, reverse=True):
        price = expect([*taken, day]).price
        (taken if price is not None and price <= budget else left).append(day)
    if not taken:
        prices = [(expect([day]).price or 0.0, day.day) for day in days]
        least, cheapest = min(prices)
        raise ConfigurationError(
            f"a budget of {money(budget, everything)} does not pay for any day: the least, "
            f"{cheapest} alone, is expected to cost {money(least, everything)}. Nothing was "
            "started; raise the budget, or name fewer images with --archive"
        )
    taken.sort(key=_day)
    return Choice(expect(taken), tuple(sorted(left, key=_day)))


def money(price: float, estimate: Estimate) -> str:
    """A price with its currency, with three digits that say something."""
    return f"{price:.3g} {estimate.prices.currency}".strip()


def _day(work: DayWork) -> dt.date:
    return work.day
