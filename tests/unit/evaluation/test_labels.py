"""Labels are read whole, or the line that is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from platemill.errors import ConfigurationError
from platemill.evaluation.labels import Label, read_labels

HEAD = "file,plate,xmin,ymin,xmax,ymax,country,note\n"


def written(folder: Path, *lines: str, head: str = HEAD) -> Path:
    (folder / "labels.csv").write_text(head + "".join(line + "\n" for line in lines))
    return folder


def test_every_kind_of_row(tmp_path: Path) -> None:
    labels = read_labels(
        written(
            tmp_path,
            "b.jpg,a123bc77,1,2,30.5,12,RU,",
            "a.jpg,,5,5,9,8,,ignore: dirty",
            "a.jpg,,15,5,29,8,RO,box only",
            "none.jpg,,,,,,,no plate",
        )
    )
    assert list(labels) == ["a.jpg", "b.jpg", "none.jpg"]
    assert labels["b.jpg"] == [Label("A123BC77", (1, 2, 30.5, 12), "RU")]
    assert [label.ignored for label in labels["a.jpg"]] == [True, False]
    assert labels["none.jpg"] == []


def test_country_and_note_may_be_left_out_and_others_are_ignored(tmp_path: Path) -> None:
    head = "\ufefffile,plate,xmin,ymin,xmax,ymax,who\n"
    labels = read_labels(written(tmp_path, "a.jpg,A123BC77,1,2,3,4,me", head=head))
    assert labels == {"a.jpg": [Label("A123BC77", (1, 2, 3, 4))]}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (",A123BC77,1,2,3,4,RU,", "file is blank"),
        ("a.jpg,A123BC77,1,2,three,4,RU,", "must be numbers, got 1,2,three,4"),
        ("a.jpg,A123BC77,,,,,RU,", "must be numbers"),
        ("a.jpg,A123BC77,1,2", "must be numbers"),
        ("a.jpg,A123BC77,3,2,3,4,RU,", "xmin < xmax"),
        ("a.jpg,A123BC77,1,2,nan,4,RU,", "xmin < xmax"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, what: str) -> None:
    with pytest.raises(ConfigurationError, match=f"line 3 of .*labels.csv: .*{what}"):
        read_labels(written(tmp_path, "fine.jpg,,1,2,3,4,,", line))


def test_what_is_no_table_of_labels_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no .*labels\.csv: a labelled folder holds"):
        read_labels(tmp_path)
    with pytest.raises(ConfigurationError, match="has no column plate, ymax"):
        read_labels(written(tmp_path, head="file,xmin,ymin,xmax\n"))
    with pytest.raises(ConfigurationError, match="names no photo"):
        read_labels(written(tmp_path))
    (tmp_path / "labels.csv").write_bytes(b"file,plate\xff\xfe\n")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_labels(tmp_path)
