"""Kills a writer at every write of every command and at random moments, and looks at what it left.

A command is killed in a process of its own (a fork, so that a kill costs milliseconds): nothing that was acknowledged
may be lost, nothing half-done may be seen, and `check --deep` must find nothing.
"""

import itertools
import math
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from benchmarks.measurements.durability.scenario import (
    ERASED,
    MODEL,
    REJECTED,
    Command,
    Place,
    State,
    coded_small_galleries,
    commands,
    copy_for,
    needles,
    photos_of,
    prepare,
    state,
    traces,
)
from indexer.cache.segment_file import SegmentWriter
from indexer.errors import FaceIdError
from indexer.gallery import Gallery
from indexer.store.database import Database
from indexer.store.person_keys import PersonKeys
from indexer.store.sqlite_store import DATABASE


@dataclass(frozen=True)
class Killed:
    """How often one command was killed, at its writes and at random, and what was wrong afterwards."""

    command: str
    at_writes: int
    at_random: int
    acknowledged: int
    failures: tuple[str, ...]


def kill_all(
    folder: Path, times: int, only: frozenset[str] = frozenset(), every: int = 1, seed: int = 0
) -> Iterator[Killed]:
    """Kill each command at each of its writes (or every so many), and at random until it had its share of `times`."""
    rng = random.Random(seed)
    with coded_small_galleries():
        start = prepare(folder)
        chosen: list[Command | None] = [one for one in commands() if not only or one.name in only]
        if not only or "create" in only:
            chosen.insert(0, None)
        share = math.ceil(times / len(chosen))
        for command in chosen:
            run = _Run(command, start, folder / "run")
            at_writes = list(run.kill_at_each_write(every))
            left = max(0, share - len(at_writes))
            at_random = [run.kill_after(rng.uniform(0, run.seconds * 1.05)) for _ in range(left)]
            yield run.summary(at_writes, at_random)


@dataclass(frozen=True)
class _Outcome:
    killed: bool
    acknowledged: bool
    failures: tuple[str, ...]


class _Run:
    """One command (None: create), the states before and after it, and how long it takes."""

    def __init__(self, command: Command | None, start: Place, folder: Path) -> None:
        self.command = command
        self.start = start
        self.folder = folder
        self.ready = folder.parent / f"ready {self.name}"
        if command is not None:
            self.ready.mkdir()
            copy_for(command, start, self.ready)
        place = self._fresh()
        self.before = self._state(place.gallery)
        self.between = self._states_between(place)
        self._fresh()
        started = time.perf_counter()
        outcome = self._fork(lambda: None, self._fresh())
        self.seconds = time.perf_counter() - started
        if outcome != (False, True):
            raise RuntimeError(f"{self.name} failed by itself")
        self.after = self._state(self._place().gallery)

    def _states_between(self, place: Place) -> list[State | None]:
        """Return what each transaction of a command of several leaves."""
        steps = () if self.command is None else self.command.steps
        states = []
        for step in steps:
            with Gallery.open(place.gallery, writable=True) as gallery:
                step(gallery)
            states.append(self._state(place.gallery))
        return states

    @property
    def name(self) -> str:
        return "create" if self.command is None else self.command.name

    def kill_at_each_write(self, every: int) -> Iterator[_Outcome]:
        """Kill at the first write, the second, ... until the command comes to its end."""
        for step in itertools.count(1, every):
            place = self._fresh()
            killed, acknowledged = self._fork(lambda step=step: die_at(step), place)  # type: ignore[misc]
            failures = tuple(f"{self.name}, killed at write {step}: {one}" for one in self._wrong(place, acknowledged))
            if not killed:
                if failures:
                    yield _Outcome(False, acknowledged, failures)
                return
            yield _Outcome(True, acknowledged, failures)

    def kill_after(self, seconds: float) -> _Outcome:
        """Kill after so many seconds."""
        place = self._fresh()
        killed, acknowledged = self._fork(lambda: None, place, seconds)
        where = f"{self.name}, killed after {seconds * 1000:.1f} ms"
        failures = tuple(f"{where}: {one}" for one in self._wrong(place, acknowledged))
        return _Outcome(killed, acknowledged, failures)

    def summary(self, at_writes: list[_Outcome], at_random: list[_Outcome]) -> Killed:
        every = [*at_writes, *at_random]
        return Killed(
            self.name,
            sum(one.killed for one in at_writes),
            sum(one.killed for one in at_random),  # the others were done before the kill came
            sum(one.acknowledged for one in every),
            tuple(failure for one in every for failure in one.failures),
        )

    def _place(self) -> Place:
        return Place(self.folder / "gallery", self.start.aside, self.folder / "made")

    def _fresh(self) -> Place:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        if self.command is not None:
            shutil.copytree(self.ready / "gallery", self.folder / "gallery")
        return self._place()

    def _fork(
        self, prepare_to_die: Callable[[], None], place: Place, kill_after: float | None = None
    ) -> tuple[bool, bool]:
        """Do the command in a process of its own; whether it was killed, and whether it was acknowledged before."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(reader)
                prepare_to_die()
                self._do(place, lambda: os.write(writer, b"."))
                os._exit(0)
            except BaseException as error:  # the parent must hear of it, not run on as a second parent
                sys.stderr.write(f"{self.name}: {error!r}\n")
                os._exit(1)
        os.close(writer)
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        acknowledged = os.read(reader, 1) == b"."
        os.close(reader)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if not killed and status != 0:
            raise RuntimeError(f"{self.name} failed by itself")
        return killed, acknowledged

    def _do(self, place: Place, acknowledge: Callable[[], object]) -> None:
        if self.command is None:
            gallery = Gallery.create(place.gallery, MODEL)
            acknowledge()
            gallery.close()
            return
        gallery = Gallery.open(place.gallery, writable=True)
        self.command.act(gallery, place)
        acknowledge()
        gallery.close()

    def _state(self, path: Path) -> State | None:
        if not (path / DATABASE).exists():
            return None
        with Gallery.open(path) as gallery:
            return state(gallery)

    def _wrong(self, place: Place, acknowledged: bool) -> Iterator[str]:
        """Tell what a user would find wrong after the kill."""
        try:
            yield from self._wrong_if_it_opens(place, acknowledged)
        except FaceIdError as error:
            yield f"{type(error).__name__}: {error}"

    def _wrong_if_it_opens(self, place: Place, acknowledged: bool) -> Iterator[str]:
        path = place.gallery
        if self.command is None and not (path / DATABASE).exists():
            if acknowledged:
                yield "the gallery is gone"
            Gallery.create(path, MODEL).close()  # nothing half-made stands in the way
            return
        with Gallery.open(path) as gallery:  # a reader comes first: it must not need a writer to see the truth
            as_read = state(gallery)
        with Gallery.open(path, writable=True) as gallery:
            found = state(gallery)
            if found != as_read:
                yield "a reader and the next writer see different galleries"
            if found != self.after and (acknowledged or found not in [self.before, *self.between]):
                yield "what was acknowledged is lost" if acknowledged else "neither the state before nor the one after"
            erased = self.name == "erase" and found == self.after
        with Gallery.open(path) as gallery:
            yield from (f"check: {problem.text}" for problem in gallery.check(deep=True))
        leftovers = [file.name for file in path.iterdir() if file.name.startswith(".")]
        yield from (f"{name} was left behind" for name in leftovers)
        if erased:
            gone = [*photos_of(ERASED), *photos_of(ERASED + 1)]
            yield from traces(
                path, {**needles(gone), "former name": b"Former Name", "rejected photo": next(iter(REJECTED))}
            )
        if self.name == "backup":
            made = self._state(place.made)
            if made is None and acknowledged:
                yield "the backup is gone"
            elif made is not None and made != self.before:
                yield "the backup is not what the gallery was"
            if made is not None:
                with Gallery.open(place.made) as backup:
                    yield from (f"check of the backup: {problem.text}" for problem in backup.check(deep=True))


def die_at(step: int) -> None:
    """Let this process die at its `step`-th write: of rows, a commit, bytes, an fsync, a renaming, a deletion."""
    left = step

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    @event.listens_for(Engine, "before_cursor_execute")
    def before(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.split()[0] in ("INSERT", "UPDATE", "DELETE", "CREATE"):
            count()

    @event.listens_for(Engine, "commit")
    def commit(connection: Any) -> None:
        count()

    def around(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        @wraps(original)
        def replacement(*arguments: Any, **options: Any) -> Any:
            count()
            result = original(*arguments, **options)
            count()
            return result

        setattr(owner, name, replacement)

    for owner, name in (
        (Engine, "dispose"),
        (Database, "scrub"),
        (SegmentWriter, "write"),
        (os, "pwrite"),
        (os, "fsync"),
        (Path, "replace"),
        (Path, "write_text"),
        (Path, "unlink"),
        (PersonKeys, "issue"),
        (PersonKeys, "keep_only"),
        (PersonKeys, "renew_cache_key"),
        (PersonKeys, "note"),
    ):
        around(owner, name)
