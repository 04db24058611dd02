"""What a night cost, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["cost_lines", "duration", "price_text"]


def cost_lines(costs: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Lines of a night's summary: node-hours and, with prices, money, beside what was expected.

    Args:
        costs: what ``totals`` gave; None of a summary that has none.
    """
    if not costs:
        return []
    lines = [("node hours", f"{costs['node_hours']:.3g}")]
    if costs["estimated_seconds"] is not None:
        lines.append(
            (
                "seconds of the stages",
                f"{costs['seconds']:.4g}, expected {costs['estimated_seconds']:.4g}",
            )
        )
    if costs["price"] is not None:
        text = price_text(costs["price"], costs["currency"])
        if costs["estimated_price"] is not None:
            text += f", expected {price_text(costs['estimated_price'], costs['currency'])}"
        lines.append(("price", text))
    if costs["cost_per_million_images"] is not None:
        million = price_text(costs["cost_per_million_images"], costs["currency"])
        lines.append(("price of a million images", million))
    return lines


def price_text(price: float, currency: str | None) -> str:
    """A price with its currency: cents, and of less than that three digits that say something."""
    return f"{price:,.2f} {currency or ''}".strip() if price >= 1 else f"{price:.3g} {currency}"


def duration(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes = seconds / 60
    return f"{minutes:.3g} min" if minutes < 120 else f"{minutes / 60:.3g} h"
