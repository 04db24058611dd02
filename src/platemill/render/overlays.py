"""What is laid over a finished photo: site names, captions, dates, logos, and gaps."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from platemill.render.clutter import colour, lettering, words

_SITES = ("auto", "foto", "nomer", "avto", "drive", "cars", "photo", "market", "drom", "club")
_ENDS = (".ru", ".com", ".net", ".org", "/2017", " 2015", "")


def overlay(image: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Lay one to three things over a photo, in place.

    Args:
        image: float32 [h, w, 3], BGR, 0 to 255.
        rng: source of what is laid over it.
    """
    for _ in range(int(rng.integers(1, 4))):
        kind = rng.random()
        if kind < 0.3:
            _site_name(image, rng)
        elif kind < 0.5:
            _caption(image, rng)
        elif kind < 0.7:
            _date(image, rng)
        elif kind < 0.85:
            _logo(image, rng)
        else:
            _large_text(image, rng)


def _ink(rng: np.random.Generator) -> tuple[float, float, float]:
    chance = rng.random()
    if chance < 0.55:
        return (255.0, 255.0, 255.0)
    if chance < 0.7:
        return (20.0, 20.0, 20.0)
    return colour(rng)


def _mix(
    image: NDArray[np.float32], x: int, y: int, text: NDArray[np.float32], ink: NDArray[np.float32]
) -> None:
    """Blend a text's mask [h, w] into the photo, its top left at x, y."""
    rows, columns = image.shape[:2]
    x0, y0 = max(0, x), max(0, y)
    mask = text[y0 - y : max(0, rows - y), x0 - x : max(0, columns - x)]
    if mask.size:
        region = image[y0 : y0 + mask.shape[0], x0 : x0 + mask.shape[1]]
        region += mask[:, :, None] * (ink - region)


def _line(rng: np.random.Generator, high: int, widest: int) -> NDArray[np.float32]:
    """A line of lettering as a mask about `high` pixels high and at most `widest` wide."""
    mask = lettering(rng).mask
    scale = min(high / mask.shape[0], widest / mask.shape[1])
    size = (max(4, round(mask.shape[1] * scale)), max(4, round(mask.shape[0] * scale)))
    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _site_name(image: NDArray[np.float32], rng: np.random.Generator) -> None:
    """A site's name, outlined or shadowed, mostly near an edge."""
    rows, columns = image.shape[:2]
    name = _SITES[rng.integers(0, len(_SITES))]
    name += ("-" if rng.random() < 0.5 else "") + _SITES[rng.integers(0, len(_SITES))]
    name += _ENDS[rng.integers(0, len(_ENDS))]
    name = name.upper() if rng.random() < 0.4 else name
    font = cv2.FONT_HERSHEY_DUPLEX if rng.random() < 0.6 else cv2.FONT_HERSHEY_TRIPLEX
    size = float(np.exp(rng.uniform(np.log(0.35), np.log(1.8))))
    thick = max(1, round(size * rng.uniform(0.8, 2.5)))
    (wide, high), _ = cv2.getTextSize(name, font, size, thick)
    x = int(rng.uniform(0, max(1, columns - wide)))
    y = int(rng.choice([high + 4, rows - 6, rng.uniform(high, rows)]))
    over = image.copy()
    if rng.random() < 0.5:
        cv2.putText(over, name, (x + 1, y + 1), font, size, (0.0, 0.0, 0.0), thick, cv2.LINE_AA)
    cv2.putText(over, name, (x, y), font, size, _ink(rng), thick, cv2.LINE_AA)
    cv2.addWeighted(over, share := rng.uniform(0.35, 1.0), image, 1 - share, 0, dst=image)


def _caption(image: NDArray[np.float32], rng: np.random.Generator) -> None:
    """A bar at the upper or lower edge, or a label somewhere, with a line of text."""
    rows, columns = image.shape[:2]
    high = int(rng.uniform(10, 42))
    wide = columns if rng.random() < 0.5 else int(rng.uniform(0.2, 0.8) * columns)
    x = 0 if wide == columns else int(rng.uniform(0, columns - wide))
    y = int(rng.choice([0, rows - high, rng.uniform(0, rows - high)]))
    dark = rng.random() < 0.5
    ground = np.float32(rng.uniform(0, 60) if dark else rng.uniform(190, 255))
    if rng.random() < 0.3:
        image[y : y + high, x : x + wide] = np.array(colour(rng), np.float32)
    else:
        region = image[y : y + high, x : x + wide]
        region += np.float32(rng.uniform(0.5, 1.0)) * (ground - region)
    text = _line(rng, max(6, high - 3), max(8, int(wide * rng.uniform(0.3, 1.0))))
    ink = np.full(3, 235.0 if dark else 25.0, np.float32)
    _mix(image, x + int(rng.uniform(0, 0.4) * (wide - text.shape[1] + 1)), y + 2, text, ink)


def _date(image: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Date and time as cameras burn them in."""
    rows, columns = image.shape[:2]
    day = f"{rng.integers(1, 29):02d}.{rng.integers(1, 13):02d}.20{rng.integers(5, 27):02d}"
    clock = f"{rng.integers(0, 24):02d}:{rng.integers(0, 60):02d}"
    text = f"{day} {clock}" if rng.random() < 0.6 else (day if rng.random() < 0.5 else clock)
    text = text.replace(".", str(rng.choice([".", "/", "-"])))
    size = rng.uniform(0.35, 1.1)
    x = int(rng.uniform(0, 0.75) * columns)
    y = int(rng.choice([rng.uniform(14, 40), rows - rng.uniform(4, 24)]))
    tone = ((40.0, 140.0, 255.0), (255.0, 255.0, 255.0), (60.0, 220.0, 250.0))
    thick = 1 if size < 0.7 else 2
    cv2.putText(
        image, text, (x, y), cv2.FONT_HERSHEY_PLAIN if rng.random() < 0.4 else 0, size,
        tone[rng.integers(0, 3)], thick, cv2.LINE_AA,
    )  # fmt: skip


def _logo(image: NDArray[np.float32], rng: np.random.Generator) -> None:
    """A round or rounded mark with a few characters, perhaps a line beside it."""
    rows, columns = image.shape[:2]
    radius = int(rng.uniform(8, 40))
    x, y = int(rng.uniform(0, columns)), int(rng.uniform(0, rows))
    tone = colour(rng)
    if rng.random() < 0.6:
        cv2.circle(image, (x, y), radius, tone, -1, cv2.LINE_AA)
        cv2.circle(image, (x, y), radius, _ink(rng), max(1, radius // 10), cv2.LINE_AA)
    else:
        end = (x + int(radius * rng.uniform(1, 4)), y + radius)
        cv2.rectangle(image, (x, y - radius), end, tone, -1)
    size = radius / 22
    place = (int(x - 0.7 * radius), int(y + 0.35 * radius))
    thick = max(1, round(size * 1.5))
    cv2.putText(image, words(rng, 5), place, 0, size, _ink(rng), thick, cv2.LINE_AA)
    if rng.random() < 0.5:
        text = _line(rng, radius, columns // 2)
        _mix(image, x + radius + 4, y - radius // 2, text, np.array(_ink(rng), np.float32))


def _large_text(image: NDArray[np.float32], rng: np.random.Generator) -> None:
    """A translucent line over much of the photo."""
    rows, columns = image.shape[:2]
    text = _line(rng, int(rng.uniform(0.06, 0.3) * rows), int(rng.uniform(0.4, 1.0) * columns))
    text = text * np.float32(rng.uniform(0.15, 0.9))
    x = int(rng.uniform(0, max(1, columns - text.shape[1])))
    y = int(rng.uniform(0, max(1, rows - text.shape[0])))
    _mix(image, x, y, text, np.array(_ink(rng), np.float32))
