"""Flips every bit and replaces bytes in every file of a small gallery with a past: who notices, what is answered.

Every answer of the damaged gallery (a search, each listing, thresholds, the undo list, what photos are enrolled) is
compared with the sound one's. Three outcomes are right. Refused: some answer says StoreDamaged (exit code 5), all
others are as before, and `check` finds damage. Mended: the caches are not believed, every answer is as before, and
`rebuild` mends them. Harmless: every answer is as before, and so is each row of each table (free space, a reserved
byte). What is wrong is another answer without a word, damage to the truth that `check` does not find, or a crash.
"""

import itertools
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measurements.durability.scenario import (
    MODEL,
    OTHER_MODEL,
    REJECTED,
    calibration,
    coded_small_galleries,
    every_id,
    photo,
    vectors_of,
)
from indexer.cache import index_cache
from indexer.crypto.envelope import unlock
from indexer.crypto.keys import usual_key
from indexer.errors import StoreDamaged
from indexer.gallery import Gallery
from indexer.store.acknowledged import FILE
from indexer.store.driver import connect
from indexer.store.schema import metadata
from indexer.store.sqlite_store import DATABASE, LOCK

_QUERIES = vectors_of(3, seed=99)
_PEOPLE = 6
_NAMES = ("Person 1", "Another Name", "Person 4", "Nobody")

_ANSWERS: dict[str, Callable[[Gallery], Any]] = {
    "search": lambda gallery: [(one.candidates, one.exact_decision) for one in gallery.search(_QUERIES, 5)],
    "people": lambda gallery: gallery.identities(include_removed=True),
    "active people": lambda gallery: gallery.identities(),
    "templates": lambda gallery: list(gallery.templates(include_removed=True)),
    "active templates": lambda gallery: list(gallery.templates()),
    "find": lambda gallery: [gallery.find(name) for name in _NAMES],
    "enrolled": lambda gallery: gallery.enrolled([_photo(1, 0).source_digest, _photo(4, 1).source_digest]),
    "thresholds": lambda gallery: [(one.scores.tobytes(), one.trials, one.data) for one in gallery.calibrations()],
    "rejected": lambda gallery: gallery.rejected(list(REJECTED), "policy"),
    "undoable": lambda gallery: gallery.undoable(),
    "size": lambda gallery: gallery.size,
    "model": lambda gallery: (gallery.model, gallery.fusion, gallery.revision),
    "vectors": lambda gallery: gallery.embeddings().vectors.tobytes(),
}


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


@dataclass(frozen=True)
class _Case:
    """A sound gallery, one of its files to damage, and whether the caches are there."""

    label: str
    folder: Path
    file: str


def damage_all(folder: Path, replacements: int, every: int = 1, first: int = 0, seed: int = 0) -> list[Damaged]:
    """Flip every bit (or each `every`th from the `first` on) of what is used of each file; replace so many bytes.

    Each file is torn off at 16 places, too. The database is damaged twice, with the caches beside it and without.
    """
    rng = random.Random(seed)
    with coded_small_galleries():
        cases = list(_cases(folder))
        used = [_used(case.folder / case.file) for case in cases]
        results = []
        for case, places in zip(cases, used, strict=True):
            content = (case.folder / case.file).read_bytes()
            share = max(1, replacements * len(places) // sum(map(len, used)))
            bits = [(place, content[place] ^ 1 << bit) for place in places for bit in range(8)]
            bytes_ = [(place, rng.randrange(256)) for place in rng.choices(places, k=share)]
            tears: list[tuple[int, int | None]] = [(len(content) * one // 16, None) for one in range(16)]
            results.append(_try(case, "flipped bit", bits[first::every]))
            results.append(_try(case, "replaced byte", [one for one in bytes_ if content[one[0]] != one[1]]))
            results.append(_try(case, "torn off", tears))
        return results


def _cases(folder: Path) -> Iterator[_Case]:
    closed, killed = _galleries(folder)
    bare = folder / "bare"
    shutil.copytree(closed, bare)
    index_cache.remove_all(bare)
    for file in sorted(one.name for one in closed.iterdir()):
        if file == LOCK or file.endswith(("-wal", "-shm")):
            continue
        kind = next((what for what in ("owners", "vectors") if _holds(closed / file, what)), None)
        label = file if kind is None else f"segment of {kind}"
        yield _Case(label, closed, file)
        if file == DATABASE:
            yield _Case(f"{label}, without caches", bare, file)
    yield _Case(f"{DATABASE}-wal, after a kill", killed, f"{DATABASE}-wal")
    yield _Case(f"{FILE}, after a kill", killed, FILE)


def _holds(file: Path, what: str) -> bool:
    return file.suffix == ".safetensors" and f'"{what}"'.encode() in file.read_bytes()[:1000]


def _used(file: Path) -> list[int]:
    """Return the places of the bytes that are not zero, or next to one: a small database is mostly free space."""
    content = np.frombuffer(file.read_bytes(), np.uint8) != 0
    used: list[int] = np.flatnonzero(content | np.roll(content, 1) | np.roll(content, -1)).tolist()
    return used


def _photo(person: int, number: int) -> Any:
    return photo(f"Person {person}", f"{person}/{number}.jpg")


def _galleries(folder: Path) -> tuple[Path, Path]:
    """Make a gallery with rows in every table, segments and tombstones: closed, and as a kill leaves it."""
    closed = folder / "closed"
    with Gallery.create(closed, MODEL) as gallery:
        gallery.add([_photo(person, number) for person in range(1, _PEOPLE + 1) for number in range(2)])
    with Gallery.open(closed, writable=True) as gallery:
        gallery.rename(2, "Another Name")
        gallery.merge(3, 2)
        gallery.remove(4)
        gallery.remove_templates([1])
        gallery.erase(6)
        gallery.add([photo("Late", "late/1")])
        gallery.add_embeddings(OTHER_MODEL, every_id(gallery)[:2], vectors_of(2, OTHER_MODEL.dimension))
        gallery.save_calibrations([calibration()])
        gallery.remember_rejected(REJECTED, "policy")
    open_one, killed = folder / "open", folder / "killed"
    shutil.copytree(closed, open_one)
    with Gallery.open(open_one, writable=True) as gallery:
        gallery.add([photo("Last", "last/1")])
        gallery.rename(5, "Last Rename")
        shutil.copytree(open_one, killed)  # the last two changes are in the log only
    return closed, killed


def _try(case: _Case, kind: str, changes: Sequence[tuple[int, int | None]]) -> Damaged:
    """Make each change (a place and its new byte, or none: the file ends there) to a copy of the gallery."""
    counts = {"refused": 0, "mended": 0, "harmless": 0}
    failures = []
    path = case.folder.with_name("damaged")
    shutil.copytree(case.folder, path)
    with Gallery.open(path) as gallery:
        expected = {name: ask(gallery) for name, ask in _ANSWERS.items()}
    rows = None if case.file.endswith("-wal") else _rows(path / DATABASE)
    for place, byte in changes:
        shutil.rmtree(path)
        shutil.copytree(case.folder, path, copy_function=shutil.copyfile)
        _change(path / case.file, place, byte)
        try:
            counts[_outcome(path, case, expected, rows)] += 1
        except _WrongError as error:
            failures.append(f"{case.label}, byte {place} to {byte}: {error}")
        except Exception as error:  # a crash: that is what this run looks for
            failures.append(f"{case.label}, byte {place} to {byte}: {type(error).__name__}: {error}")
    shutil.rmtree(path)
    return Damaged(case.label, kind, len(changes), **counts, failures=tuple(failures))


class _WrongError(Exception):
    """Something a user would suffer from."""


def _change(file: Path, place: int, byte: int | None) -> None:
    handle = os.open(file, os.O_WRONLY)
    try:
        if byte is None:
            os.truncate(handle, place)
        else:
            os.pwrite(handle, bytes([byte]), place)
    finally:
        os.close(handle)


def _outcome(path: Path, case: _Case, expected: dict[str, Any], rows: list[Any] | None) -> str:
    refused = False
    try:
        gallery = Gallery.open(path)
    except StoreDamaged:
        return "refused"
    with gallery:
        for name, ask in _ANSWERS.items():
            try:
                if ask(gallery) != expected[name]:
                    raise _WrongError(f"{name}: another answer without a word")
            except StoreDamaged:
                refused = True
        problems = _problems(gallery)
    if any(not mends for mends in problems):
        return "refused"
    if refused:
        raise _WrongError("an answer was refused, and check finds nothing")
    if not problems:
        if rows is not None and case.file == DATABASE and _rows(path / DATABASE) != rows:
            raise _WrongError("a row of the truth is another one, and check finds nothing")
        return "harmless"
    with Gallery.open(path, writable=True) as gallery:
        gallery.rebuild()
    with Gallery.open(path) as gallery:
        if any(ask(gallery) != expected[name] for name, ask in _ANSWERS.items()) or gallery.check(deep=True):
            raise _WrongError("not mended by a rebuild")
    return "mended"


def _problems(gallery: Gallery) -> list[bool]:
    """Return, for each problem that `check` finds, whether a rebuild mends it; deep only where the truth is sound."""
    try:
        problems = gallery.check() or gallery.check(deep=True)
    except StoreDamaged:
        return [False]
    return [one.rebuild_mends for one in problems]


def _rows(database: Path) -> list[Any]:
    """Return every row of every table, read by SQLite (or SQLCipher) alone."""
    found: list[Any] = []
    with closing(connect(f"file:{database}?mode=ro", unlock(database.parent, usual_key()))) as raw:
        for table in itertools.chain(sorted(metadata.tables), ("alembic_version", "sqlite_sequence")):
            found.append(sorted(map(repr, raw.execute(f"SELECT * FROM {table}"))))
    return found
