"""Does every writing command on a disk that is full: it fails in clear words or succeeds, and loses nothing.

The disk is a small tmpfs of its own (which takes the right to mount); it is filled up but for a few kilobytes, ever
more of them, until the command succeeds.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measurements.durability.scenario import (
    MODEL,
    Command,
    Place,
    coded_small_galleries,
    commands,
    copy_for,
    prepare,
    state,
)
from indexer.errors import FaceIdError
from indexer.gallery import Gallery
from indexer.store.sqlite_store import DATABASE

_SIZE = 64 << 20  # of the disk
_STEP = 16 << 10  # more free bytes at each trial
_ENOUGH = 16 << 20  # with so much free space every command of the scenario must succeed


@dataclass(frozen=True)
class Filled:
    """One command: how many free sizes were tried, how often it was refused, and what was wrong afterwards."""

    command: str
    sizes: int
    refused: int
    succeeded: int
    failures: tuple[str, ...]


def can_mount(folder: Path) -> bool:
    """Whether this user may mount a tmpfs."""
    try:
        with small_disk(folder, 1 << 20):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """Mount an empty disk of `size` bytes on `folder`."""
    folder.mkdir(exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True, capture_output=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)


def fill_all(folder: Path, only: frozenset[str] = frozenset(), step: int = _STEP) -> list[Filled]:
    """Do every command with no free byte, with `step` free bytes, and so on, until it succeeds three times."""
    with coded_small_galleries(), small_disk(folder / "disk", _SIZE) as disk:
        start = prepare(folder)
        found = [
            _fill(command, start, folder, disk, step) for command in commands() if not only or command.name in only
        ]
        return [_fill_create(disk, step), *found] if not only or "create" in only else found


def _fill(command: Command, start: Place, folder: Path, disk: Path, step: int) -> Filled:
    ready = folder / f"ready {command.name}"
    ready.mkdir()
    copy_for(command, start, ready)
    with Gallery.open(ready / "gallery") as gallery:
        before = state(gallery)
    free, sizes, refused, succeeded, failures = 0, 0, 0, 0, list[str]()
    while succeeded < 3 and free < _ENOUGH:
        place = Place(disk / "gallery", start.aside, disk / "made")
        shutil.copytree(ready / "gallery", place.gallery)
        fill_up(disk, free)
        done, problem = _attempt(command, place)
        (disk / "filler").unlink()
        sizes, refused, succeeded = sizes + 1, refused + (not done), succeeded + done
        where = f"{command.name} with {free} free bytes"
        failures += [f"{where}: {one}" for one in ([problem] if problem else [])]
        with Gallery.open(place.gallery, writable=True) as gallery:
            after = state(gallery)
        if not done and after != before and command.name not in ("erase", "purge", "compaction"):
            failures.append(f"{where}: refused, and yet something changed")
        if done and command.name in ("add", "rename", "remove", "merge") and after == before:
            failures.append(f"{where}: acknowledged and lost")
        with Gallery.open(place.gallery) as gallery:
            failures += [f"{where}: {one.text}" for one in gallery.check(deep=True)]
        failures += [f"{where}: {one.name} was left" for one in place.gallery.iterdir() if one.name.startswith(".")]
        shutil.rmtree(place.gallery)
        shutil.rmtree(place.made, ignore_errors=True)
        free += step
    if not succeeded:
        failures.append(f"{command.name}: refused even with {free} free bytes")
    return Filled(command.name, sizes, refused, succeeded, tuple(failures))


def _fill_create(disk: Path, step: int) -> Filled:
    free, sizes, refused, succeeded, failures = 0, 0, 0, 0, list[str]()
    while succeeded < 3 and free < _ENOUGH:
        fill_up(disk, free)
        try:
            Gallery.create(disk / "gallery", MODEL).close()
            succeeded += 1
        except FaceIdError:
            refused += 1
            if (disk / "gallery" / DATABASE).exists():
                failures.append(f"create with {free} free bytes: refused, and yet there is a gallery")
        (disk / "filler").unlink()
        if not (disk / "gallery" / DATABASE).exists():
            Gallery.create(disk / "gallery", MODEL).close()  # nothing half-made stands in the way
        shutil.rmtree(disk / "gallery")
        sizes, free = sizes + 1, free + step
    return Filled("create", sizes, refused, succeeded, tuple(failures))


def _attempt(command: Command, place: Place) -> tuple[bool, str | None]:
    """Whether the command succeeded; anything but a plain refusal is a problem."""
    try:
        with Gallery.open(place.gallery, writable=True) as gallery:
            command.act(gallery, place)
        return True, None
    except FaceIdError as error:
        return False, None if error.exit_code == 1 else f"{type(error).__name__}: {error}"
    except Exception as error:  # a traceback for the user: that is what this run looks for
        return False, f"{type(error).__name__}: {error}"


def fill_up(disk: Path, free: int) -> None:
    """Leave so many bytes of the disk free."""
    room = os.statvfs(disk)
    size = max(0, room.f_bavail * room.f_frsize - free)
    with (disk / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, size))
