"""Kills `encrypt` and `rotate` at each write, and lets them run into a full disk: nothing lost, nothing mixed.

After each the source answers as before, under one key and not under the other; the copy is not there, or is the whole
of it; the same command then succeeds; and no file of the copy, half-made ones included, can be read.
"""

import itertools
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measurements.durability.full_disk import can_mount, fill_up, small_disk
from benchmarks.measurements.durability.kills import die_at
from benchmarks.measurements.durability.scenario import (
    PEOPLE,
    State,
    coded_small_galleries,
    needles,
    photos_of,
    prepare,
    state,
    traces,
)
from indexer.crypto.keys import KeyFile
from indexer.errors import FaceIdError, KeyMissing, WrongKey
from indexer.gallery import Gallery
from indexer.store.sqlite_store import DATABASE

_DISK = 32 << 20
_ENOUGH = 16 << 20


@dataclass(frozen=True)
class Tried:
    """How often one command was stopped, and how; what was wrong afterwards."""

    command: str
    how: str
    times: int
    failures: tuple[str, ...]


@dataclass(frozen=True)
class _Place:
    """A gallery, where an encrypted copy goes, the gallery's key (None: plain) and the one to come."""

    gallery: Path
    made: Path
    key: KeyFile | None
    new: KeyFile


_COMMANDS: dict[str, Callable[[_Place], object]] = {
    "encrypt": lambda place: Gallery.encrypt(place.gallery, place.made, place.new, source_key=place.key),
    "encrypt anew": lambda place: Gallery.encrypt(place.gallery, place.made, place.new, source_key=place.key),
    "rotate": lambda place: Gallery.rotate(place.gallery, place.new, key=place.key),
}


def encrypt_and_rotate(folder: Path, step: int = 16 << 10) -> list[Tried]:
    """Stop each command at each of its writes, and for want of disk space in steps of so many bytes."""
    old, new = (write_key(folder / name, number) for name, number in (("old", 1), ("new", 2)))
    with coded_small_galleries():
        plain = prepare(folder / "start").gallery
        Gallery.encrypt(plain, folder / "encrypted", old)
        with Gallery.open(folder / "encrypted", writable=True, key=old) as gallery:
            before = state(gallery)  # and its caches are there
        starts = {"encrypt": (plain, None), "encrypt anew": (folder / "encrypted", old)}
        starts["rotate"] = starts["encrypt anew"]
        results = []
        for name, (start, key) in starts.items():
            run = _Run(name, start, before, _Place(folder / "run" / "gallery", folder / "run" / "made", key, new))
            results.append(run.killed_at_each_write())
            if can_mount(folder / "disk"):
                with small_disk(folder / "disk", _DISK) as disk:
                    place = _Place(disk / "gallery", disk / "made", key, new)
                    results.append(_Run(name, start, before, place).on_a_full_disk(disk, step))
        return results


@dataclass(frozen=True)
class _Run:
    name: str
    start: Path
    before: State
    place: _Place

    def killed_at_each_write(self) -> Tried:
        failures: list[str] = []
        for step in itertools.count(1):
            self._fresh()
            killed = self._fork(step)
            failures += [f"{self.name}, killed at write {step}: {one}" for one in self._wrong(not killed)]
            if not killed:
                return Tried(self.name, "killed at each write", step - 1, tuple(failures))
        raise AssertionError("unreachable")

    def on_a_full_disk(self, disk: Path, step: int) -> Tried:
        failures: list[str] = []
        tried, succeeded = 0, 0
        for free in range(0, _ENOUGH, step):
            self._fresh()
            fill_up(disk, free)
            done = False
            where = f"{self.name} with {free} free bytes"
            try:
                _COMMANDS[self.name](self.place)
                done = True
            except FaceIdError as error:
                if error.exit_code != 1:
                    failures.append(f"{where}: {type(error).__name__}: {error}")
            except Exception as error:  # a traceback for the user: that is what this run looks for
                failures.append(f"{where}: {type(error).__name__}: {error}")
            (disk / "filler").unlink()
            failures += [f"{where}: {one}" for one in self._wrong(done)]
            tried, succeeded = tried + 1, succeeded + done
            if succeeded == 2:
                break
        return Tried(self.name, "full disk", tried, tuple(failures))

    def _fresh(self) -> None:
        for path in (self.place.gallery, self.place.made):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self.start, self.place.gallery)

    def _fork(self, step: int) -> bool:
        """Do the command in a process that dies at its `step`-th write; whether it died."""
        child = os.fork()
        if not child:
            code = 1
            with suppress(BaseException):
                die_at(step)
                _COMMANDS[self.name](self.place)
                code = 0
            os._exit(code)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if not killed and status:
            raise RuntimeError(f"{self.name} failed by itself")
        return killed

    def _wrong(self, done: bool) -> Iterator[str]:
        if self.name == "rotate":
            yield from self._wrong_of_a_rotation(done)
            return
        yield from self._wrong_of_a_copy(done)

    def _wrong_of_a_rotation(self, done: bool) -> Iterator[str]:
        opened = [key for key in (self.place.key, self.place.new) if self._opens(self.place.gallery, key)]
        if len(opened) != 1:
            yield f"{len(opened)} keys open it"
        elif done and opened != [self.place.new]:
            yield "the old key opens it still"
        else:
            yield from self._unlike(self.place.gallery, opened[0])
            if opened == [self.place.key]:
                Gallery.rotate(self.place.gallery, self.place.new, key=self.place.key)

    def _wrong_of_a_copy(self, done: bool) -> Iterator[str]:
        yield from self._unlike(self.place.gallery, self.place.key)
        everybody = [one for person in range(1, PEOPLE + 1) for one in photos_of(person)]
        if self.place.made.exists():
            yield from traces(self.place.made, needles(everybody))
        if not (self.place.made / DATABASE).exists():
            if done:
                yield "the copy is gone"
            _COMMANDS[self.name](self.place)  # nothing half-made stands in the way
        yield from self._unlike(self.place.made, self.place.new)
        yield from traces(self.place.made, needles(everybody))

    def _unlike(self, folder: Path, key: KeyFile | None) -> Iterator[str]:
        """Tell where a gallery is not what it was, to a reader and to the next writer."""
        try:
            for writable in (False, True):
                with Gallery.open(folder, writable=writable, key=key) as gallery:
                    if state(gallery) != self.before:
                        yield f"{folder.name} is not what it was"
            with Gallery.open(folder, key=key) as gallery:
                yield from (f"check of {folder.name}: {one.text}" for one in gallery.check(deep=True))
        except FaceIdError as error:
            yield f"{folder.name}: {type(error).__name__}: {error}"
        yield from (f"{one.name} was left behind" for one in folder.iterdir() if one.name.startswith("."))

    def _opens(self, folder: Path, key: KeyFile | None) -> bool:
        try:
            Gallery.open(folder, key=key).close()
        except (KeyMissing, WrongKey):
            return False
        return True


def write_key(path: Path, number: int) -> KeyFile:
    """Write a key of 32 equal bytes where only its owner may read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(bytes([number] * 32).hex())
    path.chmod(0o600)
    return KeyFile(str(path))
