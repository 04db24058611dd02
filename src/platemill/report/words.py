"""What a night's page says in words."""

from __future__ import annotations

from platemill.pages import wording
from platemill.report.facts import NightFacts

__all__ = ["BADGES", "STAGES", "clock", "headline", "money", "places", "plural"]

BADGES = {
    "published": "good",
    "nothing new": "good",
    "budget spent": "warn",
    "running": "warn",
    "unfinished": "warn",
    "stopped": "warn",
    "failed": "bad",
    "crashed": "bad",
}
"""How a run's state is coloured."""

STAGES = {
    "inventory": "inventory",
    "plan": "plan",
    "recognise_start": "recognise: nodes start",
    "recognise": "recognise: shards",
    "recognise_idle": "recognise: nodes wait",
    "facts": "facts",
    "tiles": "tiles",
    "checks": "checks",
    "features": "features",
    "publish": "publish",
    "between": "from stage to stage",
}
"""Stages of ``run_costs`` in their order, as a person calls them."""


def headline(facts: NightFacts) -> str:
    """The night in one or two sentences."""
    came, done = facts.came, facts.done
    if came.seen is None:
        return _HOW.get(facts.state, "") + " It had not finished its inventory."
    parts = [f"{plural(came.images, 'image')} to recognise of {came.seen:,} in the archives."]
    if not came.images:
        parts = [f"Nothing to recognise among {plural(came.seen, 'image')} in the archives."]
    results = sum(row.images for row in done.days)
    if results:
        bad = done.total("quarantined")
        parts.append(
            f"{plural(done.total('plates'), 'plate')} in {done.total('recognised'):,} of them, "
            f"{done.total('no_plate'):,} show none"
            + (f", and {bad:,} could not be used." if bad else "; all of them could be used.")
        )
    if came.left:
        parts.append(f"The budget left {plural(sum(came.left.values()), 'image')} for later.")
    published = f"Published as generation {facts.generation}."
    parts.append(_HOW.get(facts.state, "") if facts.generation is None else published)
    return " ".join(filter(None, parts))


_HOW = {
    "published": "It was published.",
    "nothing new": "",
    "budget spent": "The budget paid for no whole day, and nothing was published.",
    "running": "It goes on.",
    "unfinished": "It did not end, and nobody works on it.",
    "stopped": "It was stopped, and published nothing.",
    "failed": "It failed, and published nothing.",
    "crashed": "Its process was killed, and it published nothing.",
}


def plural(many: int, what: str) -> str:
    """``1 image``, ``1,200 images``."""
    return f"{wording.count(many)} {what}{'' if many == 1 else 's'}"


def money(price: float | None, currency: str | None = None, digits: int | None = None) -> str:
    """A price with so many decimals; default: two, or as many as it needs to say something."""
    if price is None:
        return "–"
    digits = places(price) if digits is None else digits
    return f"{price:,.{digits}f} {currency or ''}".rstrip()


def places(price: float | None) -> int:
    """The decimals that a price needs: two, or those up to its second digit."""
    found = 2
    while price and abs(price) < 10 ** (1 - found) and found < 7:
        found += 1
    return found


def clock(seconds: float) -> str:
    """A time since the beginning: ``36 s``, ``4:05 min``, ``1:07 h``."""
    if seconds < 60:
        return (
            f"{seconds:.0f} s" if seconds >= 9.95 or seconds == int(seconds) else f"{seconds:.1f} s"
        )
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}:{minutes:02} h"
