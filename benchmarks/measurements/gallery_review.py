"""What `faceid gallery review` finds of faults that were planted: asked share of wrong findings against the one got.

    python -m benchmarks.measurements.gallery_review LFW.npz --network NAME --faces CROPS.tar -o FOLDER

In LFW's features 2 % of the photos are moved to another person, 50 people split in two, 100 templates replaced by those
of broken crops, and 100 photos enrolled a second time as a copy; CROPS holds aligned faces, of which broken crops and
copies are made. LFW has such faults of its own: `--known FILE` lists findings that were looked at and are right, one a
line. People whom it says are one are one for every kind; its other lines count as right. Writes review-NAME.csv, a row
for each draw, kind and asked share, and unplanted-NAME.csv, what was found and not planted.
"""

import argparse
import csv
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from benchmarks.inputs.aligned_crops import input_crop
from benchmarks.measurements.extrapolation_errors import named
from faceid.gallery_review import review_examples
from faceid.models import model_zoo
from faceid.models.embedding import Embedder
from faceid.models.model_file import Model
from faceid.vision.images import UInt8Image, decode
from faceid.vision.opencv import cv2
from indexer.hygiene.explanations import listed
from indexer.hygiene.review import KINDS, Finding, FindingKind, review
from indexer.records import Embeddings, FloatMatrix, Ids

ASKED = (0.01, 0.05, 0.1, 0.2)
MOVED, SPLIT, BROKEN, COPIED = 0.02, 50, 100, 100
DRAWS = 5

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Planted:
    """A gallery with faults: `truth` [n] is whom each template shows (-1: nobody), `shows` [M] whom each person is."""

    embeddings: Embeddings
    photo: Ids
    truth: Ids
    shows: Ids
    copy_of: dict[int, int]


def main() -> None:
    """Write both tables and print the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lfw", type=Path)
    parser.add_argument("--network", required=True)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--known", type=Path)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    features = named(options.lfw)
    model = model_zoo.find_model(options.network)
    faces = list(some_faces(options.faces))
    broken, copies = spoilt(model, faces, BROKEN), copied(model, faces, COPIED)
    examples = review_examples(model)
    known = set() if options.known is None else set(options.known.read_text().split())
    labels = features.labels
    rows: list[Row] = []
    unplanted: dict[str, Row] = {}
    for draw in range(options.draws):
        planted = plant(features.features, labels, shown(labels, known), broken, copies, draw)
        found = review(planted.embeddings, examples, fdr=max(ASKED)).findings
        for asked in ASKED:
            about = {"network": options.network, "draw": draw}
            rows += measure(planted, shortened(found, asked), asked, features.paths, known, unplanted, about)
    write(options.output / f"review-{options.network}.csv", rows)
    write(options.output / f"unplanted-{options.network}.csv", list(unplanted.values()))
    print(tabulate(summary(rows), headers="keys", tablefmt="github", floatfmt=".3f"))


def some_faces(file: Path, every: int = 40) -> Iterator[UInt8Image]:
    """Yield every so many of the aligned faces in a tar."""
    with tarfile.open(file) as tar:
        for number, member in enumerate(tar):
            content = tar.extractfile(member) if number % every == 0 else None
            if content is not None:
                yield decode(content.read(), Path(member.name)).rgb


def spoilt(model: Model, faces: Sequence[UInt8Image], count: int) -> FloatMatrix:
    """Embed crops that show no face any more, made of real faces (the review's own examples are drawn)."""
    random = np.random.default_rng(1)
    crops = []
    for number in range(count):
        face = faces[int(random.integers(len(faces)))]
        side = face.shape[0]
        corner = int(side * 0.28)
        y, x = (int(random.integers(2)) * (side - corner) for _ in range(2))
        cut = int(side * random.uniform(0.15, 0.4))
        tiny = cv2.resize(face, (5, 5), interpolation=cv2.INTER_AREA)
        crops.append(
            (
                lambda: np.full_like(face, random.integers(256)),  # noqa: B023 - called at once
                lambda: np.clip(random.normal(120, 20, face.shape), 0, 255).astype(np.uint8),  # noqa: B023
                lambda: np.concatenate([face[:cut], np.repeat(face[cut - 1 : cut], side - cut, axis=0)]),  # noqa: B023
                lambda: (face * random.uniform(0.01, 0.05)).astype(np.uint8),  # noqa: B023
                lambda: cv2.GaussianBlur(face, (0, 0), random.uniform(12, 20)),  # noqa: B023
                lambda: cv2.resize(face[y : y + corner, x : x + corner], (side, side)),  # noqa: B023
                lambda: cv2.resize(tiny, (side, side), interpolation=cv2.INTER_NEAREST),  # noqa: B023
            )[number % 7]()
        )
    return embedded(model, crops)


def copied(model: Model, faces: Sequence[UInt8Image], count: int) -> tuple[FloatMatrix, FloatMatrix]:
    """Embed faces, and the same ones turned by a degree, reduced to 70 % and compressed as a JPEG of quality 60."""
    copies = []
    for face in faces[:count]:
        side = face.shape[0]
        turned = cv2.warpAffine(face, cv2.getRotationMatrix2D((side / 2, side / 2), 1, 1), (side, side))
        small = cv2.resize(turned, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
        _, jpeg = cv2.imencode(".jpg", cv2.resize(small, (side, side)), [cv2.IMWRITE_JPEG_QUALITY, 60])
        copies.append(np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8))
    return embedded(model, list(faces[:count])), embedded(model, copies)


def embedded(model: Model, crops: Sequence[NDArray[Any]]) -> FloatMatrix:
    """Embed aligned crops."""
    embedder = Embedder(model)
    return embedder.embed(
        np.stack([input_crop(np.asarray(crop, np.uint8), embedder.spec, Path("crop")) for crop in crops])
    )


def shown(labels: NDArray[np.str_], known: set[str]) -> Ids:
    """Return the number of the person on each photo: who is known to be there under two names has one."""
    same = {}
    for key in known:
        kind, _, names = key.partition(":")
        if kind == "duplicate":
            one, other = names.split("+")
            same[other] = one
    _, people = np.unique([same.get(str(label), str(label)) for label in labels], return_inverse=True)
    return people


def plant(
    vectors: FloatMatrix,
    labels: NDArray[np.str_],
    people: Ids,
    broken: FloatMatrix,
    copies: tuple[FloatMatrix, FloatMatrix],
    draw: int,
) -> Planted:
    """Plant the faults, all drawn anew for each draw; `people` [n] are those whom the photos show."""
    random = np.random.default_rng(draw)
    _, first_photo, owner = np.unique(labels, return_index=True, return_inverse=True)
    truth = people.copy()
    photo = np.arange(len(truth))
    shows = people[first_photo].tolist()
    for person in random.permutation(np.flatnonzero(np.bincount(owner) > 1))[:SPLIT].tolist():
        mine = random.permutation(np.flatnonzero(owner == person))
        owner[mine[: len(mine) // 2]] = len(shows)
        shows.append(shows[person])
    order = random.permutation(len(truth))
    moved, ruined = np.split(order[: round(MOVED * len(truth)) + len(broken)], [round(MOVED * len(truth))])
    for row in moved.tolist():
        owner[row] = random.choice(np.flatnonzero(np.array(shows) != truth[row]))
    vectors, truth = vectors.copy(), truth.copy()
    vectors[ruined], truth[ruined] = broken, -1
    # A photo and its copy go to people who have photos already.
    hosts = random.choice(owner, len(copies[0]), replace=False)
    first = len(vectors) + np.arange(len(hosts))
    own = np.array([int(random.choice(np.flatnonzero(owner == host))) for host in hosts])
    vectors = np.concatenate([vectors, nudged(vectors[own], copies)])
    owner, truth, photo = (np.concatenate([all_, all_[own]]) for all_ in (owner, truth, photo))
    ids = np.arange(1, len(vectors) + 1)
    copy_of = dict(zip((first + 1).tolist(), (own + 1).tolist(), strict=True))
    return Planted(Embeddings(ids, owner + 1, vectors), photo, truth, np.array(shows), copy_of)


def nudged(vectors: FloatMatrix, copies: tuple[FloatMatrix, FloatMatrix]) -> FloatMatrix:
    """Move vectors as far as copies lie from their originals, each by the angle of one pair, in its direction."""
    moved = vectors + (copies[1] - copies[0])
    unit: FloatMatrix = (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)
    return unit


def shortened(findings: Sequence[Finding], asked: float) -> list[Finding]:
    """Return what a review with a smaller share of wrong findings lists: the beginning of each kind's list."""
    kept: list[Finding] = []
    for kind in KINDS:
        mine = [one for one in findings if one.kind == kind]
        kept += [mine[place] for place in listed(np.array([one.probability for one in mine]), asked).tolist()]
    return kept


def measure(
    planted: Planted,
    found: Sequence[Finding],
    asked: float,
    paths: NDArray[np.str_],
    known: set[str],
    unplanted: dict[str, Row],
    about: Row,
) -> Iterator[Row]:
    """Yield for each kind how many were found, how many of these are right, and of how many there are."""
    for kind in KINDS:
        mine = [one for one in found if one.kind == kind]
        right = wrong = 0
        recalled = set()
        for one in mine:
            names = name(one, planted, paths)
            fault = fault_of(one, planted)
            if fault is not None:
                right += 1
                recalled.add(fault)
            elif names not in known:
                wrong += 1
                unplanted[names] = {"finding": names, "kind": kind, "probability": one.probability, **one.evidence}
        there = faults(kind, planted)
        yield about | {
            "kind": kind,
            "asked": asked,
            "found": len(mine),
            "planted found": right,
            "not planted, right": len(mine) - right - wrong,
            "wrong": wrong,
            "got": wrong / len(mine) if mine else 0.0,
            "there": len(there),
            "recall": len(recalled & there) / len(there),
        }


def name(finding: Finding, planted: Planted, paths: NDArray[np.str_]) -> str:
    """Return what a finding is whatever the draw: its kind and its photos."""
    photos = sorted(Path(str(paths[planted.photo[one - 1]])).stem for one in finding.template_ids)
    if finding.kind == "duplicate":
        photos = sorted({photo.rpartition("_")[0] for photo in photos})
    return f"{finding.kind}:{'+'.join(photos)}"


def fault_of(finding: Finding, planted: Planted) -> tuple[int, ...] | None:
    """Return the planted fault that a finding names; None where nothing of the kind was planted."""
    owner, truth = planted.embeddings.identity_ids - 1, planted.truth
    rows = [one - 1 for one in finding.template_ids]
    people = [one - 1 for one in finding.identity_ids]
    strange = [row for row in rows if truth[row] != planted.shows[owner[row]]]
    if finding.kind == "duplicate":
        first, second = (whom_most_show(truth[owner == one]) for one in people)
        return tuple(sorted(people)) if first & second else None
    if finding.kind == "same_photo":
        return tuple(rows) if planted.photo[rows[0]] == planted.photo[rows[1]] else None
    if finding.kind == "broken":
        return (rows[0],) if truth[rows[0]] < 0 else None
    if finding.kind == "mislabelled":
        return (rows[0],) if strange and planted.shows[people[1]] == truth[rows[0]] else None
    return (owner[rows[0]],) if finding.kind == "disagree" and strange else tuple(strange[:1]) or None


def whom_most_show(truth: Ids) -> set[int]:
    """Return the person whom most of some photos show, or the people where as many show each."""
    people, counts = np.unique(truth[truth >= 0], return_counts=True)
    return set(people[counts == counts.max(initial=0)].tolist())


def faults(kind: FindingKind, planted: Planted) -> set[tuple[int, ...]]:
    """Return the planted faults of a kind that can be known from the gallery at all."""
    owner, truth, shows = planted.embeddings.identity_ids - 1, planted.truth, planted.shows
    counts = np.bincount(owner, minlength=len(shows))
    strange = np.flatnonzero((truth != shows[owner]) & (truth >= 0))
    at_home = set(truth[truth == shows[owner]].tolist())
    if kind == "duplicate":
        alive = [person for person in range(len(shows)) if (shows[owner] == truth)[owner == person].any()]
        twice = np.flatnonzero(np.bincount(shows) > 1)
        names = [[one for one in np.flatnonzero(shows == person).tolist() if one in alive] for person in twice]
        return {pair for several in names for pair in combinations(several, 2)}
    if kind == "same_photo":
        return {tuple(sorted((copy - 1, first - 1))) for copy, first in planted.copy_of.items()}
    if kind == "broken":
        return {(row,) for row in np.flatnonzero(truth < 0).tolist()}
    if kind == "mislabelled":
        return {(row,) for row in strange.tolist() if counts[owner[row]] > 1 and int(truth[row]) in at_home}
    if kind == "stranger":
        return {(row,) for row in strange.tolist() if counts[owner[row]] > 2 and int(truth[row]) not in at_home}
    return {(int(owner[row]),) for row in strange.tolist() if counts[owner[row]] == 2}


def summary(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield the mean over the draws for each kind and asked share."""
    for kind in KINDS:
        for asked in ASKED:
            mine = [row for row in rows if (row["kind"], row["asked"]) == (kind, asked)]
            found = sum(row["found"] for row in mine)
            yield {
                "kind": kind,
                "asked": asked,
                "found": found / len(mine),
                "right, not planted": sum(row["not planted, right"] for row in mine) / len(mine),
                "got": sum(row["wrong"] for row in mine) / max(found, 1),
                "there": sum(row["there"] for row in mine) / len(mine),
                "recall": sum(row["recall"] for row in mine) / len(mine),
            }


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
