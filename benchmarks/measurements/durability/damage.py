"""Flips bits in every region of every file of a gallery and tears their ends off: who notices, and what is answered.

Three outcomes are right. Refused: opening or the first touch says StoreDamaged (exit code 5), or `check --deep` finds
damage that no rebuild mends. Found and rebuilt: `check --deep` finds it, searches answer as before, and `rebuild`
mends it. Nothing changed: the bit meant nothing (free space, a reserved byte); everything a user can see, and every
answer, is as before. What is wrong is a different answer that nobody noticed, or a crash.
"""

import itertools
import random
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measurements.durability.scenario import (
    OTHER_MODEL,
    State,
    calibration,
    coded_small_galleries,
    every_id,
    photo,
    prepare,
    state,
    vectors_of,
)
from indexer.errors import FaceIdError, StoreDamaged
from indexer.gallery import DATABASE, LOCK, Gallery
from indexer.records import Candidate
from indexer.store.acknowledged import FILE

_QUERIES = vectors_of(4, seed=99)

Answers = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Damaged:
    """One file under one kind of damage: how often it was tried, and with what outcome."""

    file: str
    kind: str
    tried: int
    refused: int
    mended: int
    harmless: int
    failures: tuple[str, ...]


def damage_all(folder: Path, times: int, seed: int = 0) -> list[Damaged]:
    """Flip `times` bits altogether, half of them in the database, and tear each file at 16 places."""
    rng = random.Random(seed)
    with coded_small_galleries():
        closed, killed = _galleries(folder)
        results: list[Damaged] = []
        for sound, names in ((closed, _files(closed)), (killed, [f"{DATABASE}-wal", FILE])):
            with Gallery.open(sound) as gallery:
                expected = state(gallery), _answers(gallery)
            for name in names:
                size = (sound / name).stat().st_size
                share = times // 2 if name == DATABASE else times // 2 // (len(_files(closed)) + 1)
                used = _used(sound / name)
                # One bit in each of so many regions of equal size: no part of what is used is left out.
                count = min(len(used), share)
                bounds = [len(used) * one // count for one in range(count + 1)]
                places = [used[rng.randrange(*pair)] for pair in itertools.pairwise(bounds)]
                flips = [_Damage(name, place, 1 << rng.randrange(8)) for place in places]
                tears = [_Damage(name, size * one // 16, 0) for one in range(16)]
                label = f"{name[:11]}...{len(results) // 2}" if name.startswith("index-") else name
                results.append(_try(label, "flipped bit", flips, sound, folder, expected))
                results.append(_try(label, "torn off", tears, sound, folder, expected))
    return results


def _used(file: Path) -> list[int]:
    """Return the places of the bytes that are not zero, or next to one: a small database is mostly free space."""
    content = np.frombuffer(file.read_bytes(), np.uint8) != 0
    used: list[int] = np.flatnonzero(content | np.roll(content, 1) | np.roll(content, -1)).tolist()
    return used


def _files(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir() if one.name not in (LOCK, f"{DATABASE}-shm", f"{DATABASE}-wal"))


@dataclass(frozen=True)
class _Damage:
    file: str
    place: int
    mask: int  # 0: the file ends here

    def apply(self, folder: Path) -> None:
        content = bytearray((folder / self.file).read_bytes())
        if self.mask:
            content[self.place] ^= self.mask
        else:
            del content[self.place :]
        (folder / self.file).write_bytes(content)


def _galleries(folder: Path) -> tuple[Path, Path]:
    """Make a gallery with a row in every table, segments and tombstones: closed, and as a kill leaves it."""
    closed = prepare(folder).gallery
    with Gallery.open(closed, writable=True) as gallery:
        gallery.rename(5, "Another Name")
        gallery.merge(6, 5)
        gallery.remove(4)
        gallery.add([photo("Late", f"late/{i}") for i in range(3)])
        gallery.add_embeddings(OTHER_MODEL, every_id(gallery)[:5], vectors_of(5, OTHER_MODEL.dimension))
        gallery.save_calibrations([calibration()])
    open_one, killed = folder / "open", folder / "killed"
    shutil.copytree(closed, open_one)
    with Gallery.open(open_one, writable=True) as gallery:
        gallery.add([photo("Last", "last/1")])
        gallery.rename(7, "Last Rename")
        shutil.copytree(open_one, killed)  # the last two changes are in the log only
    return closed, killed


def _try(
    label: str, kind: str, damages: list[_Damage], sound: Path, folder: Path, expected: tuple[State, Answers]
) -> Damaged:
    counts = {"refused": 0, "mended": 0, "harmless": 0}
    failures = []
    path = folder / "damaged"
    for damage in damages:
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(sound, path)
        damage.apply(path)
        try:
            counts[_outcome(path, expected)] += 1
        except _WrongError as error:
            failures.append(f"{damage.file}, byte {damage.place}, mask {damage.mask}: {error}")
        except Exception as error:  # a crash: that is what this run looks for
            failures.append(f"{damage.file}, byte {damage.place}, mask {damage.mask}: {type(error).__name__}: {error}")
    return Damaged(label, kind, len(damages), **counts, failures=tuple(failures))


class _WrongError(Exception):
    """Something a user would suffer from."""


def _outcome(path: Path, expected: tuple[State, Answers]) -> str:
    try:
        with Gallery.open(path) as gallery:
            answers = _answers(gallery)
            seen = state(gallery)
            problems = gallery.check(deep=True)
    except StoreDamaged:
        return "refused"
    except FaceIdError as error:
        raise _WrongError(f"{type(error).__name__} instead of StoreDamaged: {error}") from error
    if any(not one.rebuild_mends for one in problems):
        return "refused"
    if answers != expected[1]:
        raise _WrongError("other answers, and nobody noticed")
    if seen != expected[0]:
        raise _WrongError("something else is seen, and nobody noticed")
    if not problems:
        return "harmless"
    with Gallery.open(path, writable=True) as gallery:
        gallery.rebuild()
        if _answers(gallery) != expected[1] or state(gallery) != expected[0]:
            raise _WrongError("the next writer sees something else")
    with Gallery.open(path) as gallery:
        if left := gallery.check(deep=True):
            raise _WrongError(f"not mended: {left[0].text}")
    return "mended"


def _answers(gallery: Gallery) -> Answers:
    return tuple(tuple(_numbers(one)) for one in gallery.search(_QUERIES, 5))


def _numbers(answer: Any) -> Iterator[float]:
    candidates: Iterable[Candidate] = getattr(answer, "candidates", answer)
    for one in candidates:
        yield from (float(one.id), one.similarity, float(hash(one.name)))
