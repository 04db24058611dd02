"""Where everything comes from: archive → inventory → facts → tiles → services, and its drawing.

The edges are what the SQL files mention and what the services serve; nothing is drawn by hand.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markupsafe import Markup, escape

from platemill.features.catalog import (
    OFFLINE_VIEWS,
    SERVICES,
    TRAINING_SERVICES,
    VIEWS,
    views_of,
)
from platemill.schema import DERIVED, FACTS, INVENTORY, TILES, Table
from platemill.warehouse.duck import mentioned
from platemill.warehouse.sql_files import read_sql

__all__ = ["ARCHIVE", "Lineage", "Node", "draw_lineage", "find_lineage"]

ARCHIVE = "archive"
"""The name of the node where everything begins."""

_TALL, _HEAD = 42, 30
_BETWEEN, _BELOW = 50, 14
# The width of a letter of a name, and what a passing edge's place is called by.
_LETTER = 7.3
_PASSES = "→"


@dataclass(frozen=True)
class Node:
    """A place that rows pass.

    Attributes:
        name: of the table, view or service.
        kind: ``source``, ``fact``, ``tile`` (or a view over tiles), ``view`` (what the feature
            store takes) or ``service``; a page's colours follow it.
        page: the page that tells more; empty if there is none.
    """

    name: str
    kind: str
    page: str = ""


@dataclass(frozen=True)
class Lineage:
    """The nodes by name, and from which nodes each of them is made."""

    nodes: Mapping[str, Node]
    parents: Mapping[str, tuple[str, ...]]

    def children(self, name: str) -> tuple[str, ...]:
        """The nodes that are made from one, in the order of ``nodes``."""
        return tuple(node for node in self.nodes if name in self.parents[node])

    def around(self, name: str) -> Lineage:
        """The part that a node depends on or that depends on it."""
        kept = {name, *self._reach(name, up=True), *self._reach(name, up=False)}
        return Lineage(
            {node: what for node, what in self.nodes.items() if node in kept},
            {
                node: tuple(parent for parent in self.parents[node] if parent in kept)
                for node in self.nodes
                if node in kept
            },
        )

    def depths(self) -> dict[str, int]:
        """How many steps each node is from the archive, by the longest way; services are last."""
        found: dict[str, int] = {}

        def depth(name: str) -> int:
            if name not in found:
                found[name] = 1 + max((depth(above) for above in self.parents[name]), default=-1)
            return found[name]

        for name in self.nodes:
            depth(name)
        last = max(found.values(), default=0)
        services = {name for name, node in self.nodes.items() if node.kind == "service"}
        return {name: last if name in services else place for name, place in found.items()}

    def _reach(self, name: str, *, up: bool) -> set[str]:
        found: set[str] = set()
        ahead = [name]
        while ahead:
            here = ahead.pop()
            for other in self.parents[here] if up else self.children(here):
                if other not in found:
                    found.add(other)
                    ahead.append(other)
        return found


def find_lineage(sql: Path) -> Lineage:
    """Read who is made from whom; what tells about the others, as check results do, is not in it.

    Args:
        sql: the folder of SQL files, one folder a table version.

    Raises:
        ConfigurationError: a table's SQL file is missing.
    """
    nodes = {
        ARCHIVE: Node(ARCHIVE, "source"),
        INVENTORY.name: Node(INVENTORY.name, "source"),
    }
    parents: dict[str, tuple[str, ...]] = {ARCHIVE: (), INVENTORY.name: (ARCHIVE,)}
    for table in (*FACTS, *TILES, *DERIVED):
        nodes[table.name] = Node(table.name, _kind(table), f"{table.name}.html")
        parents[table.name] = (INVENTORY.name,) if table in FACTS else _sources(sql, table)
    for service in (*SERVICES, *TRAINING_SERVICES):
        nodes[service.name] = Node(service.name, "service", f"{service.name}.html")
        parents[service.name] = tuple(table.name for table in views_of(service))
    return Lineage(nodes, parents)


def _kind(table: Table) -> str:
    return "fact" if table in FACTS else "view" if table in (*VIEWS, *OFFLINE_VIEWS) else "tile"


def _sources(sql: Path, table: Table) -> tuple[str, ...]:
    text = read_sql(sql, table.name, "query.sql" if table.derived_from is None else "view.sql")
    return tuple(source.name for source in mentioned(text) if source is not table)


def draw_lineage(
    lineage: Lineage, *, marked: Collection[str] = (), notes: Mapping[str, str] | None = None
) -> Markup:
    """Draw a lineage from left to right as an SVG whose colours are the page's.

    An edge that passes a column has a place of its own in it, so that it runs beside the boxes.

    Args:
        lineage: what to draw.
        marked: nodes that stand out.
        notes: a short line below a node's name, by the name.
    """
    ways = _ways(lineage)
    columns = _columns(lineage, ways)
    wides = [max(_wide(name) for name in column) for column in columns]
    lefts = [2 + sum(wides[:number]) + number * _BETWEEN for number in range(len(columns))]
    talls = [sum(map(_tall, column)) for column in columns]
    height = _HEAD + max(talls) + _BELOW
    width = lefts[-1] + wides[-1] + 2
    places: dict[str, _Place] = {}
    for number, column in enumerate(columns):
        top = _HEAD + (max(talls) - talls[number]) / 2 + _BELOW / 2
        for name in column:
            middle = top + (_tall(name) - _BELOW) / 2
            places[name] = _Place(lefts[number], lefts[number] + wides[number], middle)
            top += _tall(name)
    parts = [_edge([places[step] for step in way], way[0], way[-1]) for way in ways]
    told = notes or {}
    parts += [
        _box(node, places[name], told.get(name, ""), marked=name in marked)
        for name, node in lineage.nodes.items()
    ]
    said = escape(_in_words(lineage))
    return Markup(
        f'<svg class="lineage" role="img" aria-label="{said}" viewBox="0 0 {width} {height:.0f}" '
        f'width="{width}" height="{height:.0f}">{_heads(lineage, columns, lefts)}'
        f"{''.join(parts)}</svg>"
    )


@dataclass(frozen=True)
class _Place:
    """Left and right edge of a node's column, and the node's middle, in pixels."""

    left: float
    right: float
    middle: float


def _ways(lineage: Lineage) -> list[list[str]]:
    """Each edge as the places that it passes: its two ends, and one in every column between."""
    depths = lineage.depths()
    ways = []
    for name in lineage.nodes:
        for parent in lineage.parents[name]:
            between = range(depths[parent] + 1, depths[name])
            ways.append([parent, *(f"{parent}{_PASSES}{name}@{d}" for d in between), name])
    return ways


def _columns(lineage: Lineage, ways: Sequence[Sequence[str]]) -> list[list[str]]:
    """The nodes and the passing edges by depth, each column in an order with few crossings."""
    depths = lineage.depths()
    for way in ways:
        for step, name in enumerate(way):
            depths[name] = depths[way[0]] + step if _PASSES in name else depths[name]
    columns = [
        [name for name, at in depths.items() if at == depth]
        for depth in sorted(set(depths.values()))
    ]
    before: dict[str, list[str]] = {name: [] for name in depths}
    after: dict[str, list[str]] = {name: [] for name in depths}
    for way in ways:
        for one, next_one in pairwise(way):
            before[next_one].append(one)
            after[one].append(next_one)
    for _ in range(8):
        for left, right in pairwise(columns):
            right.sort(key=_Middle(left, before))
        for left, right in reversed(list(pairwise(columns))):
            left.sort(key=_Middle(right, after))
    return columns


class _Middle:
    """The mean place of a node's neighbours in another column, as a key to sort by."""

    def __init__(self, order: Sequence[str], neighbours: Mapping[str, Sequence[str]]) -> None:
        self._places = {name: place for place, name in enumerate(order)}
        self._neighbours = neighbours

    def __call__(self, name: str) -> float:
        known = [self._places[other] for other in self._neighbours[name] if other in self._places]
        return sum(known) / len(known) if known else len(self._places) / 2


def _wide(name: str) -> float:
    return 0 if _PASSES in name else len(name) * _LETTER + 28


def _tall(name: str) -> float:
    return (10 if _PASSES in name else _TALL) + _BELOW


_TITLES = {
    "source": "what is archived",
    "fact": "facts",
    "tile": "tiles and views",
    "view": "tiles and views",
    "service": "services",
}


def _heads(lineage: Lineage, columns: Sequence[Sequence[str]], lefts: Sequence[float]) -> str:
    """A title above the first column of each kind."""
    parts, said = [], ""
    for column, left in zip(columns, lefts, strict=True):
        title = next(_TITLES[lineage.nodes[name].kind] for name in column if _PASSES not in name)
        if title != said:
            parts.append(f'<text class="head" x="{left:.0f}" y="14">{escape(title)}</text>')
        said = title
    return "".join(parts)


def _edge(steps: Sequence[_Place], parent: str, name: str) -> str:
    drawn = f"M{steps[0].right:.0f},{steps[0].middle:.1f}"
    for one, other in pairwise(steps):
        bend = (other.left - one.right) / 2
        drawn += (
            f" C{one.right + bend:.0f},{one.middle:.1f} {other.left - bend:.0f},"
            f"{other.middle:.1f} {other.left:.0f},{other.middle:.1f}"
        )
        if other is not steps[-1]:
            drawn += f" H{other.right:.0f}"
    return f'<path class="edge" data-from="{escape(parent)}" data-to="{escape(name)}" d="{drawn}"/>'


def _box(node: Node, place: _Place, note: str, *, marked: bool) -> str:
    x, y, wide = place.left, place.middle - _TALL / 2, place.right - place.left
    name = escape(node.name)
    line = y + (18 if note else 26)
    small = f'<text class="note" x="{x + 13:.0f}" y="{y + 33:.1f}">{escape(note)}</text>'
    inside = (
        f'<rect x="{x:.0f}" y="{y:.1f}" width="{wide:.0f}" height="{_TALL}" rx="7"/>'
        f'<rect class="stripe" x="{x:.0f}" y="{y + 9:.1f}" width="3" height="{_TALL - 18}"/>'
        f'<text class="name" x="{x + 13:.0f}" y="{line:.1f}">{name}</text>{small if note else ""}'
    )
    kind = f"node {node.kind}{' marked' if marked else ''}"
    group = f'<g class="{kind}" data-node="{name}">{inside}</g>'
    return f'<a href="{escape(node.page)}">{group}</a>' if node.page else group


def _in_words(lineage: Lineage) -> str:
    said = [
        f"{name} from {', '.join(lineage.parents[name])}"
        for name in lineage.nodes
        if lineage.parents[name]
    ]
    return "Lineage: " + "; ".join(said)
