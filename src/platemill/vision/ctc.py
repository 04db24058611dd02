"""From the reader's logits to texts: CTC decoding under the plates' grammar.

CTC: Graves et al., "Connectionist Temporal Classification", ICML 2006. The prefix beam
search is that of Hannun et al., arXiv:1408.2873, with the grammar in place of a language
model: only prefixes of some well-formed plate stay in the beam.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from platemill.vision.plates import Grammar, is_plate
from platemill.vision.profile import BUILT_IN, ReaderProfile

CLASSES = BUILT_IN.reader.classes
BLANK = CLASSES - 1
TIME_STEPS = BUILT_IN.reader.time_steps

SURE_FROM = 0.9
"""A well-formed greedy text with at least this probability is taken without a search."""

_BEAM = 16
_LEAST_CHARACTER = 1e-4
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Reading:
    """What was read from one crop.

    raw_text: the likeliest character at every step, whatever it spells.
    plate: the likeliest well-formed plate, or "" when none is likely enough.
    confidence: 0 to 1, the network's probability of `plate`, or of `raw_text` without one.
    """

    raw_text: str
    plate: str
    confidence: float


def decode(
    logits: NDArray[np.float32],
    reader: ReaderProfile = BUILT_IN.reader,
    grammar: Grammar = BUILT_IN.grammar,
) -> list[Reading]:
    """Read a batch of logits, float32 [N, 23, 18] (class, time step); N may be 0.

    A row's reading does not depend on the other rows.

    Args:
        logits: of as many classes as the reader has, in any number of steps.
        reader: the classes, the temperature and the least probability to publish.
        grammar: the texts that may be published.

    Raises:
        ValueError: the shape is another.
    """
    if logits.ndim != 3 or logits.shape[1] != reader.classes:
        raise ValueError(f"logits must be [N, {reader.classes}, T], got {list(logits.shape)}")
    if not len(logits):
        return []
    log_probabilities = log_softmax(_blank_last(logits, reader) / reader.temperature)
    alphabet = reader.alphabet
    raw_texts = greedy(log_probabilities, alphabet)
    raw_scores = score(log_probabilities, raw_texts, alphabet)
    texts = list(raw_texts)
    shortest = min((len(pattern.places) for pattern in grammar), default=0)
    possible = most_of_length(log_probabilities, shortest) >= reader.publish_from - _ROUNDING
    for row, (text, sure) in enumerate(zip(raw_texts, raw_scores, strict=True)):
        if sure < SURE_FROM or not is_plate(text, grammar):
            # Most candidates are no plates: no text of theirs could be published.
            texts[row] = search(log_probabilities[row], grammar, alphabet) if possible[row] else ""
    scores = score(log_probabilities, texts, alphabet)
    readings = []
    for raw, raw_score, text, text_score in zip(raw_texts, raw_scores, texts, scores, strict=True):
        if text and text_score >= reader.publish_from:
            readings.append(Reading(raw, text, float(min(text_score, 1.0))))
        else:
            readings.append(Reading(raw, "", float(min(raw_score, 1.0))))
    return readings


def _blank_last(logits: NDArray[np.float32], reader: ReaderProfile) -> NDArray[np.float64]:
    """The logits with the blank as the last class, behind the alphabet's."""
    classes = np.arange(reader.classes)
    blank = classes[reader.blank]
    order = np.append(classes[classes != blank], blank)
    return logits.astype(np.float64)[:, order]


def greedy(
    log_probabilities: NDArray[np.float64], alphabet: str = BUILT_IN.reader.alphabet
) -> list[str]:
    """Texts of the likeliest class at every step of [N, 23, T], merged as CTC does."""
    blank = len(alphabet)
    texts = []
    for path in log_probabilities.argmax(axis=1):
        before = blank
        text = []
        for label in path:
            if label not in (before, blank):
                text.append(alphabet[label])
            before = label
        texts.append("".join(text))
    return texts


def score(
    log_probabilities: NDArray[np.float64],
    texts: list[str],
    alphabet: str = BUILT_IN.reader.alphabet,
) -> NDArray[np.float64]:
    """Probability of each text, summed over all its alignments (the CTC forward pass).

    Args:
        log_probabilities: [N, 23, T], the blank last.
        texts: N texts over the alphabet.
        alphabet: the classes before the blank.

    Returns:
        float64 [N], 0 to 1.
    """
    count, _, steps = log_probabilities.shape
    blank = len(alphabet)
    width = 2 * max((len(text) for text in texts), default=0) + 1
    labels = np.full((count, width), blank, np.intp)
    for row, text in enumerate(texts):
        labels[row, 1 : 2 * len(text) : 2] = [alphabet.index(c) for c in text]
    last = np.array([2 * len(text) for text in texts], np.intp)
    may_skip = np.zeros((count, width), bool)
    may_skip[:, 2:] = (labels[:, 2:] != blank) & (labels[:, 2:] != labels[:, :-2])
    probabilities = np.exp(np.take_along_axis(log_probabilities, labels[:, :, None], axis=1))
    forward = np.zeros((count, width))
    forward[:, :2] = probabilities[:, :2, 0]
    for step in range(1, steps):
        arriving = forward.copy()
        arriving[:, 1:] += forward[:, :-1]
        arriving[:, 2:] += np.where(may_skip[:, 2:], forward[:, :-2], 0.0)
        forward = arriving * probabilities[:, :, step]
    rows = np.arange(count)
    before_last = np.where(last > 0, forward[rows, np.maximum(last - 1, 0)], 0.0)
    return np.asarray(forward[rows, last] + before_last, dtype=np.float64)


def most_of_length(log_probabilities: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """What the probability of any text of at least so many characters cannot exceed.

    A text of n characters needs n steps at which the class is not the blank; steps are independent
    of each other, so the number of such steps has a Poisson binomial distribution.

    Args:
        log_probabilities: [N, 23, T], the blank last.
        length: characters.

    Returns:
        float64 [N].
    """
    blank = np.exp(log_probabilities[:, -1, :])
    count, steps = blank.shape
    chances = np.zeros((count, steps + 1))
    chances[:, 0] = 1.0
    for step in range(steps):
        stays = blank[:, step, None]
        chances[:, 1:] = chances[:, 1:] * stays + chances[:, :-1] * (1.0 - stays)
        chances[:, :1] *= stays
    return np.asarray(chances[:, length:].sum(axis=1))


def search(
    log_probabilities: NDArray[np.float64],
    grammar: Grammar = BUILT_IN.grammar,
    alphabet: str = BUILT_IN.reader.alphabet,
) -> str:
    """The likeliest well-formed plate of one row, [23, T]; "" if the beam holds none."""
    automaton = _automaton(grammar)
    label_of = {character: label for label, character in enumerate(alphabet)}
    state_of = {"": 0}
    beam: dict[str, tuple[float, float]] = {"": (1.0, 0.0)}
    for column in np.exp(log_probabilities.T).tolist():
        likely = {c: column[n] for c, n in label_of.items() if column[n] >= _LEAST_CHARACTER}
        grown: dict[str, tuple[float, float]] = {}
        for prefix, (blank, label) in beam.items():
            last = prefix[-1:]
            repeat = column[label_of[last]] if last else 0.0
            _add(grown, prefix, (blank + label) * column[-1], label * repeat)
            following = automaton[state_of[prefix]]
            for character, probability in likely.items():
                if character in following:
                    longer = prefix + character
                    state_of[longer] = following[character]
                    from_paths = blank if character == last else blank + label
                    _add(grown, longer, 0.0, from_paths * probability)
        ranked = sorted(grown.items(), key=lambda item: (-item[1][0] - item[1][1], item[0]))
        beam = dict(ranked[:_BEAM])
    whole = [text for text in beam if is_plate(text, grammar)]
    return max(whole, key=lambda text: (sum(beam[text]), text), default="")


def log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Logarithms of the classes' probabilities at every step of logits [N, classes, T]."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.asarray(shifted - total, dtype=np.float64)


@lru_cache(maxsize=8)
def _automaton(grammar: Grammar) -> list[dict[str, int]]:
    """For every state, the state that each character leads to; 0 is the empty text's.

    A state is a number of places and the patterns that still fit.
    """
    first = (0, tuple(range(len(grammar))))
    numbers = {first: 0}
    waiting = [first]
    automaton: list[dict[str, int]] = []
    for place, fitting in waiting:  # grows while it is read
        reached: dict[str, list[int]] = {}
        for number in fitting:
            places = grammar[number].places
            for character in places[place] if place < len(places) else "":
                reached.setdefault(character, []).append(number)
        following = {}
        for character, numbers_left in reached.items():
            state = (place + 1, tuple(numbers_left))
            if state not in numbers:
                numbers[state] = len(numbers)
                waiting.append(state)
            following[character] = numbers[state]
        automaton.append(following)
    return automaton


def _add(beam: dict[str, tuple[float, float]], prefix: str, blank: float, label: float) -> None:
    before_blank, before_label = beam.get(prefix, (0.0, 0.0))
    beam[prefix] = (before_blank + blank, before_label + label)
