"""Drawings are well-formed, say what they show, and are drawn from what is there."""

from __future__ import annotations

import xml.etree.ElementTree as Xml
from datetime import date, timedelta

import pytest
from small_lake import settings_for

from platemill.catalog.distributions import Bar
from platemill.catalog.lineage import ARCHIVE, Lineage, Node, draw_lineage, find_lineage
from platemill.catalog.statistics import Point
from platemill.features.catalog import SERVICES, TRAINING_SERVICES, views_of
from platemill.pages.charts import bars_chart, line_chart
from platemill.schema import DERIVED, FACTS, TILES

EVIL = "<script>\"&'"
DAYS = [date(2026, 5, 1) + timedelta(days=place) for place in range(5)]


def bars(svg: str) -> list[tuple[float, float]]:
    found = Xml.fromstring(svg).findall(".//rect[@class='bar']")
    return [(float(rect.attrib["y"]), float(rect.attrib["height"])) for rect in found]


def test_bars_stand_on_the_base_and_are_as_high_as_their_values() -> None:
    svg = str(bars_chart([Bar("a", 4), Bar("b", 2), Bar("c", 0)], EVIL, lambda bar: bar.label))
    root = Xml.fromstring(svg)
    assert root.attrib["aria-label"] == EVIL
    assert root.attrib["role"] == "img"
    drawn = bars(svg)
    assert drawn[0][1] == pytest.approx(2 * drawn[1][1], abs=0.11)
    assert drawn[2][1] == 0
    assert len({round(y + height) for y, height in drawn}) == 1
    assert [title.text for title in root.findall("./g/title")] == ["a", "b", "c"]


def test_a_line_breaks_where_there_is_nothing() -> None:
    values = [1.0, 2.0, None, 3.0, None]
    points = [Point(day, value) for day, value in zip(DAYS, values, strict=True)]
    root = Xml.fromstring(str(line_chart(points, EVIL, lambda value: f"{value} {EVIL}")))
    assert len(root.findall("./polyline")) == 1
    assert len(root.findall("./circle[@class='dot']")) == 1
    titles = [title.text for title in root.findall("./rect/title")]
    assert titles[0] == f"2026-05-01: 1.0 {EVIL}"
    assert titles[2] == "2026-05-03: no row"
    assert str(line_chart([Point(DAYS[0], None)], "x", str)) == ""
    Xml.fromstring(str(line_chart([Point(DAYS[0], 1.0)], "x", str)))


def test_lineage_is_what_the_sql_reads(tmp_path_factory: pytest.TempPathFactory) -> None:
    lineage = find_lineage(settings_for(tmp_path_factory.mktemp("home")).sql)
    assert lineage.parents[ARCHIVE] == ()
    assert lineage.parents["images"] == ("inventory",)
    assert lineage.parents["plate_day_v1"] == ("recognitions",)
    assert set(lineage.parents["plate_week_v1"]) == {"plate_day_v1", "plate_camera_day_v1"}
    for table in (*FACTS, *TILES, *DERIVED):
        assert ARCHIVE in lineage.around(table.name).nodes
    for table in DERIVED:
        assert table.derived_from in lineage.parents[table.name]
    for service in (*SERVICES, *TRAINING_SERVICES):
        served = {table.name for table in views_of(service)}
        assert set(lineage.parents[service.name]) == served
        assert lineage.depths()[service.name] == max(lineage.depths().values())
    for name, parents in lineage.parents.items():
        for parent in parents:
            assert lineage.depths()[parent] < lineage.depths()[name]
    around = lineage.around("image_lookup_v1")
    assert "plate_day_v1" not in around.nodes
    assert set(around.nodes) >= {"image_recognitions_v1", "images", ARCHIVE}


def test_the_drawing_holds_every_node_and_edge_and_no_box_lies_on_another(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    lineage = find_lineage(settings_for(tmp_path_factory.mktemp("home")).sql)
    root = Xml.fromstring(str(draw_lineage(lineage, marked={"images"}, notes={"images": EVIL})))
    nodes = root.findall(".//g[@data-node]")
    assert {node.attrib["data-node"] for node in nodes} == set(lineage.nodes)
    edges = {(e.attrib["data-from"], e.attrib["data-to"]) for e in root.findall(".//path")}
    assert edges == {(p, name) for name, parents in lineage.parents.items() for p in parents}
    places = []
    for node in nodes:
        rect = node.find("rect")
        assert rect is not None
        places.append([float(rect.attrib[side]) for side in ("x", "y", "width", "height")])
    width, height = (float(root.attrib[side]) for side in ("width", "height"))
    for place, (x, y, w, h) in enumerate(places):
        assert 0 <= x <= width - w
        assert 0 <= y <= height - h
        for x2, y2, w2, h2 in places[:place]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
    linked = {a.attrib["href"] for a in root.findall(".//a")}
    assert linked == {node.page for node in lineage.nodes.values() if node.page}
    assert [node.attrib["data-node"] for node in nodes if "marked" in node.attrib["class"]] == [
        "images"
    ]


def test_one_node_alone_is_drawn() -> None:
    root = Xml.fromstring(str(draw_lineage(Lineage({"a": Node("a", "fact")}, {"a": ()}))))
    assert len(root.findall(".//g")) == 1
