"""What a sweep recommends, and that the overlay says it."""

from pathlib import Path

from platemill.launch.tuning import Choice, Trial, overlay_text, recommended, write_overlay
from platemill.serving.repository import config_of, repository_of
from platemill.settings import Settings

TRIALS = [
    Trial(Choice(1, 4), (50.0, 40.0, 45.0), 2),
    Trial(Choice(2, 4), (90.0, 95.0, 10.0), 3),
    Trial(Choice(2, 8), (91.0, 89.0, 93.0), 3),
    Trial(Choice(3, 8), (91.5, 91.5, 91.5), 4),
]


def test_the_smallest_of_the_fastest_is_recommended() -> None:
    assert recommended(TRIALS) == Choice(2, 4)
    assert recommended([*TRIALS, Trial(Choice(3, 16), (120.0,), 4)]) == Choice(3, 16)


def test_the_overlay_says_what_was_chosen(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    for choice in (Choice(3, 16), Choice(2, 4)):
        path = write_overlay(settings, overlay_text(choice, TRIALS))
    assert [p.name for p in path.parent.iterdir()] == ["config.pbtxt"]
    config = config_of(repository_of(settings), "plate_bulk")
    assert config["instance_group"] == [{"count": 2}]
    assert config["parameters"]["IMAGES_A_REQUEST"] == {"string_value": "4"}
    assert "# 2, 8: 91.0" in path.read_text()
