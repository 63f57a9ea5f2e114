"""A writer and eight reader threads on one gallery: python -m benchmarks.measurements.side_by_side [--seconds 600].

The writer, a process of its own, adds groups of four people that look alike, hides them, brings them back and erases
them, each in one transaction (the erasing person by person), and now and then closes, compacts and backs up the
gallery. The readers look for the groups. Found must be all four or none (no mix of two revisions), and what the writer
was told is done must be seen by every search that begins later (nothing stale). Memory is sampled all along.
"""

import argparse
import multiprocessing
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import SynchronizedArray
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measurements.durability.scenario import vectors_of
from indexer.gallery import Gallery
from indexer.records import FloatMatrix, ModelBinding, NewTemplate

DIMENSION = 128
MODEL = ModelBinding("side by side", "c" * 64, DIMENSION)
GROUPS, TOGETHER = 24, 4
ALIKE = 0.9
"""Two of a group are more similar than this; of two strangers in 128 dimensions nobody is."""

_ABSENT, _PRESENT, _CHANGING = 0, 1, 2
_EVERY_SECONDS = 2.0  # between two samples of memory


@dataclass
class Seen:
    """What the readers did and what went wrong."""

    searches: int = 0
    reopened: int = 0
    errors: list[str] = field(default_factory=list)
    mixes: int = 0
    stale: int = 0
    megabytes: list[float] = field(default_factory=list)


def main() -> None:
    """Run the two side by side and print what was seen; exit code 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--people", type=int, default=30_000, help="strangers in the gallery, one template each")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--pause", type=float, default=0.05, help="seconds a thread waits between two searches")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="side-by-side-"))
    try:
        seen, written = run(folder, options.seconds, options.people, options.threads, options.pause)
    finally:
        shutil.rmtree(folder)
    first, last = growth(seen.megabytes)
    print(f"{seen.searches} searches by {options.threads} threads, {seen.reopened} times reopened; {written}")
    print(f"errors {len(seen.errors)}, mixes {seen.mixes}, stale answers {seen.stale}")
    print(f"readers' memory: {first:.0f} MB in the second quarter, {last:.0f} MB in the last (median)")
    for error in seen.errors[:20]:
        print(error)
    sys.exit(1 if seen.errors or seen.mixes or seen.stale or last > 1.05 * first + 10 else 0)


def run(folder: Path, seconds: float, people: int, threads: int, pause: float) -> tuple[Seen, str]:
    """Read beside a writer for so many seconds; what the readers saw and what the writer says it did."""
    path = folder / "gallery"
    with Gallery.create(path, MODEL) as gallery:
        gallery.add([_template(f"stranger {i}", f"s{i}", one) for i, one in enumerate(vectors_of(people, DIMENSION))])
    context = multiprocessing.get_context("spawn")
    states: SynchronizedArray[int] = context.Array("b", GROUPS)
    says, hears = context.Pipe()
    writer = context.Process(target=_write, args=(path, folder, states, seconds, pause, says))
    writer.start()
    seen, lock = Seen(), threading.Lock()
    until = time.monotonic() + seconds
    shared = Gallery.open(path)
    # Half of the threads share one gallery, the others open their own, again and again.
    galleries = [shared if number % 2 else None for number in range(threads)]
    readers = [
        threading.Thread(target=_read, args=(path, one, states, until, pause, number, seen, lock))
        for number, one in enumerate(galleries)
    ]
    for reader in readers:
        reader.start()
    while time.monotonic() < until:
        seen.megabytes.append(_resident())
        time.sleep(min(_EVERY_SECONDS, max(0.01, until - time.monotonic())))
    for reader in readers:
        reader.join()
    shared.close()
    written = hears.recv() if hears.poll(120) else "the writer died"
    writer.join(60)
    if writer.exitcode != 0:
        seen.errors.append(f"the writer ended with {writer.exitcode}: {written}")
    with Gallery.open(path) as gallery:
        seen.errors += [problem.text for problem in gallery.check(deep=True)]
    return seen, written


def growth(megabytes: list[float]) -> tuple[float, float]:
    """Return the median of the second quarter and that of the last."""
    quarter = max(1, len(megabytes) // 4)
    return float(np.median(megabytes[quarter : 2 * quarter] or megabytes)), float(np.median(megabytes[-quarter:]))


def group_vectors(group: int) -> FloatMatrix:
    """Return the vectors [4, D] of a group that look alike, and like nobody else."""
    middle = vectors_of(1, DIMENSION, seed=10_000 + group)
    vectors = middle + 0.1 * vectors_of(TOGETHER, DIMENSION, seed=20_000 + group)
    result: FloatMatrix = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return result


def _read(
    path: Path, shared: Gallery | None, states: Any, until: float, pause: float, number: int, seen: Seen, lock: Any
) -> None:
    rng = np.random.default_rng(number)
    mine = None
    try:
        while time.monotonic() < until:
            if shared is None and (mine is None or rng.random() < 0.02):
                if mine is not None:
                    mine.close()
                mine = Gallery.open(path)
                with lock:
                    seen.reopened += 1
            gallery = shared or mine
            assert gallery is not None
            group = int(rng.integers(GROUPS))
            before = states[group]
            (answer,) = gallery.search(group_vectors(group)[:1], 2 * TOGETHER)
            after = states[group]
            found = [one for one in answer.candidates if one.similarity > ALIKE]
            with lock:
                seen.searches += 1
                seen.mixes += len(found) not in (0, TOGETHER)
                seen.mixes += any(not one.name.startswith(f"group {group} ") for one in found)
                # Between two looks at a state that did not change the writer may have been there and back again.
                seen.stale += before == after and before != _CHANGING and len(found) != TOGETHER * before
            time.sleep(pause)
    except Exception as error:
        with lock:
            seen.errors.append(f"reader {number}: {type(error).__name__}: {error}")
    finally:
        if mine is not None:
            mine.close()


def _write(path: Path, folder: Path, states: Any, seconds: float, pause: float, says: Any) -> None:
    rng = np.random.default_rng(99)
    until = time.monotonic() + seconds - 1
    counts = dict.fromkeys(("add", "remove", "undo", "erase", "pending", "reopen", "backup"), 0)
    templates: dict[int, list[int]] = {}
    hidden: set[int] = set()
    gallery = Gallery.open(path, writable=True)
    while time.monotonic() < until:
        group = int(rng.integers(GROUPS))
        was = states[group]
        states[group] = _CHANGING
        if group not in templates:
            new = [
                _template(f"group {group} no {i}", f"{group}/{i}", one) for i, one in enumerate(group_vectors(group))
            ]
            templates[group] = [one.template_id or 0 for one in gallery.add(new)]
            counts["add"] += 1
            states[group] = _PRESENT
        elif group in hidden:
            gallery.undo(next(one.id for one in gallery.undoable() if _hid(gallery, one.id, templates[group])))
            hidden.discard(group)
            counts["undo"] += 1
            states[group] = _PRESENT
        elif rng.random() < 0.7:
            gallery.remove_templates(templates[group])
            hidden.add(group)
            counts["remove"] += 1
            states[group] = _ABSENT
        elif rng.random() < 0.3:
            gallery.remove_templates(
                templates[group]
            )  # so that they go at once, and the erasing one by one is not seen
            for identity in [one for one in gallery.identities(True) if one.name.startswith(f"group {group} ")]:
                counts["erase"] += 1
                counts["pending"] += gallery.erase(identity.id) == "pending"
            del templates[group]
            states[group] = _ABSENT
        else:
            states[group] = was
        if rng.random() < 0.05:
            gallery.close()
            gallery = Gallery.open(path, writable=True)
            counts["reopen"] += 1
        if rng.random() < 0.01:
            gallery.backup(folder / "backup")
            shutil.rmtree(folder / "backup")
            counts["backup"] += 1
        time.sleep(4 * pause)
    gallery.close()
    says.send(", ".join(f"{count} {name}" for name, count in counts.items()))


def _hid(gallery: Gallery, entry: int, templates: list[int]) -> bool:
    """Whether an entry of the trail is the one that hid these templates."""
    with gallery._database.read() as connection:
        text = connection.exec_driver_sql("SELECT payload FROM undo WHERE audit_id = ?", (entry,)).scalar()
    return str(text) == f'{{"templates": {sorted(templates)}}}'


def _template(name: str, source: str, vector: FloatMatrix) -> NewTemplate:
    digest = np.frombuffer(source.encode().ljust(32, b"\0")[:32], np.uint8).tobytes()
    return NewTemplate(name, None, vector, f"photos/{source}", digest, None, None, None, "float32")


def _resident() -> float:
    """Return this process's memory in megabytes, without the pages of mapped files, which the system may take back."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
