"""The bound on requests follows the server's queue."""

import threading

import pytest

from platemill.serving.window import MOST_REQUESTS, QueueTimes, Window


class Server:
    """So many instances; each request takes a second. Requests wait as Little's law says."""

    def __init__(self, instances: int) -> None:
        self.instances = instances
        self.times = QueueTimes(0, 0, 0)

    def answer(self, requests: int, in_flight: int) -> QueueTimes:
        waited = max(0.0, in_flight / self.instances - 1)
        before = self.times
        self.times = QueueTimes(
            before.requests + requests,
            before.waited + int(1e9 * waited * requests),
            before.worked + int(1e9 * requests),
        )
        return self.times


def settle(window: Window, server: Server, others: int = 0) -> list[int]:
    """What the bound is, look for look, while it is always reached."""
    seen = []
    window.follow(server.answer(8, others + window.requests))
    for _ in range(40):
        for _ in range(window.requests):
            window.__enter__()
        for _ in range(window._inside):
            window.__exit__()
        window.follow(server.answer(8, others + window.requests))
        seen.append(window.requests)
    return seen


@pytest.mark.parametrize("instances", [1, 2, 3, 8, 24])
def test_every_instance_has_work_and_few_requests_wait(instances: int) -> None:
    seen = settle(Window(), Server(instances))
    assert len(set(seen[-10:])) == 1
    assert instances < seen[-1] <= max(2 * instances, instances + 1)


def test_the_queue_is_shared_with_other_clients() -> None:
    seen = settle(Window(), Server(8), others=6)
    assert 8 < 6 + seen[-1] <= 16


def test_a_long_queue_makes_it_smaller() -> None:
    window = Window(40)
    assert settle(window, Server(2))[-1] <= 4


def test_there_is_a_most() -> None:
    assert settle(Window(), Server(10_000))[-1] == MOST_REQUESTS


def test_a_bound_that_was_never_reached_does_not_grow() -> None:
    window, server = Window(4), Server(8)
    window.follow(server.answer(8, 1))
    for _ in range(5):
        with window:
            pass
        window.follow(server.answer(8, 1))
    assert window.requests == 4


def test_a_server_that_was_started_again_counts_from_zero() -> None:
    window = Window(4)
    window.follow(QueueTimes(100, 10**12, 10**9))
    window.follow(QueueTimes(1, 0, 1))
    window.follow(QueueTimes(9, 0, 10**9))
    assert window.requests == 4


def test_few_answers_say_nothing() -> None:
    window = Window(40)
    window.follow(QueueTimes(0, 0, 0))
    window.follow(QueueTimes(2, 10**12, 10**9))
    assert window.requests == 40


def test_no_more_than_the_bound_come_in() -> None:
    window = Window(3)
    inside, most = 0, 0
    lock, go = threading.Lock(), threading.Event()

    def work() -> None:
        nonlocal inside, most
        with window:
            with lock:
                inside += 1
                most = max(most, inside)
            go.wait(5)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(9)]
    for thread in threads:
        thread.start()
    while window._inside < 3:
        pass
    go.set()
    for thread in threads:
        thread.join()
    assert most == 3
    assert window._inside == 0
