"""Numbers, sizes and times as people read them. The same value always gives the same text."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta

__all__ = [
    "capitalised",
    "count",
    "duration",
    "number",
    "share",
    "size",
    "stamp",
    "time_to_live",
]

_SIZES = ("bytes", "kB", "MB", "GB", "TB", "PB")
_LARGE = ((1e12, "T"), (1e9, "G"), (1e6, "M"))


def count(value: int) -> str:
    """``12,345``; from ten million on ``12.3 M``."""
    if abs(value) < 10_000_000:
        return f"{value:,}"
    for unit, letter in _LARGE:
        if abs(value) >= unit:
            return f"{value / unit:,.1f} {letter}"
    raise AssertionError(value)


def number(value: float | int) -> str:
    """A measured value to four digits: ``0.9812``, ``1,234``, ``3.4e-05``."""
    if isinstance(value, int):
        return count(value)
    if not math.isfinite(value):
        return "not a number"
    if value == int(value) and abs(value) < 10_000_000:
        return f"{int(value):,}"
    if abs(value) >= 10_000_000:
        return count(round(value))
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def share(part: int, whole: int) -> str:
    """A share in per cent; never 0 % of something and never 100 % of less than all."""
    if whole == 0:
        return "–"
    per_cent = 100 * part / whole
    if 0 < per_cent < 0.1:
        return "< 0.1 %"
    if 99.9 < per_cent < 100:
        return "> 99.9 %"
    return f"{per_cent:.1f} %" if part not in (0, whole) else f"{per_cent:.0f} %"


def size(value: int) -> str:
    """``512 bytes``, ``1.2 MB``: powers of a thousand."""
    amount = float(value)
    for unit in _SIZES:
        if amount < 1000 or unit == _SIZES[-1]:
            break
        amount /= 1000
    return f"{value:,} {unit}" if unit == _SIZES[0] else f"{amount:.3g} {unit}"


def stamp(value: date | datetime) -> str:
    """A day, or a time in UTC to the minute."""
    if isinstance(value, datetime):
        at = value.astimezone(UTC) if value.tzinfo else value
        return f"{at:%Y-%m-%d %H:%M}"
    return value.isoformat()


def duration(seconds: float) -> str:
    """A length of time in at most two units: ``0.34 s``, ``4 min 5 s``, ``3 h 7 min``."""
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for length, unit, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= length:
            # Rounded to the small unit first, so that nothing is 1 h 60 min.
            parts = round(whole / below)
            many, rest = divmod(parts, length // below)
            return f"{many} {unit} {rest} {small}" if rest else f"{many} {unit}"
    many, rest = divmod(whole, 60)
    return f"{many} min {rest} s" if rest else f"{many} min"


def time_to_live(value: timedelta) -> str:
    """A time to live in its largest whole unit: ``90 days``, ``3 years``."""
    days = value.days
    for length, unit in ((365, "year"), (1, "day")):
        if days % length == 0 and days // length > 0:
            many = days // length
            return f"{many} {unit}{'s' if many > 1 else ''}"
    return str(value)


def capitalised(text: str) -> str:
    """A text with its first letter large, unless it begins with the name of a column."""
    first = text.partition(" ")[0]
    return text if "_" in first else text[:1].upper() + text[1:]
