"""Path templates: which part of a photo's path is its camera, and which its time.

``{camera}/{captured_at:%Y/%m/%d/%H%M%S}.jpg`` reads ``gate-2/2025/03/01/070500.jpg``. A template
is matched against the end of a path, segment by segment:

- ``{camera}`` is one path segment, or a part of one.
- ``{captured_at:FORMAT}`` is a time; its ``%`` codes are those of ``strptime``, and a slash in it
  divides segments. It may stand more than once, each time with other codes.
- any other ``{name}`` is one segment, or a part of one, that is not looked at.
- the rest is literal. An image extension at the template's end stands for all of them.

A field or code that stands twice must read the same text both times.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from platemill.archive.times import from_datetime
from platemill.errors import ConfigurationError

__all__ = ["IMAGE_EXTENSIONS", "Layout", "LayoutMatch"]

IMAGE_EXTENSIONS: Final = frozenset({"jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff"})

_EXAMPLE: Final = "{camera}/{captured_at:%Y/%m/%d/%H%M%S}.jpg"
# One or two digits are taken where a digit cannot follow or go before, else exactly two.
_SHORT: Final = frozenset("mdHMS")
_CODES: Final = {
    "Y": "[0-9]{4}",
    "y": "[0-9]{2}",
    "m": "[0-9]{2}",
    "d": "[0-9]{2}",
    "j": "[0-9]{3}",
    "H": "[0-9]{2}",
    "M": "[0-9]{2}",
    "S": "[0-9]{2}",
    "f": "[0-9]{1,6}",
    "z": "Z|[+-][0-9]{2}:?[0-9]{2}",
}


@dataclass(frozen=True, slots=True)
class LayoutMatch:
    """What a path says: its camera, and microseconds since 1970 in UTC; None where it does not.

    A path of the right form with an impossible date (month 13) has a camera and no time.
    """

    camera: str | None
    captured_at: int | None


class Layout:
    """A compiled path template.

    Raises:
        ConfigurationError: the template is wrong; the text shows where.
    """

    def __init__(self, template: str) -> None:
        self.template = template
        # Names in the template cannot hold a digit and an underscore together, so a group named
        # "t_Y" is always one of ours.
        self._groups: set[str] = set()
        body = template
        stem, dot, extension = template.rpartition(".")
        if dot and extension.lower() in IMAGE_EXTENSIONS:
            body = stem
        if not body:
            raise self._error(0, "it is empty")
        if body.startswith("/"):
            raise self._error(0, "it starts with a slash, but is matched against a path's end")
        self._pattern = re.compile(self._compile(body), re.DOTALL)
        self._segments = self._count_segments(body)
        if "captured_at" in body:
            self._require_date()

    def match(self, path: str) -> LayoutMatch | None:
        """Read a path (with ``/`` between its segments); None if its end has another form."""
        parts = path.rsplit("/", self._segments)
        tail = "/".join(parts[-self._segments :])
        stem, dot, extension = tail.rpartition(".")
        if dot and extension.lower() in IMAGE_EXTENSIONS:
            tail = stem
        found = self._pattern.fullmatch(tail)
        if found is None:
            return None
        groups = found.groupdict()
        return LayoutMatch(groups.get("camera"), self._time(groups))

    def _time(self, groups: dict[str, str]) -> int | None:
        year = groups.get("t_Y")
        if year is None:
            short = groups.get("t_y")
            if short is None:
                return None
            # POSIX: 69 to 99 are the last century's.
            year = ("19" if int(short) >= 69 else "20") + short
        zone = groups.get("t_z")
        try:
            if "t_j" in groups:
                moment = datetime(int(year), 1, 1, tzinfo=UTC) + timedelta(int(groups["t_j"]) - 1)
                if moment.year != int(year):
                    return None
            else:
                moment = datetime(int(year), int(groups["t_m"]), int(groups["t_d"]), tzinfo=UTC)
            moment = moment.replace(
                hour=int(groups.get("t_H", 0)),
                minute=int(groups.get("t_M", 0)),
                second=int(groups.get("t_S", 0)),
                microsecond=int(groups.get("t_f", "0").ljust(6, "0")),
            )
            if zone is not None and zone != "Z":
                offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
                moment = moment.replace(tzinfo=timezone(-offset if zone[0] == "-" else offset))
            return from_datetime(moment)
        except (ValueError, OverflowError):
            return None

    def _compile(self, body: str) -> str:
        out: list[str] = []
        position = 0
        while position < len(body):
            character = body[position]
            if character == "}":
                raise self._error(position, "this brace closes nothing")
            if character != "{":
                end = position
                while end < len(body) and body[end] not in "{}":
                    end += 1
                out.append(re.escape(body[position:end]))
                position = end
                continue
            end = body.find("}", position)
            if end < 0:
                raise self._error(position, "this brace is not closed")
            out.append(self._field(body, position, end))
            position = end + 1
        return "".join(out)

    def _field(self, body: str, start: int, end: int) -> str:
        name, colon, spec = body[start + 1 : end].partition(":")
        if not name.isidentifier():
            raise self._error(start + 1, "a field is a name in braces, such as {camera}")
        if name == "captured_at":
            if not spec:
                raise self._error(start + 1, "captured_at needs a format, {captured_at:%Y%m%d}")
            return self._format(body, start + 2 + len(name), end)
        if colon:
            raise self._error(start + 1 + len(name), "only captured_at takes a format")
        if name != "camera":
            return "[^/]+?"
        return self._group("camera", "[^/]+?")

    def _format(self, body: str, start: int, end: int) -> str:
        out: list[str] = []
        position = start
        while position < end:
            character = body[position]
            if character != "%":
                if character == "{":
                    raise self._error(position, "a field cannot stand in another")
                out.append(re.escape(character))
                position += 1
                continue
            code = body[position + 1] if position + 1 < end else ""
            if code == "%":
                out.append("%")
            elif code in _CODES and code:
                out.append(self._group(f"t_{code}", self._digits(body, code, position, end)))
            else:
                known = " ".join(f"%{known}" for known in _CODES)
                raise self._error(position, f"%{code} is not known; known are {known} %%")
            position += 2
        return "".join(out)

    @staticmethod
    def _digits(body: str, code: str, position: int, end: int) -> str:
        if code not in _SHORT:
            return _CODES[code]
        # A code goes before this one if the two characters before it are one; a literal digit
        # beside it would be as ambiguous.
        before = body[position - 1]
        after = body[position + 2] if position + 2 < end else "/"
        touches_before = body[position - 2] == "%" or before.isdigit()
        touches_after = after == "%" or after.isdigit()
        return "[0-9]{2}" if touches_before or touches_after else "[0-9]{1,2}"

    def _group(self, name: str, pattern: str) -> str:
        if name in self._groups:
            return f"(?P={name})"
        self._groups.add(name)
        return f"(?P<{name}>{pattern})"

    def _require_date(self) -> None:
        has = {name[2:] for name in self._groups if name.startswith("t_")}
        if not has & {"Y", "y"}:
            raise self._error(self.template.find("captured_at"), "captured_at has no year (%Y)")
        if "j" not in has and not {"m", "d"} <= has:
            raise self._error(
                self.template.find("captured_at"),
                "captured_at has no day: %m and %d, or %j, are needed",
            )

    @staticmethod
    def _count_segments(body: str) -> int:
        return body.count("/") + 1

    def _error(self, position: int, problem: str) -> ConfigurationError:
        return ConfigurationError(
            f"wrong layout, at character {position + 1}: {problem}\n"
            f"  {self.template}\n  {' ' * position}^\n"
            f"An example: {_EXAMPLE}"
        )
