"""The catalogue in a real browser, from its files: search, copying, themes, screens, contrast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from catalog_homes import EVIL
from page_looks import CLIPPED, CONTRAST, picture, prefer, screen
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

KINDS = ["index", "lineage", "plate_day_v1", "camera_day_v1", "image_recognitions_v1", "images"]
KINDS += ["check_results", "plate_trailing_v1", "plate_lookup_v1", "camera_history_v1"]
WIDTHS = [390, 768, 1280]


@pytest.fixture(autouse=True)
def from_the_start(browser: Chrome, pages: Path) -> Iterator[None]:
    """A wide light screen and no remembered theme; afterwards nothing was complained of."""
    screen(browser, 1280)
    prefer(browser, "light")
    show(browser, pages, "index")
    browser.execute_script("localStorage.clear()")
    browser.get_log("browser")
    yield
    assert browser.get_log("browser") == []


def show(browser: Chrome, folder: Path, page: str) -> None:
    browser.get(f"{(folder / f'{page}.html').as_uri()}")


def shown(browser: Chrome, selector: str) -> list[str]:
    return [e.text for e in browser.find_elements(By.CSS_SELECTOR, selector) if e.is_displayed()]


def cards(browser: Chrome) -> list[str]:
    return shown(browser, ".card h3")


def test_the_search_finds_tables_and_fields(browser: Chrome, pages: Path) -> None:
    everything = cards(browser)
    assert len(everything) > 15
    box = browser.find_element(By.ID, "search")
    browser.find_element(By.TAG_NAME, "body").send_keys("/")
    assert browser.switch_to.active_element == box
    box.send_keys("plate_camera")
    assert cards(browser) == ["plate_camera_day_v1"]
    box.clear()
    box.send_keys("gap seconds WEEK")
    found = cards(browser)
    assert "plate_week_v1" in found
    assert "images" not in found
    assert any(text.startswith("gap_max_seconds") for text in shown(browser, ".hits li"))
    assert browser.find_element(By.ID, "found").text.startswith(f"{len(found)} cards")
    box.clear()
    box.send_keys("pixels")
    fields = shown(browser, ".hits li")
    assert len(fields) >= 7
    assert all("pixels" in text for text in fields)
    # An empty group says nothing.
    assert "Services" not in shown(browser, "h2")
    box.clear()
    box.send_keys("no such thing")
    assert cards(browser) == []
    assert browser.find_element(By.ID, "found").text == "Nothing is called that."
    box.send_keys(Keys.CONTROL + "a", Keys.DELETE)
    assert cards(browser) == everything
    assert shown(browser, ".hits li") == []
    box.send_keys("weekday_share")
    browser.find_element(By.CSS_SELECTOR, ".hits:not([hidden]) li:not([hidden]) a").click()
    assert browser.current_url.endswith("#weekday_share")
    row = browser.find_element(By.ID, "weekday_share")
    assert row.is_displayed()
    assert browser.execute_script("return arguments[0].matches(':target')", row)


def test_a_snippet_is_copied(browser: Chrome, pages: Path) -> None:
    show(browser, pages, "camera_load_v1")
    origin = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    browser.execute_cdp_cmd("Browser.grantPermissions", origin)
    buttons = browser.find_elements(By.CSS_SELECTOR, ".copy")
    assert len(buttons) >= 4
    for button in buttons:
        text = browser.find_element(By.ID, button.get_attribute("data-copy"))
        button.click()
        WebDriverWait(browser, 10).until(lambda _, b=button: b.text == "Copied")
        copied = browser.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
        assert copied == text.get_attribute("textContent")


def test_a_snippet_is_copied_where_there_is_no_clipboard(browser: Chrome, pages: Path) -> None:
    show(browser, pages, "camera_day_v1")
    browser.execute_script(
        "navigator.clipboard.writeText = () => Promise.reject(new Error('over http'));"
        "document.addEventListener('copy', () => { window.heard = getSelection().toString(); });"
    )
    button = browser.find_element(By.CSS_SELECTOR, ".copy")
    wanted = browser.find_element(By.ID, button.get_attribute("data-copy"))
    button.click()
    WebDriverWait(browser, 10).until(lambda _: button.text == "Copied")
    assert browser.execute_script("return window.heard") == wanted.get_attribute("textContent")
    assert browser.find_elements(By.TAG_NAME, "textarea") == []


def brightness(browser: Chrome) -> float:
    return float(picture(browser).mean())


def test_the_theme_follows_the_system_until_it_is_chosen(browser: Chrome, pages: Path) -> None:
    light = brightness(browser)
    prefer(browser, "dark")
    dark = brightness(browser)
    assert dark < 60 < 200 < light
    browser.find_element(By.CLASS_NAME, "theme").click()
    assert brightness(browser) > 200
    show(browser, pages, "lineage")
    assert brightness(browser) > 200, "what was chosen holds on the next page"
    browser.find_element(By.CLASS_NAME, "theme").click()
    prefer(browser, "light")
    assert brightness(browser) < 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", KINDS)
def test_every_text_can_be_read(browser: Chrome, pages: Path, page: str, scheme: str) -> None:
    prefer(browser, scheme)
    show(browser, pages, page)
    seen, bad = browser.execute_script(CONTRAST)
    assert seen > 20
    assert bad == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", KINDS)
def test_nothing_is_wider_than_the_screen(
    browser: Chrome, pages: Path, page: str, width: int
) -> None:
    screen(browser, width)
    show(browser, pages, page)
    document = "return document.documentElement"
    assert browser.execute_script(f"{document}.scrollWidth") <= width
    assert browser.execute_script(CLIPPED) == []
    high = min(browser.execute_script(f"{document}.scrollHeight"), 4000)
    screen(browser, width, high)
    drawn = picture(browser)
    assert drawn.shape == (high, width)
    assert drawn.std() > 5, "the page is blank"


@pytest.mark.parametrize("page", ["index", "plate_day_v1", "plate_lookup_v1", "lineage"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_home_without_photos_looks_right_too(
    browser: Chrome, empty_pages: Path, page: str, width: int
) -> None:
    screen(browser, width)
    for scheme in ("light", "dark"):
        prefer(browser, scheme)
        show(browser, empty_pages, page)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert browser.execute_script(CLIPPED) == []
        assert browser.execute_script(CONTRAST)[1] == []
    assert browser.find_elements(By.CSS_SELECTOR, ".chart") == []


def test_a_name_that_is_a_script_is_a_text(browser: Chrome, pages: Path) -> None:
    for page in ("camera_day_v1", "camera_load_v1", "images", "plate_day_v1"):
        show(browser, pages, page)
    show(browser, pages, "camera_day_v1")
    assert EVIL in [
        e.get_attribute("textContent")
        for e in browser.find_elements(By.CSS_SELECTOR, ".top .value")
    ]


def test_charts_have_a_name_and_tell_what_is_pointed_at(browser: Chrome, pages: Path) -> None:
    show(browser, pages, "camera_day_v1")
    charts = browser.find_elements(By.CSS_SELECTOR, "svg.chart")
    assert len(charts) > 20
    for chart in charts:
        assert chart.get_attribute("role") == "img"
        assert chart.get_attribute("aria-label")
        width, height = chart.size["width"], chart.size["height"]
        assert width > 100 and height > 30
    hours = browser.find_elements(By.CSS_SELECTOR, "#hours .bars g title")
    assert len(hours) == 24
    assert hours[6].get_attribute("textContent").startswith("6: ")


def test_ages_are_those_of_the_moment(browser: Chrome, pages: Path) -> None:
    show(browser, pages, "plate_day_v1")
    ages = [age.text for age in browser.find_elements(By.CSS_SELECTOR, ".age")]
    assert len(ages) == 3
    for age in ages:
        assert age.startswith("· ") and ("day" in age or "in " in age)


def test_lineage_lights_up_what_belongs_to_a_box(browser: Chrome, pages: Path) -> None:
    show(browser, pages, "lineage")
    box = browser.find_element(By.CSS_SELECTOR, '.node[data-node="plate_week_v1"]')
    ActionChains(browser).move_to_element(box).perform()
    lit = {
        node.get_attribute("data-node")
        for node in browser.find_elements(By.CSS_SELECTOR, ".node.lit")
    }
    assert {"archive", "recognitions", "plate_day_v1", "plate_week_v1", "plate_lookup_v1"} <= lit
    assert not {"camera_load_v1", "images", "plate_month_v1"} & lit
    box.click()
    assert browser.current_url.endswith("/plate_week_v1.html")


def test_on_a_small_screen_a_drawing_begins_with_its_page(browser: Chrome, pages: Path) -> None:
    screen(browser, 390)
    show(browser, pages, "plate_lookup_v1")
    left, right = browser.execute_script(
        "const r = document.querySelector('.marked').getBoundingClientRect();"
        "return [r.left, r.right]"
    )
    assert 0 < left < right < 390


def test_without_scripts_all_is_readable(browser: Chrome, pages: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(browser, pages, "plate_day_v1")
        assert browser.find_element(By.ID, "confidence_mean").is_displayed()
        assert not browser.find_element(By.CSS_SELECTOR, ".copy").is_displayed()
        assert not browser.find_element(By.CSS_SELECTOR, ".theme").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
