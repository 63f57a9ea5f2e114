"""How wrong predictions for more distractors are.

    python -m benchmarks.measurements.extrapolation_errors PEOPLE.npz FACES.npz

Probes are the people of PEOPLE (LFW) with two or more photos, ten photos each at most, so that nobody is half of all
pairs; distractors are its people with one photo, and all of FACES. From the first 1,000 and 4,000 distractors rank-1,
thresholds and FPIR are foretold for 10,000 and for all of them, and then measured. Three ways to order them:

* shuffled: all photos, at random. The first thousand are of a thousand people, all of them are several of each.
* one photo a person: again at random; nobody twice.
* as they come: PEOPLE's first, then FACES. The first thousand then come from another source than the rest, and no
  method can know it: what happens when the distractors at hand are not like those one asks about.

The method was chosen on other faces; nothing was tuned on these.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from benchmarks.inputs.inputs import people_of_many_and_of_one
from benchmarks.measurements.synthetic_distractors import best_scores, read_off, synthesize
from benchmarks.metrics.extrapolation import FPIRS, MatedSearches, extrapolate, mated_pairs
from benchmarks.results.results import Prediction
from faceid.feature_file import read_features, write_features
from faceid.feature_set import FeatureSet
from indexer.decision.decision import threshold_at
from indexer.records import FloatVector

SEEN = (1000, 4000)
FORETOLD = 10_000
PHOTOS_EACH = 10
KEPT_FPIR = 0.01
_BLOCK = 4096


@dataclass(frozen=True)
class PredictionWithTruth:
    """One prediction with the truth, and how the distractors were ordered."""

    order: str
    prediction: Prediction

    @property
    def error(self) -> float:
        """Prediction less measurement; of an FPIR the ratio less one."""
        assert self.prediction.measured is not None
        difference = self.prediction.value - self.prediction.measured
        return difference / self.prediction.measured if self.prediction.quantity == KEPT else difference

    @property
    def held(self) -> bool:
        """Whether the measurement lies in the prediction's interval."""
        assert self.prediction.measured is not None
        return self.prediction.ci95[0] <= self.prediction.measured <= self.prediction.ci95[1]


KEPT = f"FPIR at the threshold that had {KEPT_FPIR:g} of the seen"


def main() -> None:
    """Measure and print the table of errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", type=Path, help="features of people with one and with several photos")
    parser.add_argument("faces", type=Path, help="features of more distractors")
    parser.add_argument("--orders", type=int, default=5, help="random orders, of which errors have a spread")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="keep probes.npz and distractors.npz there")
    options = parser.parse_args()
    people = named(options.people)
    probes, strangers = people_of_many_and_of_one(people)
    probes = at_most(PHOTOS_EACH, probes)
    distractors = joined(strangers, read_features(options.faces))
    if options.save:
        save(options.save / "probes.npz", probes)
        save(options.save / "distractors.npz", distractors)
    mated = mated_pairs(probes.features, probes.labels)
    print(
        f"{len(probes):,} probes of {len(np.unique(probes.labels)):,} people, {len(mated.rows):,} mated searches; "
        f"{len(distractors):,} distractors of {len(np.unique(distractors.labels)):,} people"
    )
    outcomes = [
        PredictionWithTruth(name, prediction)
        for name, order in orders(distractors, options.orders)
        for prediction in foretold_and_measured(probes, mated, rows(distractors, order))
    ]
    print(tabulate(table(outcomes), headers="keys", tablefmt="github", disable_numparse=True))


def named(path: Path) -> FeatureSet:
    """Read features; where nobody is named, the folder of each photo is the name."""
    features = read_features(path)
    if (features.labels != "").any():
        return features
    return replace(features, labels=np.array([Path(photo).parent.name for photo in features.paths.tolist()]))


def at_most(photos: int, features: FeatureSet) -> FeatureSet:
    """Return the first photos of each person."""
    order = np.argsort(features.labels, kind="stable")
    _, start = np.unique(features.labels[order], return_index=True)
    turn = np.arange(len(order)) - np.repeat(start, np.diff([*start, len(order)]))
    return rows(features, np.sort(order[turn < photos]))


def save(path: Path, features: FeatureSet) -> None:
    """Write features as `faceid benchmark megaface` takes them."""
    assert features.model is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    vectors = np.asarray(features.features)
    write_features(path, vectors, features.labels.tolist(), features.paths.tolist(), features.model)


def joined(first: FeatureSet, second: FeatureSet) -> FeatureSet:
    """Return both, one after the other."""
    return FeatureSet(
        features=np.concatenate([first.features, second.features]),
        labels=np.concatenate([first.labels, second.labels]),
        paths=np.concatenate([first.paths, second.paths]),
        digest="",
        source=f"{first.source}, {second.source}",
        model=first.model,
    )


def rows(features: FeatureSet, chosen: NDArray[np.int64]) -> FeatureSet:
    """Return some rows, in this order."""
    return replace(
        features,
        features=features.features[chosen],
        labels=features.labels[chosen],
        paths=features.paths[chosen],
    )


def orders(distractors: FeatureSet, count: int) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yield the ways to order the distractors, the random ones `count` times."""
    for seed in range(count):
        shuffled = np.random.default_rng(seed).permutation(len(distractors))
        yield "shuffled", shuffled
        _, first = np.unique(distractors.labels[shuffled], return_index=True)
        yield "one photo a person", shuffled[np.sort(first)]
    yield "as they come", np.arange(len(distractors))


def foretold_and_measured(probes: FeatureSet, mated: MatedSearches, distractors: FeatureSet) -> Iterator[Prediction]:
    """Yield each method's predictions from the first so many distractors, with what all of them then show."""
    sizes = (FORETOLD, len(distractors))
    everybody = np.ones(len(probes), bool)
    blocks = (distractors.features[start : start + _BLOCK] for start in range(0, len(distractors), _BLOCK))
    nothing = np.full(len(probes), -1, np.float32)
    best = dict(zip((*SEEN, *sizes), best_scores(probes.features, blocks, (*SEEN, *sizes), nothing), strict=True))
    for seen in SEEN:
        kept = _threshold(best[seen], KEPT_FPIR)
        truth = [value for size in sizes for value in read_off(best[size], mated, everybody, FPIRS, (kept,))]
        first = rows(distractors, np.arange(seen))
        for method in (extrapolate, synthesize):
            for prediction, measured in zip(method(probes, first, sizes, FPIRS, (kept,)), truth, strict=True):
                quantity = KEPT if prediction.quantity.startswith("FPIR") else prediction.quantity
                yield replace(prediction, quantity=quantity, measured=measured)


def table(outcomes: Sequence[PredictionWithTruth]) -> list[dict[str, str]]:
    """Return a row for each quantity, order, number seen and foretold: the measured mean, and each method's errors."""
    keys = dict.fromkeys(
        (one.order, one.prediction.distractors, one.prediction.quantity, one.prediction.fitted_on) for one in outcomes
    )
    return [_row(key, [one for one in outcomes if _key(one) == key]) for key in sorted(keys, key=_place)]


def _threshold(best: FloatVector, fpir: float) -> float:
    return threshold_at(np.sort(best)[::-1], len(best), fpir)


Key = tuple[str, int, str, int]


def _key(one: PredictionWithTruth) -> Key:
    return one.order, one.prediction.distractors, one.prediction.quantity, one.prediction.fitted_on


def _place(key: Key) -> tuple[int, str, int, int]:
    order, size, quantity, seen = key
    return ("shuffled", "one photo a person", "as they come").index(order), quantity, size, seen


def _row(key: Key, outcomes: Sequence[PredictionWithTruth]) -> dict[str, str]:
    order, size, quantity, seen = key
    row = {"distractors": order, "quantity": quantity, "seen": f"{seen:,}", "N": f"{size:,}"}
    row["measured"] = f"{np.mean([one.prediction.measured for one in outcomes]):.4f}"
    for method in ("tail", "synthetic"):
        of_method = [one for one in outcomes if one.prediction.method == method]
        errors = np.array([one.error for one in of_method])
        unit = " %" if quantity == KEPT else ""
        factor, digits = (100, 0) if quantity == KEPT else (1, 4)
        row[f"{method}: predicted"] = f"{np.mean([one.prediction.value for one in of_method]):.4f}"
        spread = f" ± {factor * errors.std(ddof=1):.{digits}f}" if len(errors) > 1 else ""
        row[f"{method}: error"] = f"{factor * errors.mean():+.{digits}f}{spread}{unit}"
        row[f"{method}: in interval"] = f"{sum(one.held for one in of_method)} of {len(of_method)}"
    return row


if __name__ == "__main__":
    main()
