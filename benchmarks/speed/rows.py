"""What a run of the speed benchmark found, as rows: a table for people, speed.json for programs."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.results.record_json import encode
from indexer.durable_file import replacing

SCHEMA_VERSION = 1
FILE = "speed.json"
HEAD = ("task", "on", "what ran", "ms", "a second", "faceid takes", "note")


@dataclass(frozen=True)
class SpeedRow:
    """One contestant in one task: `ours`, a `bound` measured beside it, or a `peer`.

    `seconds` (the least of several rounds) were spent on `count` `unit`s; None where it could not run, and `note` says
    why. `ours_takes` is our seconds over these: how many times as long as this faceid takes.
    """

    task: str
    size: str
    contestant: str
    kind: Literal["ours", "bound", "peer"]
    seconds: float | None
    count: int
    unit: str
    ours_takes: float | None
    note: str = ""


@dataclass(frozen=True)
class Speed:
    """The rows of one run, and the machine and the packages that they hold for."""

    rows: tuple[SpeedRow, ...]
    machine: dict[str, str]
    versions: dict[str, str]
    model: str
    date: str


def write_speed(speed: Speed, folder: Path) -> Path:
    """Write speed.json to the folder; returns its path."""
    with replacing(folder / FILE) as temporary:
        record = {"schema_version": SCHEMA_VERSION, **encode(speed)}
        temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return folder / FILE


def speed_table(speed: Speed) -> list[tuple[str, ...]]:
    """Return the rows as text under HEAD; what could not run has no figures, and the note says why."""
    return [
        (
            row.task,
            row.size,
            row.contestant if row.kind != "bound" else f"bound: {row.contestant}",
            "" if row.seconds is None else f"{1000 * row.seconds:,.2f}",
            "" if row.seconds is None else f"{row.count / row.seconds:,.0f} {row.unit}",
            "" if row.ours_takes is None or row.kind == "ours" else f"{row.ours_takes:.2f} times as long",
            row.note,
        )
        for row in speed.rows
    ]
