"""The page of a night in a real browser, from its file: whole, legible, on any screen, on paper."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_looks import CLIPPED, CONTRAST, picture, prefer, screen
from reported_nights import EVIL_CAMERA, reported_nights, two_nights, unfinished_night
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from small_journal import small_night, write_events

from platemill.errors import CheckFailed
from platemill.report import write_report

SECTIONS = ["came", "done", "failed", "times", "cost", "checks", "late", "models", "photos"]
PAGES = ["first", "second", "quiet", "failed", "shared"]
WIDTHS = [360, 768, 1280]
LONG = "3 checks failed, so run r1 was not published.\n  " + "images conservation 12 " * 20


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages of nights: a first, one with late changes, a quiet one, a failed one; one to share."""
    folder = tmp_path_factory.mktemp("nights")
    with reported_nights(tmp_path_factory.mktemp("a") / "home") as found:
        two_nights(found)
        found.run()
        for name, run, photos in (
            ("first", "r1", 24),
            ("second", "r2", 24),
            ("quiet", "r3", 24),
            ("shared", "r1", 0),
        ):
            write_report(found.settings, run, out=folder / f"{name}.html", photos=photos)
    with reported_nights(tmp_path_factory.mktemp("b") / "home") as found:
        unfinished_night(found, "r1", CheckFailed(LONG))
        write_events(found.settings.runs / "r1", small_night())
        next(found.archive.rglob("070502.jpg")).unlink()
        write_report(found.settings, out=folder / "failed.html")
    return folder


@pytest.fixture(autouse=True)
def from_the_start(browser: Chrome) -> Iterator[None]:
    """A wide light screen; afterwards nothing was complained of."""
    screen(browser, 1280)
    prefer(browser, "light")
    browser.get_log("browser")
    yield
    assert browser.get_log("browser") == []


def show(browser: Chrome, nights: Path, page: str) -> None:
    browser.get((nights / f"{page}.html").as_uri())


@pytest.mark.parametrize("page", PAGES)
def test_every_part_is_there_and_can_be_reached(browser: Chrome, nights: Path, page: str) -> None:
    show(browser, nights, page)
    heads = browser.find_elements(By.CSS_SELECTOR, "main > section > h2")
    assert [head.get_attribute("id") for head in heads if head.get_attribute("id") in SECTIONS] == (
        SECTIONS
    )
    links = browser.find_elements(By.CSS_SELECTOR, "nav a")
    assert [link.get_attribute("hash") for link in links] == [f"#{name}" for name in SECTIONS]
    links[3].click()
    top = browser.execute_script("return document.getElementById('times').offsetTop - scrollY")
    bar = browser.execute_script("return document.querySelector('.bar').offsetHeight")
    assert browser.current_url.endswith("#times")
    assert top >= bar, "the heading is below the bar, not behind it"


def test_pictures_are_drawn_with_their_boxes(browser: Chrome, nights: Path) -> None:
    show(browser, nights, "first")
    broken = browser.execute_script(
        "return [...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    )
    assert broken == 0
    views = browser.find_elements(By.CSS_SELECTOR, ".photo div.view")
    assert len(views) == 11, "one was changed since"
    for view in views:
        image = view.find_element(By.TAG_NAME, "img")
        drawn = view.find_element(By.TAG_NAME, "svg")
        assert abs(image.size["height"] - drawn.size["height"]) <= 1
        assert abs(image.size["width"] - drawn.size["width"]) <= 1
        assert "A000AA77" in (image.get_attribute("alt") or "")
        assert "A000AA77" in [t.text for t in view.find_elements(By.TAG_NAME, "text")]
    assert EVIL_CAMERA in browser.find_element(By.CSS_SELECTOR, ".cells").text


def test_a_photo_that_is_gone_is_a_sentence(browser: Chrome, nights: Path) -> None:
    show(browser, nights, "failed")
    [gone] = browser.find_elements(By.CSS_SELECTOR, ".photo .gone")
    assert gone.text == "The photo is not in its archive any more."


def test_a_page_to_share_shows_nobody(browser: Chrome, nights: Path) -> None:
    show(browser, nights, "shared")
    assert browser.find_elements(By.CSS_SELECTOR, "main img") == []
    assert "A000AA77" not in browser.find_element(By.TAG_NAME, "body").get_attribute("outerHTML")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_every_text_on_the_page_can_be_read(
    browser: Chrome, nights: Path, page: str, scheme: str
) -> None:
    prefer(browser, scheme)
    show(browser, nights, page)
    browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    # What is drawn over photos has an outline of its own.
    browser.execute_script("document.querySelectorAll('.overlay').forEach(o => o.remove())")
    seen, bad = browser.execute_script(CONTRAST)
    assert seen > 50
    assert bad == []
    shade = picture(browser).mean()
    assert shade < 60 if scheme == "dark" else shade > 200


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", PAGES)
def test_no_night_is_wider_than_the_screen(
    browser: Chrome, nights: Path, page: str, width: int
) -> None:
    screen(browser, width)
    show(browser, nights, page)
    browser.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(CLIPPED) == []


def test_drawings_have_names_and_tables_have_heads(browser: Chrome, nights: Path) -> None:
    show(browser, nights, "failed")
    charts = browser.find_elements(By.CSS_SELECTOR, "svg.chart")
    assert len(charts) > 10
    for chart in charts:
        assert chart.get_attribute("role") == "img" and chart.get_attribute("aria-label")
    for table in browser.find_elements(By.TAG_NAME, "table"):
        heads = table.find_elements(By.CSS_SELECTOR, "thead th")
        assert heads and all(head.get_attribute("scope") == "col" for head in heads)
    for box in browser.find_elements(By.CSS_SELECTOR, ".scroll"):
        assert box.get_attribute("tabindex") == "0" and box.get_attribute("aria-label")
    ids = [e.get_attribute("id") for e in browser.find_elements(By.CSS_SELECTOR, "[id]")]
    assert len(ids) == len(set(ids))


def test_the_keyboard_reaches_the_content_and_what_scrolls(browser: Chrome, nights: Path) -> None:
    show(browser, nights, "second")
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("class") == "skip"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    browser.switch_to.active_element.send_keys(Keys.TAB)
    reached = browser.switch_to.active_element.get_attribute("aria-label") or ""
    assert reached.startswith("Images by day")


def test_bars_lie_under_their_times(browser: Chrome, nights: Path) -> None:
    """A stage's bar begins where the axis says so, on a wide screen and on a small one."""
    for width in (1280, 360):
        screen(browser, width)
        show(browser, nights, "failed")
        edges = browser.execute_script(
            "const box = (e) => e.getBoundingClientRect();"
            "return [box(document.querySelector('.grid i')).left,"
            " box(document.querySelector('.row.stage .lane')).left,"
            " box(document.querySelector('.axis span')).left]"
        )
        assert max(edges) - min(edges) <= 1.5, edges


def test_on_paper_it_is_light_and_without_the_bar(browser: Chrome, nights: Path) -> None:
    prefer(browser, "dark")
    show(browser, nights, "first")
    given = {"printBackground": True, "paperWidth": 8.27, "paperHeight": 11.69}
    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", given)["data"])
    assert printed.startswith(b"%PDF") and 4 <= printed.count(b"/Type /Page\n") <= 20
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        shown = browser.find_element(By.CSS_SELECTOR, ".bar").is_displayed()
        colour = browser.execute_script("return getComputedStyle(document.body).color")
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert not shown
    assert colour == "rgb(27, 32, 35)"
