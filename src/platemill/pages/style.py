"""The palette and the base style, said once for every page, and the icon."""

from __future__ import annotations

import base64
from importlib import resources
from typing import Final

__all__ = ["BASE_STYLE", "icon_bytes", "icon_url", "style_of"]

BASE_STYLE: Final = "base.css"
"""Colours for light and dark, type, tiles, tables, badges, charts."""


def style_of(package: str, name: str) -> str:
    """The whole style sheet of some pages: the base, then what is their own.

    Args:
        package: the package that holds ``static/NAME``.
        name: the file of their own style.
    """
    own = resources.files(package) / "static" / name
    return f"{_static(BASE_STYLE).decode()}\n{own.read_text(encoding='utf-8')}"


def icon_bytes() -> bytes:
    """The icon, SVG."""
    return _static("icon.svg")


def icon_url() -> str:
    """The icon as an address that a page can hold."""
    return "data:image/svg+xml;base64," + base64.b64encode(icon_bytes()).decode("ascii")


def _static(name: str) -> bytes:
    return (resources.files("platemill.pages") / "static" / name).read_bytes()
