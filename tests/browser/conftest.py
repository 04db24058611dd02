"""The system's Chromium, without a window and without a network, driven by its own chromedriver."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from catalog_homes import sql_home
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from small_lake import settings_for

from platemill.catalog import write_catalog

SWITCHES = (
    "--headless",
    "--no-sandbox",  # as root, in containers and in CI, there is no other way
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    # Whatever a page wants to fetch, it finds nobody.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


def program(*names: str) -> str:
    """The first of some programs that is installed."""
    for name in names:
        if found := shutil.which(name):
            return found
    pytest.fail(
        f"{names[0]} is not installed and these tests look at pages with it; mend it with: "
        "sudo apt-get install -y chromium chromium-driver"
    )


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One browser for all tests, with a profile of its own."""
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium", "chromium-browser", "google-chrome")
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # The driver's path is given, so that nothing looks for one to download.
    service = Service(program("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalogue of a home with some days in it."""
    folder = tmp_path_factory.mktemp("catalog") / "pages"
    write_catalog(sql_home(tmp_path_factory.mktemp("home")), folder)
    return folder


@pytest.fixture(scope="session")
def empty_pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalogue of a home without a night."""
    folder = tmp_path_factory.mktemp("empty") / "pages"
    write_catalog(settings_for(tmp_path_factory.mktemp("nothing") / "home"), folder)
    return folder
