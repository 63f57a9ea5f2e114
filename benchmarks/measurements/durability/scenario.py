"""Made-up galleries and everything that may be done to them: what the durability runs kill, fill and damage."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from indexer.decision.decision import Calibration
from indexer.gallery import Gallery
from indexer.records import FloatMatrix, ModelBinding, NewTemplate
from indexer.search import codes

DIMENSION = 16
MODEL = ModelBinding("made-up", "a" * 64, DIMENSION)
OTHER_MODEL = ModelBinding("another", "b" * 64, 8)
PEOPLE, PHOTOS = 40, 2
ERASED = 7
"""The identity that the erase of the scenario destroys."""
REJECTED = {bytes([number]) * 32: ["no_face"] for number in range(1, 6)}
"""Photos that were not enrolled, by digest, and why."""

State = tuple[Any, ...]


@dataclass(frozen=True)
class Command:
    """One thing a user can do: what it is called, how it is done, and what must have been done to the gallery before.

    `aside` is a folder with a gallery `elsewhere` and its export; `made` is where a backup goes.
    """

    name: str
    act: Callable[[Gallery, "Place"], object]
    before: Callable[[Gallery, "Place"], object] | None = field(default=None)
    steps: "tuple[Callable[[Gallery], object], ...]" = field(default=())
    """The transactions that `act` does one after the other, where it does several: what each leaves may be found."""


@dataclass(frozen=True)
class Place:
    """The folders of one run: the gallery, what lies aside for it to read, and where it may make something new."""

    gallery: Path
    aside: Path
    made: Path


def vectors_of(count: int, dimension: int = DIMENSION, seed: int = 0) -> FloatMatrix:
    """Return random unit vectors [count, dimension] float32."""
    vectors = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    result: FloatMatrix = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return result


def photo(name: str, source: str) -> NewTemplate:
    """Make a template of `name` whose digest and vector follow from `source`."""
    digest = hashlib.sha256(source.encode()).digest()
    vector = vectors_of(1, seed=int.from_bytes(digest[:4]))[0]
    return NewTemplate(name, None, vector, f"photos/{source}", digest, (1.0, 2.0, 3.0, 4.0), 0.99, 0.5, "float32")


def photos_of(person: int) -> list[NewTemplate]:
    """Return the photos that a person of the scenario is enrolled with."""
    return [photo(f"Person Number {person}", f"folder-{person}/{i}.jpg") for i in range(PHOTOS)]


def commands() -> list[Command]:
    """Return every command that writes, each with the state it starts from."""
    return [
        Command("add", lambda g, p: g.add([photo("Ann", f"ann/{i}") for i in range(5)] + [photo("Bob", "bob/1")])),
        Command("add and restore", lambda g, p: g.add(photos_of(3), restore=True), lambda g, p: g.remove(3)),
        Command("rename", lambda g, p: g.rename(5, "Another Name")),
        Command("merge", lambda g, p: g.merge(6, 5)),
        Command("remove", lambda g, p: g.remove(4)),
        Command("remove photos", lambda g, p: g.remove_templates([9, 10, 11])),
        Command("restore", lambda g, p: g.restore(3), lambda g, p: g.remove(3)),
        Command("erase", lambda g, p: g.erase(ERASED), _with_history),
        Command("undo", lambda g, p: g.undo(), lambda g, p: g.merge(6, 5)),
        Command("purge", lambda g, p: g.purge(), lambda g, p: g.rename(5, "Another Name")),
        Command("note places", lambda g, p: g.note_places({1: "elsewhere/1.jpg", 2: "elsewhere/2.jpg"})),
        Command("remember", lambda g, p: g.remember_rejected(REJECTED, "policy")),
        Command("calibrate", lambda g, p: g.save_calibrations([calibration()])),
        Command("import", lambda g, p: g.import_(p.aside / "export.parquet")),
        Command("merge-from", lambda g, p: g.merge_from(p.aside / "elsewhere")),
        Command("backup", lambda g, p: g.backup(p.made)),
        Command("rebuild", lambda g, p: g.rebuild()),
        Command("compaction", lambda g, p: g.close(), _half_removed),
        Command("reembed", lambda g, p: g.add_embeddings(OTHER_MODEL, every_id(g), vectors_of(len(every_id(g)), 8))),
        Command(
            "switch model",
            lambda g, p: g.switch_model(OTHER_MODEL),
            lambda g, p: g.add_embeddings(OTHER_MODEL, every_id(g), vectors_of(len(every_id(g)), 8)),
        ),
        Command("switch back", lambda g, p: g.switch_model(MODEL), _there_with_the_caches_of_before),
        Command("there and back", lambda g, p: [step(g) for step in _THERE_AND_BACK], steps=_THERE_AND_BACK),
    ]


def _gather(gallery: Gallery, model: ModelBinding, seed: int) -> None:
    ids = every_id(gallery)
    gallery.add_embeddings(model, ids, vectors_of(len(ids), model.dimension, seed))


_THERE_AND_BACK: tuple[Callable[[Gallery], object], ...] = (
    lambda gallery: _gather(gallery, OTHER_MODEL, 1),
    lambda gallery: gallery.switch_model(OTHER_MODEL, drop=[1]),
    lambda gallery: gallery.flush(),
    lambda gallery: _gather(gallery, MODEL, 2),
    lambda gallery: gallery.switch_model(MODEL, drop=[2]),
    lambda gallery: gallery.flush(),
)
"""To another model and back, each losing a template on the way: no vector is what it was, and no cache is."""


def every_id(gallery: Gallery) -> list[int]:
    """Return the ids of all templates, hidden ones included."""
    return [row.id for row in gallery.templates(include_removed=True)]


def prepare(folder: Path) -> Place:
    """Make the gallery that every command starts from, and what lies aside."""
    place = Place(folder / "start", folder / "aside", folder / "made")
    with Gallery.create(place.gallery, MODEL) as gallery:
        gallery.add([one for person in range(1, PEOPLE + 1) for one in photos_of(person)])
    place.aside.mkdir()
    with Gallery.create(place.aside / "elsewhere", MODEL) as elsewhere:
        elsewhere.add([photo("Eve", "eve/1"), photo("Eve", "eve/2"), *photos_of(2), photo("Other", "folder-1/0.jpg")])
        elsewhere.export(place.aside / "export.parquet")
    return place


def copy_for(command: Command, start: Place, folder: Path) -> Place:
    """Copy the start and bring the copy to where the command begins."""
    place = Place(folder / "gallery", start.aside, folder / "made")
    shutil.copytree(start.gallery, place.gallery)
    if command.before is not None:
        with Gallery.open(place.gallery, writable=True) as gallery:
            command.before(gallery, place)
            if command.name in ("compaction", "switch back"):
                abandon(gallery)
    return place


def abandon(gallery: Gallery) -> None:
    """Let go of a gallery as a killed writer does: the database is closed, the caches stay as they are."""
    gallery._database.close()


def state(gallery: Gallery) -> State:
    """Return everything a user can see, times aside."""
    embeddings = gallery.embeddings()
    return (
        [(one.id, one.name, one.templates, one.removed) for one in gallery.identities(include_removed=True)],
        [
            (one.id, one.identity_id, one.source, one.source_digest, one.box, one.quality, one.removed)
            for one in gallery.templates(include_removed=True)
        ],
        embeddings.template_ids.tolist(),
        embeddings.vectors.tobytes(),
        [(one.id, one.action, one.identity_ids) for one in gallery.undoable()],
        [(one.target, one.scores.tobytes(), one.data) for one in gallery.calibrations()],
        gallery.model.digest,
        gallery.rejected(list(REJECTED), "policy"),
        [
            [(one.id, one.name, one.similarity) for one in found.candidates]
            for found in gallery.search(vectors_of(3, gallery.model.dimension, seed=99), 3)
        ],
    )


def needles(people: list[NewTemplate]) -> dict[str, bytes]:
    """Return what no erase may leave: of each template the vector in three precisions, the name, path and digest."""
    found: dict[str, bytes] = {}
    for number, one in enumerate(people):
        scale = np.abs(one.vector).max() / 127
        found |= {
            f"float32 {number}": one.vector.tobytes(),
            f"float16 {number}": one.vector.astype(np.float16).tobytes(),
            f"int8 {number}": np.rint(one.vector / scale).astype(np.int8).tobytes(),
            f"name {number}": one.name.encode(),
            f"path {number}": one.source.encode(),
            f"digest {number}": one.source_digest,
        }
    return found


def traces(folder: Path, wanted: dict[str, bytes]) -> list[str]:
    """Return which of the needles are in which file of a folder."""
    return [
        f"{what} in {file.name}"
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        for what, needle in wanted.items()
        if needle in file.read_bytes()
    ]


@contextmanager
def coded_small_galleries() -> Iterator[None]:
    """Let galleries of a few templates have 8-bit codes in their files, as only large ones do."""
    usual = codes.CODED_FROM
    codes.CODED_FROM = 8
    try:
        yield
    finally:
        codes.CODED_FROM = usual


def _with_history(gallery: Gallery, place: Place) -> None:
    """Give the person to be erased a past: a former name, a merged alias, a second model's vectors."""
    gallery.remember_rejected(REJECTED, "policy")
    gallery.rename(ERASED, "Former Name")
    gallery.rename(ERASED, f"Person Number {ERASED}")
    gallery.merge(ERASED + 1, ERASED)


def _there_with_the_caches_of_before(gallery: Gallery, place: Place) -> None:
    """Move to another model, and gather for the way back, while the caches stay those of the first."""
    _gather(gallery, OTHER_MODEL, 1)
    gallery.switch_model(OTHER_MODEL, drop=[1])
    _gather(gallery, MODEL, 2)


def _half_removed(gallery: Gallery, place: Place) -> None:
    for person in range(1, PEOPLE // 2):
        gallery.remove(person)


def calibration() -> Calibration:
    """Return a made-up calibration of the scenario's gallery."""
    return Calibration(
        target="fpir",
        scores=np.linspace(0.9, 0.1, 20, dtype=np.float32),
        trials=100,
        gallery_size=PEOPLE,
        templates_per_identity=float(PHOTOS),
        fusion="max",
        model_digest=MODEL.digest,
        precision="float32",
        data="made-up",
        date="2026-11-22",
    )
