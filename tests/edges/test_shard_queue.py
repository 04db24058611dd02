from ray_jobs.shard_queue import ShardQueue


def test_shards_are_handed_out_in_order_and_once() -> None:
    queue = ShardQueue(["a", "b"], 3)
    assert [queue.take(), queue.take(), queue.take()] == ["a", "b", None]
    queue.done("a")
    assert not queue.finished
    queue.done("b")
    assert queue.finished
    assert queue.given_up == {}


def test_a_failed_shard_comes_back_after_the_others() -> None:
    queue = ShardQueue(["a", "b"], 3)
    assert queue.take() == "a"
    queue.failed("a", "why")
    assert [queue.take(), queue.take()] == ["b", "a"]


def test_a_shard_is_given_up_after_its_attempts_and_says_why() -> None:
    queue = ShardQueue(["a"], 2)
    for why in ("first", "second"):
        assert not queue.finished
        assert queue.take() == "a"
        queue.failed("a", why)
    assert queue.take() is None
    assert queue.finished
    assert queue.given_up == {"a": "second"}


def test_a_shard_that_was_there_at_two_deaths_is_to_be_isolated_and_is_still_worked_on() -> None:
    queue = ShardQueue(["a", "b"], 3)
    assert [queue.take(), queue.take()] == ["a", "b"]
    assert [queue.died("a"), queue.died("b")] == [False, False]
    assert [queue.take(), queue.take()] == ["a", "b"]
    assert queue.died("a")
    queue.done("b")
    assert queue.waiting == 0
    assert not queue.finished
    queue.give_up("a", "it always dies")
    assert queue.finished
    assert queue.given_up == {"a": "it always dies"}


def test_deaths_do_not_count_as_failures() -> None:
    queue = ShardQueue(["a"], 2)
    queue.take()
    assert not queue.died("a")
    queue.take()
    queue.failed("a", "first")
    assert queue.take() == "a"


def test_attempts_are_counted_whatever_ended_them() -> None:
    queue = ShardQueue(["a"], 3)
    seen = []
    for end in (queue.died, lambda key: queue.failed(key, "why")):
        seen.append(queue.attempt(queue.take() or ""))
        end("a")
    queue.take()
    assert queue.died("a")
    assert [*seen, queue.attempt("a")] == [1, 2, 4]


def test_a_shard_that_is_given_back_is_next_and_has_lost_nothing() -> None:
    queue = ShardQueue(["a", "b", "c"], 1)
    assert queue.take() == "a"
    queue.give_back("a")
    assert queue.waiting == 3
    assert [queue.take(), queue.take()] == ["a", "b"]
    assert queue.attempt("a") == 2
    assert queue.given_up == {}


def test_a_lost_node_is_neither_a_failure_nor_a_death_but_there_is_an_end_to_it() -> None:
    queue = ShardQueue(["a", "b"], max_attempts=1, max_deaths=1, max_losses=3)
    for number in range(2):
        assert queue.take() == "ab"[number]
        queue.lost("ab"[number], "the node is gone")
    # The others come first, for it may be what ends the nodes.
    assert queue.take() == "a"
    queue.lost("a", "again")
    assert [queue.take(), queue.take()] == ["b", "a"]
    queue.done("b")
    assert not queue.finished
    queue.lost("a", "and again")
    assert queue.finished
    assert queue.given_up == {"a": "3 nodes were lost while they worked on it, the last: and again"}


def test_a_closed_queue_hands_out_nothing_more() -> None:
    queue = ShardQueue(["a", "b", "c", "d"], 3)
    queue.take()
    queue.take()
    assert queue.close() == 2
    assert queue.take() is None
    assert not queue.finished
    queue.failed("a", "there is no second try")
    queue.done("b")
    assert queue.finished
    queue.give_back("a")
    assert queue.finished
    assert queue.closed
