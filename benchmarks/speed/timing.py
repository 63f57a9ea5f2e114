"""Contestants that take turns, so that a busy moment of the machine hits all of them, and the least time of each."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.speed.rows import SpeedRow

ROUNDS = 5
LEAST_SECONDS = 0.1  # of one round of a contestant: what takes less is run several times


@dataclass(frozen=True)
class Contestant:
    """Something to time; `share` scales its seconds where it did another amount of work than the task's (a bound).

    `run` None: it is not there, and `note` says why.
    """

    name: str
    kind: Literal["ours", "bound", "peer"]
    run: Callable[[], object] | None
    share: float = 1.0
    note: str = ""


def race(task: str, size: str, count: int, unit: str, contestants: Sequence[Contestant]) -> list[SpeedRow]:
    """Time the contestants, the first of them ours, on `count` `unit`s; return their rows in that order."""
    running = {one.name: one.run for one in contestants if one.run is not None}
    least = fastest(running)
    seconds = [least[one.name] * one.share if one.name in least else None for one in contestants]
    ours = seconds[0]
    return [
        SpeedRow(
            task,
            size,
            one.name,
            one.kind,
            spent,
            count,
            unit,
            None if spent is None or ours is None else ours / spent,
            one.note,
        )
        for one, spent in zip(contestants, seconds, strict=True)
    ]


def fastest(functions: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Return the wall-clock seconds of one call of each, the least of `rounds` rounds; a first call is not counted."""
    repeats: dict[str, int] = {}
    for name, function in functions.items():
        function()  # pays for set-up
        repeats[name] = max(1, round(LEAST_SECONDS / max(_seconds(function, 1), 1e-9)))
    least = dict.fromkeys(functions, float("inf"))
    for _ in range(rounds):
        for name, function in functions.items():
            least[name] = min(least[name], _seconds(function, min(repeats[name], 10_000)))
    return least


def _seconds(function: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats
