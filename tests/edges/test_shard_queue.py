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
