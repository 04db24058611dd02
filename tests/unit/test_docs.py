"""The docs name every command, setting and table, and are what their makers make."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from platemill.cli import app
from platemill.schema import TABLES
from platemill.settings import settings_page
from platemill.vision.plates import KINDS
from platemill.vision.profile import BUILT_IN, Profile
from platemill.vision.profile_file import profile_text

PROJECT = Path(__file__).resolve().parents[2]


def test_the_settings_page_is_up_to_date() -> None:
    assert (PROJECT / "docs" / "settings.md").read_text() == settings_page()


def test_the_profile_page_is_up_to_date_and_its_examples_are_profiles() -> None:
    shown = (PROJECT / "docs" / "profile.toml").read_text()
    assert shown == profile_text(BUILT_IN, explained=True)
    page = (PROJECT / "docs" / "profiles.md").read_text()
    examples = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(examples) >= 5
    for example in examples:
        Profile.model_validate(tomllib.loads(example))
    for kind in KINDS:
        assert f"`{kind.name}`" in page


def test_the_readme_names_every_command() -> None:
    readme = (PROJECT / "README.md").read_text()
    commands = [command.callback.__name__.replace("_", "-") for command in app.registered_commands]
    commands += [group.name for group in app.registered_groups]
    assert len(commands) >= 7
    assert [c for c in commands if f"platemill {c}" not in readme] == []


def test_the_dictionary_names_every_table() -> None:
    dictionary = (PROJECT / "docs" / "data-dictionary.md").read_text()
    assert [name for name in TABLES if name not in dictionary] == []


@pytest.mark.parametrize(
    "page",
    [
        p.relative_to(PROJECT).as_posix()
        for p in (PROJECT, *PROJECT.glob("docs/**"))
        for p in p.glob("*.md")
    ],
)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (PROJECT / page).read_text()
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert ((PROJECT / page).parent / target).exists(), f"{page}: {target}"


def test_the_help_of_sql_names_every_table() -> None:
    (callback,) = [c.callback for c in app.registered_commands if c.callback.__name__ == "sql"]
    assert [name for name in TABLES if name not in callback.__doc__] == []
