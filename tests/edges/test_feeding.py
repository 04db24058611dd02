import threading
from collections import deque
from collections.abc import Iterable, Iterator

import pytest

from ray_jobs.feeding import Feed, Turnstile


class Meter:
    """Counts the images that are between being read and being a row."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = 0
        self.peak = 0

    def add(self, number: int) -> None:
        with self.lock:
            self.now += number
            self.peak = max(self.peak, self.now)


def windowed(items: Iterable[int], width: int, meter: Meter) -> Iterator[int]:
    """As the recogniser does: up to ``width`` in flight, results in order."""
    pending: deque[int] = deque()
    for item in items:
        meter.add(1)
        pending.append(item)
        if len(pending) == width:
            meter.add(-1)
            yield pending.popleft()
    while pending:
        meter.add(-1)
        yield pending.popleft()


def test_two_shards_at_once_hold_no_more_images_than_there_is_room() -> None:
    room, meter, out = 4, Meter(), {"a": [], "b": [], "c": []}  # type: ignore[var-annotated]
    turnstile = Turnstile(room)

    def shard(name: str) -> None:
        feed: Feed[int, int] = Feed(turnstile)
        with feed:
            out[name].extend(feed.results(windowed(feed.images(range(200)), room, meter)))

    threads = [threading.Thread(target=shard, args=(name,)) for name in out]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "the shards wait for one another"
    assert all(result == list(range(200)) for result in out.values())
    assert meter.peak <= room


def test_the_next_shard_is_read_while_the_last_one_is_written() -> None:
    turnstile = Turnstile(4)
    first: Feed[int, int] = Feed(turnstile)
    second: Feed[int, int] = Feed(turnstile)
    with first, second:
        assert list(first.images([1, 2])) == [1, 2]
        # The first shard has no result yet, but all of its images went through.
        feeding = second.images([3, 4, 5])
        assert [next(feeding), next(feeding)] == [3, 4]
        assert list(first.results([1])) == [1]
        assert next(feeding) == 5


def test_a_shard_that_fails_gives_back_its_room_and_its_place() -> None:
    turnstile = Turnstile(2)
    with pytest.raises(ValueError, match="broken"), Feed(turnstile) as feed:
        images = feed.images([1, 2, 3])
        assert [next(images), next(images)] == [1, 2]
        raise ValueError("broken")
    after: Feed[int, int] = Feed(turnstile)
    with after:
        assert list(after.results(windowed(after.images(range(5)), 2, Meter()))) == [0, 1, 2, 3, 4]
