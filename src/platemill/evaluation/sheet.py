"""A page of every error, for a person: one HTML file with its pictures in it, no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from html import escape
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from platemill.archive.decode import decode_image
from platemill.evaluation.labels import Box, Label
from platemill.evaluation.matching import Outcome, Verdict
from platemill.evaluation.photos import Evaluation, LabelledPhotos
from platemill.pages.pictures import crop, data_url, jpeg, shrunk

__all__ = ["write_sheet"]

_PHOTO_SIDE = 960
_CROP_HEIGHT = 96
_CROP_MOST = 360
_QUALITY = 82

_EXPLAINED = {
    Verdict.MISSED: "a labelled plate was not found",
    Verdict.FALSE_BOX: "a plate was found where none is labelled",
    Verdict.WRONG_TEXT: "another text than the plate's was published",
    Verdict.REFUSED: "the plate was found, but no text was published",
    Verdict.FOREIGN_TEXT: "a text was published for a plate of another format",
}


def write_sheet(
    path: Path, photos: LabelledPhotos, evaluation: Evaluation, max_pixels: int
) -> None:
    """Write the page: the figures, then every photo with an error.

    A photo is shown with its labelled boxes and the found ones; each error beside it with its
    crop, the wanted, the published and the raw text, the confidence and the box's score.

    Args:
        path: the file; its folder is made if it is missing.
        photos: what was evaluated.
        evaluation: what came of it.
        max_pixels: of a photo, see ``decode_image``.
    """
    cards = []
    for name, outcomes in groupby(evaluation.outcomes, key=lambda outcome: outcome.file):
        of_photo = list(outcomes)
        if any(outcome.verdict.is_error for outcome in of_photo):
            image = decode_image((photos.folder / name).read_bytes(), max_pixels)
            ignored = [label for label in photos.labels[name] if label.ignored]
            cards.append(_card(name, image, of_photo, ignored))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(_page(photos, evaluation, cards)), encoding="utf-8")


def _page(photos: LabelledPhotos, evaluation: Evaluation, cards: list[str]) -> Iterator[str]:
    title = f"Errors in {photos.folder.resolve().name}"
    measures = evaluation.measures
    kinds = Counter(o.verdict for o in evaluation.outcomes if o.verdict.is_error)
    yield (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        '</title><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}{_hidden_kinds()}</style></head>\n<body><header><h1>{escape(title)}</h1>"
        f"<p>{measures.photos:,} photos, {measures.plates:,} plates, {sum(kinds.values()):,} "
        f"errors in {len(cards):,} photos; pipeline {escape(photos.pipeline_version)}</p></header>"
    )
    yield '\n<section class="tiles">'
    yield from (_tile(name, value, more) for name, value, more in _figures(evaluation))
    yield "</section>\n<section class='kinds'>"
    for kind, explained in _EXPLAINED.items():
        yield (
            f'<label title="{explained}"><input type="checkbox" id="{_name(kind)}" checked>'
            f'<span class="badge {_name(kind)}">{kind}</span> {kinds[kind]:,} '
            f"<small>{explained}</small></label>"
        )
    yield "</section>\n"
    yield (
        '<p class="legend"><i class="label"></i> labelled <i class="right"></i> found, right '
        '<i class="wrong"></i> found, with an error <i class="ignored"></i> labelled as ignored</p>'
    )
    yield from cards or ['<p class="none">Not one error.</p>']
    yield "</body></html>\n"


def _figures(evaluation: Evaluation) -> Iterable[tuple[str, str, str]]:
    """What the tiles at the top say: name, value, and what it is made of."""
    m = evaluation.measures
    yield "exact", _percent(m.exact_rate), f"{m.exact:,} of {m.texts:,} texts"
    yield "character errors", _percent(m.char_error_rate), "of the labelled characters"
    yield "recall", _percent(m.recall), "plates found"
    yield "precision", _percent(m.precision), f"false boxes: {m.false_positives:,}"
    yield "false texts", f"{m.false_texts:,}", f"of {m.published:,} published"
    yield "wrong and sure", f"{m.false_texts_sure:,}", f"of {m.published_sure:,} at ≥ 0.9"
    ece = "–" if m.ece is None else f"{m.ece:.3f}"
    yield "calibration error", ece, "expected, 15 bins"
    yield "a photo", f"{evaluation.ms_per_photo['total']:.0f} ms", "by the clock"


def _tile(name: str, value: str, more: str) -> str:
    return f"<div><span>{name}</span><b>{value}</b><small>{more}</small></div>"


def _card(
    name: str, image: NDArray[np.uint8], outcomes: Sequence[Outcome], ignored: Sequence[Label]
) -> str:
    errors = [outcome for outcome in outcomes if outcome.verdict.is_error]
    numbers = {id(error): number for number, error in enumerate(errors, 1)}
    rows = "".join(_error(numbers[id(error)], error, image) for error in errors)
    kinds = " ".join(sorted({_name(error.verdict) for error in errors}))
    return (
        f'<article class="card {kinds}"><h2>{escape(name)} <small>'
        f"{image.shape[1]} × {image.shape[0]}</small></h2>"
        f'<div class="photo">{_drawing(image, outcomes, ignored, numbers)}</div>'
        f'<div class="errors">{rows}</div></article>\n'
    )


def _drawing(
    image: NDArray[np.uint8],
    outcomes: Sequence[Outcome],
    ignored: Sequence[Label],
    numbers: Mapping[int, int],
) -> str:
    """The photo with its boxes, in the photo's own pixels."""
    height, width = image.shape[:2]
    parts = [_rectangle(label.box, "ignored") for label in ignored]
    for outcome in outcomes:
        if outcome.label:
            parts.append(_rectangle(outcome.label.box, "label"))
        if outcome.seen:
            wrong = outcome.verdict.is_error
            parts.append(_rectangle(outcome.seen.box, "wrong" if wrong else "right"))
        if number := numbers.get(id(outcome)):
            parts.append(_number(number, _box_of(outcome), width, height))
    small = shrunk(image, _PHOTO_SIDE)
    return (
        f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="xMinYMin">'
        f'<image width="{width}" height="{height}" '
        f'preserveAspectRatio="none" href="{_data(small)}"/>{"".join(parts)}</svg>'
    )


def _rectangle(box: Box, kind: str) -> str:
    x, y, right, bottom = box
    place = f'x="{x:.1f}" y="{y:.1f}" width="{right - x:.1f}" height="{bottom - y:.1f}"'
    return f'<rect class="{kind}" {place}/>'


def _number(number: int, box: Box, width: int, height: int) -> str:
    """The error's number, above the box where there is room, else below."""
    size = max(width, height) / 36
    x = min(max(box[0], 0.0), width - size)
    y = box[1] - 0.4 * size if box[1] > 1.5 * size else min(box[3] + 1.1 * size, height - 2)
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:.1f}">{number}</text>'


def _error(number: int, outcome: Outcome, image: NDArray[np.uint8]) -> str:
    label, seen = outcome.label, outcome.seen
    facts: list[tuple[str, str]] = []
    if outcome.wanted:
        read = (seen.plate or seen.raw_text) if seen else ""
        facts.append(("wanted", _marked(outcome.wanted, read)))
    elif label and label.plate:
        plain = _marked(label.plate, "")
        facts.append(("on the plate", f"{plain} (another format: no text is wanted)"))
    if seen:
        wanted = outcome.wanted or ""
        facts.append(("published", _marked(seen.plate, wanted) if seen.plate else "nothing"))
        facts.append(("raw text", _marked(seen.raw_text, wanted) if seen.raw_text else "nothing"))
        facts.append(("confidence", f"{seen.confidence:.3f}"))
        facts.append(("box's score", f"{seen.score:.3f}"))
    if label and (label.country or label.note):
        facts.append(("label", escape(", ".join(filter(None, (label.country, label.note))))))
    box = _box_of(outcome)
    detail = crop(image, box, height=2 * _CROP_HEIGHT, most=2 * _CROP_MOST)
    facts.append(("size", f"{box[2] - box[0]:.0f} × {box[3] - box[1]:.0f} px"))
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts)
    return (
        f'<div class="error {_name(outcome.verdict)}"><p><b>{number}</b> '
        f'<span class="badge {_name(outcome.verdict)}">{outcome.verdict}</span></p>'
        f'<img alt="the plate" src="{_data(detail)}"><dl>{listed}</dl></div>'
    )


def _box_of(outcome: Outcome) -> Box:
    """Where to look: the found box, else the labelled one."""
    if outcome.seen:
        return outcome.seen.box
    assert outcome.label is not None
    return outcome.label.box


def _marked(text: str, other: str) -> str:
    """A text, marked where it differs from another one that is not empty."""
    if not other:
        return f"<code>{escape(text)}</code>"
    parts, end = [], 0
    for start, _, size in SequenceMatcher(None, text, other, autojunk=False).get_matching_blocks():
        if start > end:
            parts.append(f"<mark>{escape(text[end:start])}</mark>")
        end = start + size
        parts.append(escape(text[start:end]))
    return f"<code>{''.join(parts)}</code>"


def _data(image: NDArray[np.uint8]) -> str:
    return data_url(jpeg(image, _QUALITY))


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _name(verdict: Verdict) -> str:
    return verdict.replace(" ", "-")


def _hidden_kinds() -> str:
    """Rules by which a box that is not ticked hides its kind, and photos with no other."""
    rules = []
    for kind in _EXPLAINED:
        off = f"body:has(#{_name(kind)}:not(:checked))"
        rules.append(f"{off} .error.{_name(kind)}{{display:none}}")
    shown = ",".join(f"body:has(#{_name(kind)}:checked) .card.{_name(kind)}" for kind in _EXPLAINED)
    return (
        "".join(rules)
        + f"@supports selector(:has(a)){{.card{{display:none}}{shown}{{display:grid}}}}"
    )


_STYLE = """
:root{color-scheme:light;--line:#dcdfe4;--soft:#5b6470}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1280px;padding:24px;background:#f6f7f9;color:#1b1f24;
font:15px/1.45 system-ui,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
h1{font-size:24px;margin:0}header p{margin:4px 0 20px;color:var(--soft)}small{color:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(136px,1fr));gap:10px}
.tiles div{background:#fff;border:1px solid var(--line);border-radius:8px;padding:10px 12px}
.tiles span,.tiles small{display:block;font-size:13px;color:var(--soft)}
.tiles b{font-size:22px;font-weight:600}
.kinds{display:flex;flex-wrap:wrap;gap:6px 22px;margin:18px 0 6px}
.kinds label{white-space:nowrap;cursor:pointer}.kinds input{vertical-align:-1px}
.badge{border-radius:4px;padding:1px 7px;font-size:13px;font-weight:600;white-space:nowrap}
.badge.missed{background:#e3e7ee;color:#2f3c52}.badge.false-box{background:#fde9d0;color:#7a4100}
.badge.wrong-text{background:#fcdcdc;color:#8f1414}.badge.refused{background:#e6e2fa;color:#41319a}
.badge.foreign-text{background:#fadcf0;color:#861362}
.legend{color:var(--soft);font-size:13px;margin:0 0 14px}
.legend i{display:inline-block;width:22px;height:12px;margin:0 4px 0 14px;vertical-align:-1px;
border:2px solid}
.legend i:first-child{margin-left:0}
.legend .label{border-color:#15803d;border-style:dashed}.legend .right{border-color:#2563eb}
.legend .wrong{border-color:#dc2626}.legend .ignored{border-color:#9aa3af;border-style:dotted}
.card{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:0 20px;
background:#fff;border:1px solid var(--line);border-radius:8px;
padding:14px 16px 16px;margin:0 0 16px;break-inside:avoid}
h2{grid-column:1/-1;font-size:16px;margin:0 0 10px;overflow-wrap:anywhere}h2 small{font-weight:400}
.photo svg{display:block;max-width:100%;max-height:420px;border-radius:4px}
rect{fill:none;stroke-width:2px;vector-effect:non-scaling-stroke}
rect.label{stroke:#22c55e;stroke-dasharray:6 4}rect.right{stroke:#3b82f6}
rect.wrong{stroke:#ef4444}rect.ignored{stroke:#d1d5db;stroke-dasharray:2 3}
svg text{fill:#fff;font-weight:700;paint-order:stroke;stroke:#111;stroke-width:4px;
vector-effect:non-scaling-stroke}
.errors{display:grid;grid-template-columns:repeat(auto-fill,minmax(250px,1fr));gap:16px 20px;
align-content:start}
.error p{margin:0 0 8px}.error img{display:block;max-width:100%;max-height:96px;border-radius:3px;
border:1px solid var(--line)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 14px;margin:10px 0 0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
code{font:600 15px ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;letter-spacing:.06em}
mark{background:#fecaca;color:#8f1414;border-radius:2px}
.none{background:#fff;border:1px solid var(--line);border-radius:8px;padding:24px}
@media(max-width:760px){.card{grid-template-columns:1fr}.errors{margin-top:12px}}
"""
