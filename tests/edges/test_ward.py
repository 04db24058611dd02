from pathlib import Path

import pytest

from platemill.schema import Stage
from ray_jobs.ward import Ward, server_death, worker_death


def test_one_shard_is_in_at_a_place_and_the_others_wait() -> None:
    ward = Ward()
    assert ward.at("n1") is None
    for key in ("a", "b", "c"):
        ward.admit(key, 10)
    first, second = ward.at("n1"), ward.at("n2")
    assert first is not None
    assert second is not None
    assert (first.key, second.key) == ("a", "b")
    assert ward.at("n1") is first
    ward.leave(first)
    third = ward.at("n1")
    assert third is not None
    assert third.key == "c"
    ward.leave(second)
    ward.leave(third)
    assert ward.empty


def test_a_shard_whose_worker_is_gone_goes_on_elsewhere_before_the_others() -> None:
    ward = Ward()
    ward.admit("a", 10)
    ward.admit("b", 10)
    patient = ward.at("n1")
    assert patient is not None
    assert ward.find("a") is patient
    ward.move(patient)
    assert ward.at("n2") is patient
    with pytest.raises(KeyError):
        ward.find("b")


@pytest.mark.parametrize(
    ("trail", "stage"),
    [
        ("read     ", Stage.READ),
        ("decode   ", Stage.DECODE),
        ("infer    ", Stage.INFER),
        ("", Stage.DECODE),
        (None, Stage.DECODE),
    ],
)
def test_a_worker_s_trail_says_where_it_died(
    tmp_path: Path, trail: str | None, stage: Stage
) -> None:
    path = tmp_path / "trail"
    if trail is not None:
        path.write_text(trail)
    death = worker_death(path, "killed by 9")
    assert death.stage is stage
    assert death.detail.endswith("alone: killed by 9")
    assert not path.exists()


def test_a_server_dies_or_hangs_while_it_recognises() -> None:
    assert server_death(False, "gone").stage is Stage.INFER
    assert "died" in server_death(False, "gone").detail
    assert "hung" in server_death(True, "late").detail


def test_who_waits_or_is_in_without_being_worked_on_is_idle() -> None:
    ward = Ward()
    assert ward.idle == 0
    ward.admit("a", 10)
    ward.admit("b", 10)
    patient = ward.at("n1")
    assert patient is not None
    assert (ward.idle, ward.places) == (2, {"n1": patient})
    patient.busy = True
    assert ward.idle == 1
    ward.leave(patient)
    assert (ward.idle, ward.places) == (1, {})
