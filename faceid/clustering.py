"""Photos into people, without names: who is known by a gallery, who else comes several times, and who is unclear.

A folder keeps what was done (`faces.npz`), so that a further run looks only at new photos and people keep their numbers
and names. It holds faces' vectors: biometric data of people who may never have agreed.
"""

import csv
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faceid.engine import FaceEngine
from faceid.npz_file import read_arrays
from faceid.pipeline import BATCH_PHOTOS, FoundFace
from faceid.results import Record
from faceid.vision.images import ImageError, UInt8Image, file_named, is_file, read_photo
from faceid.vision.opencv import cv2
from faceid.vision.photo_list import TOO_MANY_CELLS, has_too_many_cells, rows_of_csv
from faceid.vision.picture import Picture
from faceid.vision.quality import Limits
from indexer.decision.context import decision_score, people_needed
from indexer.decision.decision import Threshold, decide
from indexer.durable_file import replacing
from indexer.errors import FaceIdError, FileNotWritten
from indexer.gallery import Gallery
from indexer.hygiene.clusters import cluster
from indexer.hygiene.graph import Pairs, near_pairs, with_new
from indexer.records import FloatMatrix, FloatVector, Ids
from indexer.text import csv_cell, printable

STATE, MANIFEST, FACES, PEOPLE = "faces.npz", "manifest.csv", "faces.csv", "people"
FORMAT = 1
FAR = 1e-5
"""Pairs of two people that count as near, by default: measured in docs/results/hygiene.md."""

_AROUND = 0.6  # of a face's box, shown around it where it is cut out of a photo of several people
_OUR_FOLDER, _OUR_FILE = re.compile(r"(person|known)-\d{5,}(-b)?"), re.compile(r"\d{7}\.[a-z0-9]+")


class ClusteringError(FaceIdError):
    """A folder of clusters that is damaged, of another model, or not one at all."""


@dataclass(frozen=True, eq=False)
class Faces:
    """The n faces of an archive, in the order in which they came.

    `photos` int64 [n] numbers the photo of each; `sources` [n] are their absolute paths, `digests` [n] hex SHA-256,
    `boxes` [n, 4] in pixels. `usable` bool [n]: good enough to be compared. `threshold` is the similarity from which
    two faces are near.
    """

    model: str
    threshold: float
    vectors: FloatMatrix
    photos: Ids
    sources: NDArray[np.str_]
    digests: NDArray[np.str_]
    boxes: NDArray[np.float64]
    usable: NDArray[np.bool_]
    labels: Ids
    pairs: Pairs


@dataclass(frozen=True)
class SortedFace:
    """Where one face went: `known` (of the gallery), `person` (comes several times), `single` or `unclear`."""

    source: str
    box: tuple[float, float, float, float]
    status: str
    person: str | None
    name: str | None
    similarity: float | None
    number: int

    def record(self) -> Record:
        """Return what `faceid cluster --json` writes."""
        return {
            "source": self.source,
            "box": [round(value, 1) for value in self.box],
            "status": self.status,
            "person": self.person,
            "name": self.name,
            "similarity": self.similarity,
        }


def read_faces(folder: Path, model: str, threshold: float) -> Faces:
    """Read what an earlier run left in a folder; nothing of another model or threshold. Raises ClusteringError."""
    path = folder / STATE
    try:
        values = read_arrays(path)
        if int(values["format"]) != FORMAT:
            raise ValueError(f"format {int(values['format'])}, this program reads {FORMAT}")
        faces = Faces(
            str(values["model"]),
            float(values["threshold"]),
            values["vectors"],
            values["photos"],
            values["sources"],
            values["digests"],
            values["boxes"],
            values["usable"],
            values["labels"],
            Pairs(values["first"], values["second"], values["similarity"]),
        )
        _check(faces)
    except FileNotFoundError:
        return _no_faces(model, threshold)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ClusteringError(f"{printable(path)}: not what a run left ({error}); begin in another folder") from error
    if faces.model != model or faces.threshold != threshold:
        raise ClusteringError(
            f"{printable(path)}: made with another model or threshold ({faces.threshold:.4f}); begin in another folder"
        )
    return faces


def add_photos(
    engine: FaceEngine,
    pictures: Iterable[Picture],
    faces: Faces,
    failed: Callable[[str, str], None],
    limits: Limits | None,
) -> Faces:
    """Find the faces on photos that are not among `faces` yet, and sort all of them into people.

    `failed` is told the source and reason code of a photo that cannot be used. Faces below `limits` are kept apart. Of
    a photo that is among `faces`, and not where it was, the new place is noted.
    """
    places = dict(zip(faces.digests.tolist(), faces.sources.tolist(), strict=True))
    rows: list[tuple[FoundFace, str, str, int]] = []
    photo = int(faces.photos.max(initial=-1)) + 1
    stream = iter(pictures)
    while batch := list(islice(stream, BATCH_PHOTOS)):
        files = []
        for file in engine.pipeline.read(batch):
            digest = "" if file.digest is None else file.digest.hex()
            if digest not in places:
                files.append(file)
            elif not is_file(file_named(places[digest])):
                places[digest] = file.picture.address
        for found in engine.pipeline.find_faces(files, "all"):
            if found.reason_code and found.reason_code != "no_face":
                failed(found.picture.source, found.reason_code)
            digest = "" if found.digest is None else found.digest.hex()
            if found.faces and digest not in places:
                places[digest] = found.picture.address
                rows += [(face, found.picture.address, digest, photo) for face in found.faces]
                photo += 1
    faces = replace(faces, sources=np.array([places[digest] for digest in faces.digests.tolist()], np.str_))
    return _with_rows(faces, rows, limits) if rows else faces


def _with_rows(faces: Faces, rows: Sequence[tuple[FoundFace, str, str, int]], limits: Limits | None) -> Faces:
    usable = [limits is None or not face.quality.reason_codes(limits) for face, _, _, _ in rows]
    new = np.stack([face.vector for face, _, _, _ in rows])
    vectors = np.concatenate([faces.vectors if len(faces.vectors) else new[:0], new])
    photos = np.append(faces.photos, [photo for _, _, _, photo in rows]).astype(np.int64)
    all_usable = np.append(faces.usable, usable).astype(np.bool_)
    pairs = _usable_pairs(near_pairs(vectors, faces.threshold, len(faces.vectors)), all_usable)
    pairs = with_new(faces.pairs, pairs, len(vectors))
    labels = cluster(pairs, photos, faces.labels).labels
    return Faces(
        faces.model,
        faces.threshold,
        vectors,
        photos,
        np.append(faces.sources, [source for _, source, _, _ in rows]),
        np.append(faces.digests, [digest for _, _, digest, _ in rows]),
        np.concatenate([faces.boxes, np.array([face.box for face, _, _, _ in rows], np.float64)]),
        all_usable,
        labels,
        pairs,
    )


def _usable_pairs(pairs: Pairs, usable: NDArray[np.bool_]) -> Pairs:
    both = usable[pairs.first] & usable[pairs.second]
    return Pairs(pairs.first[both], pairs.second[both], pairs.similarity[both])


def write_faces(folder: Path, faces: Faces) -> None:
    """Keep the faces for the next run. Raises FileNotWritten."""
    with replacing(folder / STATE) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            format=FORMAT,
            model=faces.model,
            threshold=faces.threshold,
            vectors=faces.vectors,
            photos=faces.photos,
            sources=faces.sources,
            digests=faces.digests,
            boxes=faces.boxes,
            usable=faces.usable,
            labels=faces.labels,
            first=faces.pairs.first,
            second=faces.pairs.second,
            similarity=faces.pairs.similarity,
        )


def sort_faces(
    faces: Faces, names: Mapping[str, str], gallery: Gallery | None = None, threshold: Threshold | None = None
) -> list[SortedFace]:
    """Return where each face goes: people of the gallery first, then those who come several times, by number.

    A person's number is the same from run to run; `names` gives names to numbers (`person-00012`). A cluster of which
    most faces are one known person is that person.
    """
    known = _known(faces, gallery, threshold)
    unclear = cluster(faces.pairs, faces.photos, faces.labels).unclear | ~faces.usable
    of_cluster = _known_clusters(faces.labels, [who for who, _, _ in known])
    counts = dict(zip(*(part.tolist() for part in np.unique(faces.labels[~unclear], return_counts=True)), strict=True))
    called = {who: name for who, name, _ in known if who is not None}
    answer = []
    for number in range(len(faces.vectors)):
        label = int(faces.labels[number])
        who, name, similarity = known[number]
        person: str | None
        if who is None and not unclear[number] and label in of_cluster:
            who = of_cluster[label]
            name = called[who]
        if who is not None:
            status, person = "known", f"known-{who:05d}"
        elif unclear[number]:
            status, person, name = "unclear", None, None
        elif counts.get(label, 0) > 1:
            status, person = "person", person_number(label)
            name = names.get(person)
        else:
            status, person, name = "single", None, None
        box = faces.boxes[number]
        answer.append(
            SortedFace(
                str(faces.sources[number]),
                (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
                status,
                person,
                name,
                similarity,
                number,
            )
        )
    return answer


def person_number(label: int) -> str:
    """Return what a person without a name is called, a name for a folder too."""
    return f"person-{label:05d}" if label >= 0 else f"person-{-2 - label:05d}-b"


def _known(
    faces: Faces, gallery: Gallery | None, threshold: Threshold | None
) -> list[tuple[int | None, str | None, float | None]]:
    """Return for each face the gallery's person at or above the threshold, the name and the best similarity."""
    if gallery is None or threshold is None or not gallery.size or not len(faces.vectors):
        return [(None, None, None)] * len(faces.vectors)
    found: list[tuple[int | None, str | None, float | None]] = []
    answers = gallery.search(faces.vectors, people_needed(threshold.on))
    for result, usable in zip(answers, faces.usable.tolist(), strict=True):
        best = result.candidates[0]
        known = (
            usable
            and decide(decision_score([one.similarity for one in result.candidates], threshold.on), threshold)
            == "identified"
        )
        found.append((best.id, best.name, best.similarity) if known else (None, None, best.similarity))
    return found


def _known_clusters(labels: Ids, who: Sequence[int | None]) -> dict[int, int]:
    """Return the clusters of which more than half is one known person."""
    votes: dict[int, list[int | None]] = {}
    for label, one in zip(labels.tolist(), who, strict=True):
        votes.setdefault(label, []).append(one)
    answer = {}
    for label, cast in votes.items():
        people = [one for one in cast if one is not None]
        best = max(set(people), key=people.count, default=None)
        if best is not None and 2 * people.count(best) > len(cast):
            answer[label] = best
    return answer


def read_names(file: Path) -> dict[str, str]:
    """Read a CSV with columns `person,name`. Raises ClusteringError, also for two names of one person."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = rows_of_csv(lines)
            if not {"person", "name"} <= set(rows.fieldnames or ()):
                raise ValueError("no columns person,name")
            names: dict[str, str] = {}
            for row in rows:
                name = (row["name"] or "").strip()
                if has_too_many_cells(row):
                    raise ValueError(f"line {rows.line_num}: {TOO_MANY_CELLS}")
                if row["person"] and name and names.setdefault(row["person"], name) != name:
                    raise ValueError(f"line {rows.line_num}: another name of {row['person']} stands above")
            return names
    except (OSError, ValueError, csv.Error, AttributeError) as error:
        raise ClusteringError(f"{printable(file)}: not a readable list of names ({error})") from error


def write_folder(folder: Path, faces: Faces, placed: Sequence[SortedFace], *, copies: bool) -> list[str]:
    """Write the list of faces, the manifest for `enroll --manifest`, and a folder of photos for each person.

    Photos are linked, or with `copies` copied. Of a photo with several faces the manifest names a cut-out. Returns the
    photos that are not where they were: their faces are in no person's folder. Raises FileNotWritten.
    """
    shared = {photo for photo, count in zip(*np.unique(faces.photos, return_counts=True), strict=True) if count > 1}
    people = folder / PEOPLE
    try:
        _clear(people)
        people.mkdir(parents=True, exist_ok=True)
        manifest, gone = [], []
        for face in placed:
            if face.person is None:
                continue
            place = people / face.person
            place.mkdir(exist_ok=True)
            if faces.photos[face.number] in shared:
                file = _cut_out(face, place / f"{face.number:07d}.png")
            else:
                name = f"{face.number:07d}{_ending(face.source)}"
                file = _link(file_named(face.source).absolute(), place / name, copies)
            if file is None:
                gone.append(face.source)
            elif face.status == "person":
                manifest.append({"path": os.path.relpath(file, folder), "name": face.name or face.person})
    except OSError as error:
        raise FileNotWritten(f"{printable(error.filename or folder)}: cannot be written ({error.strerror})") from error
    _write_csv(folder / MANIFEST, ("path", "name"), manifest)
    listed = [dict(one.record()) | {"box": " ".join(map(str, one.record()["box"]))} for one in placed]
    _write_csv(folder / FACES, ("source", "box", "status", "person", "name", "similarity"), listed)
    return list(dict.fromkeys(gone))


def _clear(people: Path) -> None:
    """Take away what an earlier run put there, and nothing else: somebody's own photos may lie beside it."""
    for place in people.glob("*"):
        if not place.is_symlink() and place.is_dir() and _OUR_FOLDER.fullmatch(place.name):
            for file in place.iterdir():
                if _OUR_FILE.fullmatch(file.name):
                    file.unlink()
            if not any(place.iterdir()):
                place.rmdir()


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            plain = columns == ("path", "name")  # a program reads it: nothing is put before a name
            writer.writerow(
                row
                if plain
                else {key: csv_cell(value) if isinstance(value, str) else value for key, value in row.items()}
            )


def _ending(source: str) -> str:
    ending = Path(source).suffix.lower()
    return ending if ending[1:].isalnum() and len(ending) < 6 else ".photo"


def _link(source: Path, place: Path, copies: bool) -> Path | None:
    if not is_file(source):
        return None
    if copies:
        shutil.copyfile(source, place)
    else:
        place.symlink_to(source)
    return place


def _cut_out(face: SortedFace, place: Path) -> Path | None:
    pixels = face_of(face, _AROUND)
    if pixels is None:
        return None
    _, png = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    place.write_bytes(png.tobytes())
    return place


def face_of(face: SortedFace, around: float) -> UInt8Image | None:
    """Return a face with `around` of its box on each side, RGB uint8; None where its photo is gone."""
    try:
        photo = read_photo(file_named(face.source))
    except ImageError:
        return None
    left, top, width, height = (value / photo.reduction for value in face.box)
    x, y = max(0, int(left - width * around)), max(0, int(top - height * around))
    right, bottom = int(left + width * (1 + around)) + 1, int(top + height * (1 + around)) + 1
    cut = np.ascontiguousarray(photo.pixels[y:bottom, x:right])
    return cut if cut.size else None


def counts_of(placed: Iterable[SortedFace]) -> Iterator[tuple[str, int, int]]:
    """Yield each status with its faces and people."""
    placed = list(placed)
    for status in ("known", "person", "single", "unclear"):
        mine = [one for one in placed if one.status == status]
        if mine:
            yield status, len(mine), len({one.person for one in mine if one.person})


def _no_faces(model: str, threshold: float) -> Faces:
    nothing = np.empty(0, np.int64)
    pairs = Pairs(nothing, nothing, np.empty(0, np.float32))
    texts = np.empty(0, np.str_)
    vectors: FloatVector = np.empty((0, 0), np.float32)
    return Faces(
        model, threshold, vectors, nothing, texts, texts, np.empty((0, 4)), np.empty(0, np.bool_), nothing, pairs
    )


def _check(faces: Faces) -> None:
    """Raise ValueError for arrays that do not fit together."""
    size, pairs = len(faces.vectors), faces.pairs
    columns = {
        "i": (faces.photos, faces.labels, pairs.first, pairs.second),
        "U": (faces.sources, faces.digests),
        "b": (faces.usable,),
        "f": (faces.vectors, faces.boxes, pairs.similarity),
    }
    if any(column.dtype.kind != kind for kind, of_kind in columns.items() for column in of_kind):
        raise ValueError("other types")
    rows = [faces.photos, faces.sources, faces.digests, faces.usable, faces.labels]
    if any(column.shape != (size,) for column in rows) or faces.boxes.shape != (size, 4) or faces.vectors.ndim != 2:
        raise ValueError("rows are missing")
    if not pairs.first.shape == pairs.second.shape == pairs.similarity.shape == (len(pairs.first),):
        raise ValueError("pairs that are none")
    people = np.where(faces.labels < 0, -2 - faces.labels, faces.labels)  # as `cluster` numbers who was parted
    ends = np.concatenate([pairs.first, pairs.second, people])
    if ((ends < 0) | (ends >= size)).any() or (pairs.first >= pairs.second).any():
        raise ValueError("pairs or people of faces that are not there")
    if not np.isfinite(faces.vectors).all() or faces.vectors.dtype != np.float32:
        raise ValueError("no unit vectors")
    if not np.isfinite(pairs.similarity).all():
        raise ValueError("no similarities")
    if (faces.photos < 0).any() or not np.isfinite(faces.boxes).all():
        raise ValueError("no photos")
    photos = set(zip(faces.photos.tolist(), faces.digests.tolist(), strict=True))
    if not len(photos) == len({photo for photo, _ in photos}) == len({digest for _, digest in photos}):
        raise ValueError("a photo that is another one, too")
