"""How a run stands, by the files in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from platemill.launch.heartbeat import read_pulse
from platemill.launch.records import ERROR, STOPPED, SUMMARY

__all__ = ["standing"]


def standing(folder: Path) -> dict[str, Any]:
    """How a run stands, whether it still works, has ended or was killed.

    Args:
        folder: the run's.

    Returns:
        ``run_id``; ``state``: ``published``, ``nothing new``, ``budget spent``, ``failed``,
        ``stopped``, ``crashed``, ``running`` or ``unfinished``; ``error``, a text with the cure or
        None; and of a run that ended well what its summary says.
    """
    row: dict[str, Any] = {"run_id": folder.name, "state": "unfinished", "error": None}
    if (folder / SUMMARY).exists():
        summary = json.loads((folder / SUMMARY).read_text())
        row["state"] = "published" if summary["images_new"] else "nothing new"
        if summary.get("images_left") and not summary["images_new"]:
            row["state"] = "budget spent"
        seconds = summary.pop("seconds")
        row |= {name: value for name, value in summary.items() if name != "run_id"}
        row["seconds"] = seconds["total"]
        # Summaries of before costs were counted have none.
        costs = summary.get("costs") or {}
        row |= {name: costs.get(name) for name in ("node_hours", "price", "currency")}
    elif (folder / ERROR).exists():
        error = json.loads((folder / ERROR).read_text())
        row |= {"state": "failed", "error": f"{error['error']}: {error['text']}"}
    elif (folder / STOPPED).exists():
        stopped = json.loads((folder / STOPPED).read_text())
        row |= {"state": "stopped", "error": f"it was stopped at {stopped['at']}. Run again"}
    elif (pulse := read_pulse(folder)) is not None:
        row["state"] = "crashed" if pulse.is_dead() else "running"
        if pulse.is_dead():
            row["error"] = (
                f"its flow, {pulse}, ended without a word after {pulse.at}. Run again: what was "
                "recognised is kept"
            )
    return row
