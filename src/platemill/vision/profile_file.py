"""Profiles as files in TOML: read with errors that say the cure, and written.

Only data is read: a profile's file can start no code.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from platemill.errors import ConfigurationError
from platemill.vision.profile import BUILT_IN, NONE, OURS, Profile

__all__ = ["SERVED_NAME", "load_profile", "profile_text", "served_profile"]

SERVED_NAME: Final = "profile.toml"
"""The file beside a served model that says which profile it is of."""


def load_profile(path: Path) -> Profile:
    """Read a profile's file; files that it names are relative to its folder.

    Raises:
        ConfigurationError: it is no profile; the text says where, and what to change.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"the profile {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"the profile {path} is no TOML: {error}") from None
    for part in given.values():
        file = part.get("file") if isinstance(part, dict) else None
        if isinstance(file, str) and file not in (OURS, NONE):
            part["file"] = str((path.parent / Path(file).expanduser()).resolve())
    try:
        return Profile.model_validate(given)
    except ValidationError as error:
        problems = "; ".join(_in_words(item) for item in error.errors())
        raise ConfigurationError(f"the profile {path} is wrong: {problems}") from None


def _in_words(problem: Any) -> str:
    place = [str(step) for step in problem["loc"] if not str(step).startswith(("tuple", "str"))]
    where = ".".join(place)
    if problem["type"] != "extra_forbidden":
        text = str(problem["msg"]).removeprefix("Value error, ")
        return f"{where}: {text}" if where else text
    part = Profile.model_fields[place[0]].annotation if len(place) > 1 else Profile
    known = list(part.model_fields) if part is not None else []
    close = difflib.get_close_matches(place[-1], known, 2)
    cure = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known)}"
    return f"{where} is no key of a profile: {cure}"


def served_profile(folder: Path) -> Profile:
    """The profile of a served model's version folder; the built-in one if no file says."""
    path = folder / SERVED_NAME
    if not path.is_file():
        return BUILT_IN
    return Profile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))


def profile_text(profile: Profile, *, explained: bool = False) -> str:
    """A whole profile in TOML, every key with its value.

    Args:
        profile: what to write.
        explained: with a comment for every part and key.
    """
    lines: list[str] = []
    for name, field in Profile.model_fields.items():
        part = getattr(profile, name)
        if explained and field.annotation is not None:
            lines += [f"# {str(field.annotation.__doc__).splitlines()[0]}"]
        lines.append(f"[{name}]")
        for key, about in type(part).model_fields.items():
            if explained:
                lines.append(f"# {about.description}")
            lines.append(f"{key} = {_value(getattr(part, key))}")
        lines.append("")
    return "\n".join(lines)


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    # JSON's strings, numbers and booleans are TOML's.
    return json.dumps(value, ensure_ascii=False)
