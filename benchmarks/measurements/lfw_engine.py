"""The product's own figures on LFW, through the command line.

    python -m benchmarks.measurements.lfw_engine LFW.tar PAIRS.txt MODEL

LFW's people are split once by a hash of the name. Half A only sets thresholds (the model's table from its labelled
photos; the gallery's own from its single-photo people as strangers). Half B only reports: one photo of each person with
several is enrolled, a second one is identified, and everybody with a single photo is a stranger. A photo without a face
is a miss and no alarm; a failed enrolment stays in the denominator.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.metrics.metrics import fnir as fnir_at
from benchmarks.metrics.metrics import fnir_at_fpir
from benchmarks.metrics.metrics import fpir as fpir_at
from benchmarks.metrics.rates import rate
from benchmarks.protocols.lfw import lfw, read_pairs
from benchmarks.results.results import Rate
from faceid.feature_file import read_features
from indexer.records import FloatVector

FPIRS = (0.1, 0.01)
Record = dict[str, Any]


@dataclass(frozen=True)
class Half:
    """One half of LFW's people: `several` have two photos or more, `single` have one."""

    several: tuple[Path, ...]
    single: tuple[Path, ...]


def main() -> None:
    """Run the whole evaluation and print its figures; everything is kept in the work folder and reused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lfw_tar", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("model")
    parser.add_argument("--work", type=Path, default=Path("runs/lfw"), help="folder for photos, galleries and results")
    parser.add_argument("--people", type=int, default=1000, help="at most so many people are enrolled")
    options = parser.parse_args()

    photos = unpack(options.lfw_tar, options.work / "photos")
    work = options.work / Path(options.model).stem
    half_a, half_b = split(photos, "A"), split(photos, "B")
    for name, half in (("A", half_a), ("B", half_b)):
        print(f"half {name}: {len(half.several)} people with several photos, {len(half.single)} with one")
    report_ten_folds(options.model, options.pairs, photos, work)
    calibrate_model(options.model, half_a, work)
    report_open_set(options.model, half_a, half_b, work, options.people)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack LFW once."""
    if not folder.is_dir():
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    return folder / "lfw"


def split(photos: Path, half: str) -> Half:
    """Return the people of one half, by the first bit of the SHA-256 of the name (0 is half A)."""
    mine = [person for person in sorted(photos.iterdir()) if half_of(person.name) == half]
    counts = {person: len(list(person.iterdir())) for person in mine}
    return Half(tuple(p for p in mine if counts[p] > 1), tuple(p for p in mine if counts[p] == 1))


def half_of(name: str) -> str:
    """Return the half, 'A' or 'B', in which a person is."""
    return "AB"[hashlib.sha256(name.encode()).digest()[0] >> 7]


def report_ten_folds(model: str, pairs_file: Path, photos: Path, work: Path) -> None:
    """Print the accuracy on the official pairs; a pair with a photo without a face is not accepted."""
    pairs = read_pairs(pairs_file)
    names = sorted(set(pairs.first + pairs.second))
    features = work / "pairs.npz"
    if not features.exists():
        folder = link(((photos / f"{name}.jpg") for name in names), work / "pairs")
        faceid("embed", folder, "-o", features, "--model", model, "--faces", "centre")
    results = lfw(read_features(features), pairs, model)
    accuracy = results.accuracy[0]
    print(
        f"10-fold accuracy {100 * accuracy.rate:.2f} +- {100 * accuracy.standard_error:.2f} % on {len(pairs.same)} "
        f"pairs ({accuracy.convention})"
    )
    for note in results.notes:
        print(note)


def calibrate_model(model: str, half_a: Half, work: Path) -> None:
    """Make the model's table from the labelled photos of half A."""
    people = half_a.several + half_a.single
    folder = link((photo for person in people for photo in first_photos(person, 1)), work / "LFW-half-A")
    print(faceid("models", "calibrate", model, "--photos", folder, "--faces", "centre"))


def report_open_set(model: str, half_a: Half, half_b: Half, work: Path, people: int) -> None:
    """Enrol half B, identify its second photos and its strangers, and print rates at given and at own thresholds."""
    enrolled = half_b.several[:people]
    gallery = work / "gallery"
    folder = link((photo for person in enrolled for photo in first_photos(person, 1)), work / "B-enrol")
    probes = link((photo for person in enrolled for photo in first_photos(person, 2)[1:]), work / "B-probes")
    strangers = link((photo for person in half_b.single for photo in first_photos(person, 1)), work / "B-strangers")
    strangers_a = link((photo for person in half_a.single for photo in first_photos(person, 1)), work / "A-strangers")
    at = ("--gallery", gallery, "--faces", "centre")

    statuses = [row["status"] for row in records(faceid("enroll", folder, *at, "--model", model, "--json"))]
    print(f"enrolled {statuses.count('enrolled') + statuses.count('already_enrolled')} of {len(enrolled)} people")
    mated = records(faceid("identify", probes, *at, "--threshold", "-1", "--json"))
    others = records(faceid("identify", strangers, *at, "--threshold", "-1", "--json"))
    ranks = np.array([1 if is_hit(row) else 2 for row in mated])
    mate_scores, best_others = best_scores(mated), best_scores(others)
    print(f"rank-1 {share(rate(int((ranks == 1).sum()), len(enrolled)))}")
    for fpir in FPIRS:
        point = fnir_at_fpir(ranks, mate_scores, best_others, fpir)
        print(f"FNIR at FPIR {fpir:g} on these strangers (threshold {point.threshold:.4f}): {share(point.value)}")

    # The product's own thresholds: first the model's table, then the gallery calibrated with half A's strangers. The
    # similarities are those above, so one photo is enough to learn the threshold that each rate gets.
    for basis in ("model's table", "gallery calibrated with half A's strangers"):
        if basis != "model's table":
            print(faceid("calibrate", *at, "--strangers", strangers_a))
        for fpir in FPIRS:
            one = others[0]["source"]
            answer = records(faceid("identify", one, *at, "--fpir", str(fpir), "--json"))[0]
            threshold, source = answer["threshold"], answer["threshold_source"]
            print(
                f"--fpir {fpir:g}, {basis} (threshold {threshold:.4f}, "
                f"{'measured' if source['measured'] else 'extrapolated'} on {source['trials']} trials): "
                f"FPIR {share(fpir_at(best_others, threshold))}, FNIR {share(fnir_at(ranks, mate_scores, threshold))}"
            )


def first_photos(person: Path, count: int) -> list[Path]:
    """Return a person's first photos by number."""
    return sorted(person.iterdir())[:count]


def link(photos: Iterable[Path], folder: Path) -> Path:
    """Make a folder of links NAME/NAME_0001.jpg to the photos; return it."""
    for photo in photos:
        target = folder / photo.parent.name / photo.name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(photo.resolve())
    return folder


def faceid(*arguments: str | Path) -> str:
    """Run the command line and return its stdout; exit code 3 (some inputs failed) is a result, not an error."""
    command = [sys.executable, "-m", "faceid", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode not in (0, 3):
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def records(output: str) -> list[Record]:
    """Return the records of JSON Lines."""
    return [json.loads(line) for line in output.splitlines()]


def is_hit(row: Record) -> bool:
    """Say whether the best candidate is the person whose folder the probe lies in."""
    candidates: Sequence[Record] = row["candidates"]
    return bool(candidates) and candidates[0]["name"] == Path(row["source"]).parent.name


def best_scores(rows: Sequence[Record]) -> FloatVector:
    """Return the similarity of each answer's best candidate; -inf for a photo without a face."""
    return np.array([-np.inf if row["similarity"] is None else row["similarity"] for row in rows], np.float32)


def share(counted: Rate) -> str:
    """Return a rate in percent with its naive 95 % interval and its counts."""
    low, high = counted.ci95
    return f"{100 * counted.rate:.2f} % [{100 * low:.2f}, {100 * high:.2f}] ({counted.hits} of {counted.trials})"


if __name__ == "__main__":
    main()
