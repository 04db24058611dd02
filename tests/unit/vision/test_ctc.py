"""Decoding the reader's logits."""

import numpy as np
import pytest
from numpy.typing import NDArray

from platemill.vision import ctc
from platemill.vision.plates import ALPHABET, KINDS, grammar_of, patterns_of
from platemill.vision.profile import ReaderProfile

COLD = ReaderProfile(temperature=1.0, publish_from=0.05)


def spell(path: str, certainty: float = 12.0) -> NDArray[np.float32]:
    """Logits [23, 18] whose likeliest path is `path`, with `-` for the blank."""
    logits = np.zeros((ctc.CLASSES, ctc.TIME_STEPS), np.float32)
    for step, character in enumerate(path.ljust(ctc.TIME_STEPS, "-")):
        logits[ctc.BLANK if character == "-" else ALPHABET.index(character), step] = certainty
    return logits


def test_a_clear_plate_is_read_with_confidence() -> None:
    (reading,) = ctc.decode(spell("A1-23BCC-7-7")[None], COLD)
    assert reading.raw_text == reading.plate == "A123BC77"
    assert reading.confidence > 0.99


def test_no_crops_give_no_readings() -> None:
    assert ctc.decode(np.zeros((0, 23, 18), np.float32)) == []


def test_a_text_that_is_no_plate_is_not_published() -> None:
    (reading,) = ctc.decode(spell("1AB")[None], COLD)
    assert reading.raw_text == "1AB"
    assert reading.plate == ""
    assert 0.9 < reading.confidence <= 1.0


def test_the_grammar_mends_a_close_call() -> None:
    logits = spell("0123BC7-7")
    logits[ALPHABET.index("O"), 0] = 11.8
    (reading,) = ctc.decode(logits[None], COLD)
    assert reading.raw_text == "0123BC77"
    assert reading.plate == "O123BC77"
    assert 0.3 < reading.confidence < 0.6


def test_rows_do_not_depend_on_each_other() -> None:
    rng = np.random.default_rng(3)
    logits = np.stack([spell("A1-23BC7-7", c) for c in (3, 4, 6, 9)])
    logits += rng.normal(0, 1, logits.shape).astype(np.float32)
    together = ctc.decode(logits)
    assert together == [ctc.decode(row[None])[0] for row in logits]


def test_the_forward_pass_sums_to_one_over_all_texts() -> None:
    rng = np.random.default_rng(1)
    steps = 3
    logits = rng.normal(0, 2, (1, ctc.CLASSES, steps))
    logits[:, 2:-1] = -60
    probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    texts = ["", "0", "1", "00", "01", "10", "11", "010", "101"]
    total = sum(float(ctc.score(probabilities, [text])[0]) for text in texts)
    assert total == pytest.approx(1.0)


def test_logits_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="23"):
        ctc.decode(np.zeros((2, 18, 23), np.float32))


def test_other_kinds_are_published_when_the_grammar_has_them() -> None:
    logits = spell("AB1-23-7-7")[None]
    assert ctc.decode(logits, COLD)[0].plate == ""
    assert ctc.decode(logits, COLD, grammar_of(KINDS))[0].plate == "AB12377"


def test_a_temperature_makes_less_sure_and_changes_no_text() -> None:
    logits = spell("A1-23BC7-7")[None]
    (cold,) = ctc.decode(logits, COLD)
    (warm,) = ctc.decode(logits, ReaderProfile(temperature=1.5))
    assert warm.plate == cold.plate == "A123BC77"
    assert warm.raw_text == cold.raw_text
    assert 0.8 < warm.confidence < cold.confidence


@pytest.mark.parametrize("blank", [-1, 0, 2, 4])
def test_another_alphabet_with_its_blank_anywhere(blank: int) -> None:
    reader = ReaderProfile(file="x.pt", alphabet="京沪12", blank=blank, time_steps=7)
    classes = list(reader.alphabet)
    classes.insert(blank if blank >= 0 else len(classes), "-")
    logits = np.zeros((1, 5, 7), np.float32)
    for step, character in enumerate("京--1-1-"):
        logits[0, classes.index(character), step] = 12
    (reading,) = ctc.decode(logits, reader, patterns_of("LDD", reader.alphabet))
    assert reading.raw_text == reading.plate == "京11"


def test_a_text_below_the_least_probability_is_not_published() -> None:
    logits = spell("0123BC7-7")
    logits[ALPHABET.index("O"), 0] = 11.8
    (reading,) = ctc.decode(logits[None], ReaderProfile(publish_from=0.7))
    assert reading.plate == ""
    assert reading.raw_text == "0123BC77"


@pytest.mark.parametrize("kinds", [KINDS[:1], KINDS])
def test_the_search_finds_the_likeliest_plate_of_all(kinds: tuple) -> None:
    grammar = grammar_of(kinds)
    rng = np.random.default_rng(11)
    texts = ["A123BC77", "A128BC77", "X123BC777", "A123BC177", "M555MM09", "AB12377", "1234AB77"]
    for text in texts:
        logits = spell("".join(f"{c}-" for c in text)[:18], 3.0)
        logits += rng.normal(0, 1, logits.shape).astype(np.float32)
        log_probabilities = logits - np.log(np.exp(logits).sum(axis=0))
        found = ctc.search(log_probabilities.astype(np.float64), grammar)
        rivals = [found, *(t for t in texts if ctc.is_plate(t, grammar))]
        scores = ctc.score(np.stack([log_probabilities] * len(rivals)).astype(float), rivals)
        assert scores.argmax() == 0 or scores.max() == scores[0]


def test_no_text_is_likelier_than_its_length_allows() -> None:
    rng = np.random.default_rng(3)
    for sharpness in (0.5, 3.0, 9.0):
        logits = rng.standard_normal((40, ctc.CLASSES, ctc.TIME_STEPS)) * sharpness
        logits[:, ctc.BLANK] += rng.uniform(0, 6)
        log_probabilities = ctc.log_softmax(logits)
        for length in (1, 4, 8):
            most = ctc.most_of_length(log_probabilities, length)
            texts = ["".join(rng.choice(list(ALPHABET), length)) for _ in range(39)]
            texts.append(ctc.greedy(log_probabilities, ALPHABET)[-1].ljust(length, "0"))
            assert (ctc.score(log_probabilities, texts, ALPHABET) <= most + 1e-12).all()
    assert ctc.most_of_length(log_probabilities, 0) == pytest.approx(1.0)


def test_what_is_not_searched_would_not_have_been_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(4)
    blanks = rng.uniform(0, 8, (60, 1))
    logits = (rng.standard_normal((60, ctc.CLASSES, ctc.TIME_STEPS)) * 3).astype(np.float32)
    logits[:, ctc.BLANK] += blanks.astype(np.float32)
    searched: list[int] = []
    search = ctc.search

    def counted(*given: object) -> str:
        searched.append(1)
        return search(*given)

    monkeypatch.setattr(ctc, "search", counted)
    found = ctc.decode(logits)
    few = len(searched)
    monkeypatch.setattr(ctc, "most_of_length", lambda rows, length: np.ones(len(rows)))
    assert ctc.decode(logits) == found
    assert few < len(searched) - few
