"""An engine and a gallery used from many threads beside a writer; every answer is compared with a single thread's.

A gallery has two states: without the writer's person and with. A single thread is asked in both; what a thread gets
later must be what was answered in the state of the revision that the answer names.
"""

import hashlib
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.demo.people import write_people
from faceid import Answer, FaceEngine, Gallery, ModelBinding, NewTemplate, PersonPhoto, SearchResult, user_threshold

PEOPLE, STRANGERS = 10, 4  # drawn, of three photos each
Write = tuple[str, bool]
THRESHOLD = user_threshold(0.5)
DIMENSION, QUERIES, BEST = 512, 400, 5
NOISE = 0.05  # of each of a query's numbers; a vector's own are 1 / sqrt(512) = 0.044
WRITERS_NAME = "the writer's"
AT_ONCE = 5_000  # templates added in one transaction


@dataclass
class LoadTally:
    """What threads got: answers, those that a single thread did not get, and errors by their class."""

    answers: int = 0
    wrong: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    writes: int = 0
    longest: dict[str, float] = field(default_factory=dict)  # seconds of the longest write of each kind
    seconds: float = 0.0


@dataclass(frozen=True)
class Load:
    """What is asked (each question is a function of nothing) and what the writer does, over and over."""

    questions: Sequence[Callable[[], Any]]
    change: Callable[[], Iterator[Write]]  # yields each write, and whether its person is there now
    revision: Callable[[], int]


def engine_load(engine: FaceEngine, gallery: Gallery, folder: Path) -> Load:
    """Enrol drawn people in a gallery, and ask about them and about strangers: identify, verify, search."""
    photos = write_people(folder, PEOPLE + STRANGERS, 3, seed=3)
    homes = sorted({photo.parent for photo in photos})
    known, writers = homes[:PEOPLE], homes[-1]
    engine.enroll(gallery, [PersonPhoto(home / f"{one}.jpg", home.name) for home in known for one in (1, 2)])
    shown = [home / "3.jpg" for home in homes]
    vectors = engine.embed(shown).vectors
    questions: list[Callable[[], Any]] = [partial(engine.identify, gallery, one, THRESHOLD) for one in shown]
    questions += [partial(engine.identify, gallery, one.read_bytes(), THRESHOLD) for one in shown[::3]]
    questions += [partial(engine.verify, one, shown[0], THRESHOLD) for one in (shown[1], homes[0] / "1.jpg")]
    questions += [partial(gallery.search, row[None], BEST) for row in vectors[::2]]

    def change() -> Iterator[Write]:
        (enrolled,) = engine.enroll(gallery, PersonPhoto(writers / "1.jpg", WRITERS_NAME))
        assert enrolled.status == "enrolled", enrolled
        yield "enrol", True
        gallery.flush()
        yield "flush", True
        (person,) = gallery.find(WRITERS_NAME)
        gallery.remove(person.id)
        yield "remove", False
        gallery.erase(person.id)
        yield "erase", False

    return Load(questions, change, lambda: gallery.revision)


def search_load(gallery: Gallery, templates: int, searches: int) -> Load:
    """Fill a gallery with random vectors, and ask for many of them at once, each a little turned."""
    rng = np.random.default_rng(5)
    vectors = _unit(rng.standard_normal((templates, DIMENSION), dtype=np.float32))
    for start in range(0, templates, AT_ONCE):
        gallery.add([_template(f"{row}", vectors[row]) for row in range(start, min(start + AT_ONCE, templates))])
    gallery.flush()
    rows = rng.integers(0, templates, (searches, min(QUERIES, templates)))
    noise = rng.normal(0, NOISE, (*rows.shape, DIMENSION)).astype(np.float32)
    asked = _unit(vectors[rows] + noise)
    mine = _unit(vectors[rows[0, :1]] + rng.normal(0, NOISE / 2, DIMENSION).astype(np.float32))[0]
    numbers = itertools.count()

    def change() -> Iterator[Write]:
        (added,) = gallery.add([_template(f"late {next(numbers)}", mine, WRITERS_NAME)])
        assert added.identity_id is not None
        yield "enrol", True
        gallery.flush()
        yield "flush", True
        gallery.remove(added.identity_id)
        yield "remove", False
        gallery.erase(added.identity_id)
        yield "erase", False

    return Load([partial(gallery.search, one, BEST) for one in asked], change, lambda: gallery.revision)


def model_of_vectors() -> ModelBinding:
    """Return what a gallery of random vectors is bound to."""
    return ModelBinding("random", "0" * 64, DIMENSION)


def put_under(load: Load, threads: int, *, seconds: float | None = None) -> LoadTally:
    """Ask from that many threads beside a writer for so long, or each question once; return what they got."""
    expected = _alone(load)
    tally = LoadTally()
    state_of: dict[int, bool] = {load.revision(): False}
    got: list[list[tuple[int, Any]]] = [[] for _ in range(threads)]
    over, lock = threading.Event(), threading.Lock()
    started = time.monotonic()

    def guarded(act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # what is counted here
            with lock:
                tally.errors[f"{type(error).__module__}.{type(error).__qualname__}"] += 1

    def write() -> None:
        while not over.is_set():
            begun = time.monotonic()
            for what, there in load.change():
                tally.longest[what] = max(tally.longest.get(what, 0.0), time.monotonic() - begun)
                tally.writes += 1
                state_of[load.revision()] = there
                time.sleep(0.02)  # a writer that never rests leaves few revisions that are searched as they are
                begun = time.monotonic()

    def answer(number: int, question: int) -> None:
        got[number].append((question, load.questions[question]()))

    def ask(number: int) -> None:
        order = list(range(len(load.questions)))
        random.Random(number).shuffle(order)
        asked = [number % len(order)] if seconds is None else itertools.cycle(order)
        for question in asked:
            if seconds is not None and time.monotonic() - started > seconds:
                return
            guarded(partial(answer, number, question))

    writer = threading.Thread(target=lambda: guarded(write))
    writer.start()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(ask, range(threads)))
    tally.seconds = time.monotonic() - started
    over.set()
    writer.join()
    for question, its in itertools.chain(*got):
        tally.answers += 1
        tally.wrong += _wrong(its, expected, question, state_of)
    return tally


def _alone(load: Load) -> dict[bool, list[Any]]:
    """Return what one thread is answered without the writer's person, and with."""
    expected = {False: [_said(question()) for question in load.questions]}
    for _, there in load.change():
        if there and True not in expected:
            expected[True] = [_said(question()) for question in load.questions]
    return expected


def _wrong(answer: Any, expected: dict[bool, list[Any]], question: int, state_of: dict[int, bool]) -> list[str]:
    said = _said(answer)
    revision = _revision(answer)
    states = [state_of[revision]] if revision in state_of else [False, True]
    if any(said == expected[one][question] for one in states):
        return []
    return [f"question {question}, revision {revision}: {said!r:.300} and not {expected[states[0]][question]!r:.300}"]


def _revision(answer: Any) -> int | None:
    if not isinstance(answer, list):
        return None
    first = answer[0]
    return first.gallery_revision if isinstance(first, Answer) else first.revision


def _said(answer: Any) -> Any:
    """Return of an answer what does not depend on how often the writer wrote: all but ids, revision, probability."""
    if not isinstance(answer, list):
        return answer.similarity, answer.same
    return [
        (
            [(one.name, one.similarity, one.rank) for one in found.candidates],
            found.exact_decision,
            found.exact_candidates,
            None if isinstance(found, SearchResult) else (found.decision, found.box, found.landmarks, found.quality),
        )
        for found in answer
    ]


def _template(source: str, vector: Any, name: str | None = None) -> NewTemplate:
    digest = hashlib.sha256(source.encode()).digest()
    return NewTemplate(name or f"person {source}", None, vector, source, digest, None, None, None, "float32")


def _unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
