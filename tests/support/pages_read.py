"""Static pages as a test reads them: their texts, links, ids and snippets."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

__all__ = ["Page", "read_page", "read_pages"]

_VOID = {"meta", "link", "img", "input", "br"}


@dataclass
class Page:
    """What a page holds. ``snippets``: language and text, in their order on the page."""

    text: str = ""
    links: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    snippets: list[tuple[str, str]] = field(default_factory=list)
    scripts: list[str | None] = field(default_factory=list)
    attributes: set[str] = field(default_factory=set)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = Page()
        self._open: list[str] = []
        self._language: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in _VOID:
            self._open.append(tag)
        for name in ("href", "src"):
            if given.get(name):
                self.page.links.append(str(given[name]))
        if given.get("id"):
            self.page.ids.append(str(given["id"]))
        if tag == "script":
            self.page.scripts.append(given.get("src"))
        if "data-language" in given:
            self._language = str(given["data-language"])
            self.page.snippets.append((self._language, ""))
        self.page.attributes |= set(given)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open[-1] == tag, f"</{tag}> inside of {self._open}"
        self._open.pop()
        if tag == "code":
            self._language = None

    def handle_data(self, data: str) -> None:
        self.page.text += data
        if self._language is not None:
            language, text = self.page.snippets[-1]
            self.page.snippets[-1] = (language, text + data)

    def close(self) -> None:
        super().close()
        assert not self._open, f"never closed: {self._open}"


def read_page(path: Path) -> Page:
    """Read a page; an element that is not closed in its place is an error."""
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    return reader.page


def read_pages(folder: Path) -> dict[str, Page]:
    """Every page of a folder, by its file's name."""
    return {path.name: read_page(path) for path in sorted(folder.glob("*.html"))}
