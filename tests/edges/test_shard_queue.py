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
