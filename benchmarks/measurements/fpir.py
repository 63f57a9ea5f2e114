"""FPIR asked against FPIR got, by size of the gallery.

    python -m benchmarks.measurements.fpir PEOPLE.npz [PEOPLE.npz ...]

LFW's people are split by a hash of the name. On half A, one photo a person, the thresholds are set: as a model's table
at several gallery sizes, and, to see what extrapolating costs, from one small gallery alone. On half B, N people are
enrolled with one photo each and everybody else is a stranger; people with more photos are searched for with their
second. The same searches answer for the constants that are in use. Shares are of one draw of N people, with Wilson's
interval; beside them the mean of DRAWS draws, which says more, and shares its people between the draws.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from benchmarks.measurements.extrapolation_errors import named
from benchmarks.measurements.lfw_engine import half_of
from faceid.feature_set import FeatureSet
from indexer.calibration.calibration import calibrate_model
from indexer.decision.decision import RULE_OF_THREE, Calibration, choose_threshold, threshold_at
from indexer.decision.intervals import wilson
from indexer.decision.tail import any_of
from indexer.errors import CalibrationError
from indexer.records import FloatMatrix, FloatVector

SIZES = (100, 500, 1000)
FPIRS = (0.1, 0.01)
FEWEST_STRANGERS = 1000
"""Left over at the largest gallery that fits: ten alarms of them are 1 %."""
TABLE_SIZES = (30, 100, 300, 1000)
SMALL = 300
DRAWS = 20

CONSTANTS = {"constant 0.4, insightface's": 0.4, "constant 0.363, SFace's": 0.363}
"""Thresholds that peers advise for a cosine, whatever the network and the gallery: insightface, OpenCV Zoo's SFace."""


@dataclass(frozen=True, eq=False)
class GalleryDraw:
    """One draw of a gallery of N: best scores of strangers [S]; mated searches' best score and whether it is theirs."""

    strangers: FloatVector
    mated: FloatVector
    hits: NDArray[np.bool_]


def main() -> None:
    """Print one table a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", type=Path, nargs="+", help="features of LFW, one file a network")
    for path in parser.parse_args().people:
        print(f"\n{path.stem}\n")
        print(tabulate(list(table(named(path))), headers="keys", tablefmt="github", disable_numparse=True))


def table(people: FeatureSet) -> Iterator[dict[str, str]]:
    """Yield a row for each gallery size, FPIR and way to come by a threshold."""
    half = np.array([half_of(name) for name in people.labels.tolist()])
    tables = calibrations(people.features[half == "A"], people.labels[half == "A"].tolist())
    features, labels = people.features[half == "B"], people.labels[half == "B"]
    largest = len(np.unique(labels)) - FEWEST_STRANGERS
    for size in (*SIZES, largest):
        draws = [searches(features, labels, size, seed) for seed in range(DRAWS)]
        for fpir in FPIRS:
            for way, basis, threshold in thresholds(tables, fpir, size):
                yield _row(size, fpir, way, basis, threshold, draws)
        for way, constant in CONSTANTS.items():
            yield _row(size, None, way, "constant", constant, draws)


def calibrations(features: FloatMatrix, labels: Sequence[str]) -> dict[str, list[Calibration]]:
    """Return what half A says: a table at several sizes, and one small gallery alone."""
    every = calibrate_model(features, labels, TABLE_SIZES, model_digest="", data="half A")
    return {
        "table": every,
        f"measured at {SMALL} only": [calibration for calibration in every if calibration.gallery_size == SMALL],
    }


def thresholds(tables: dict[str, list[Calibration]], fpir: float, size: int) -> Iterator[tuple[str, str, float | None]]:
    """Yield each way's name, measured or extrapolated, and its threshold; None where it is refused."""
    for name, calibration in tables.items():
        try:
            threshold = choose_threshold(calibration, "fpir", fpir, size, "model")
        except CalibrationError:
            yield name, "refused", None
            continue
        yield name, "measured" if threshold.measured else "extrapolated", threshold.value
        if not threshold.measured:
            (source,) = [
                one for one in calibration if one.gallery_size == threshold.measured_at and one.target == "fpir"
            ]
            yield f"{name}, rate rescaled and counted", "extrapolated", rescaled(source, fpir, size)


def rescaled(source: Calibration, fpir: float, size: int) -> float | None:
    """Return the threshold without a fitted tail: f0 = 1 - (1 - f)^(N0/N) counted; None below the rule of three."""
    assert source.gallery_size is not None
    rate = float(any_of(np.float64(fpir), source.gallery_size / size))
    return threshold_at(source.scores, source.trials, rate) if source.trials * rate >= RULE_OF_THREE else None


def searches(features: FloatMatrix, labels: NDArray[np.str_], size: int, seed: int) -> GalleryDraw:
    """Enrol the first photos of `size` people drawn with the seed; search the others', and their own second ones."""
    names, first = np.unique(labels, return_index=True)
    order = np.random.default_rng(seed).permutation(len(names))
    enrolled, others = first[order[:size]], first[order[size:]]
    second = enrolled[:, None] + 1
    has_second = (second[:, 0] < len(labels)) & (labels[np.minimum(second[:, 0], len(labels) - 1)] == labels[enrolled])
    gallery = features[enrolled]
    mated = features[second[has_second, 0]] @ gallery.T
    return GalleryDraw(
        strangers=(features[others] @ gallery.T).max(axis=1),
        mated=mated.max(axis=1),
        hits=mated.argmax(axis=1) == np.flatnonzero(has_second),
    )


def _row(
    size: int, fpir: float | None, way: str, basis: str, threshold: float | None, draws: Sequence[GalleryDraw]
) -> dict[str, str]:
    row = {
        "N": f"{size:,}",
        "FPIR asked": "" if fpir is None else f"{fpir:.0%}",
        "threshold from": way,
        "basis": basis,
        "threshold": "refused" if threshold is None else f"{threshold:.4f}",
        "FPIR got": "",
        "mean of draws": "",
        "FNIR": "",
    }
    if threshold is None:
        return row
    at = np.float32(threshold)
    row["FPIR got"] = _share(draws[0].strangers >= at)
    row["mean of draws"] = f"{100 * np.mean([(draw.strangers >= at).mean() for draw in draws]):.2f} %"
    row["FNIR"] = _share(~(draws[0].hits & (draws[0].mated >= at)))
    return row


def _share(events: NDArray[np.bool_]) -> str:
    count = int(events.sum())
    low, high = wilson(count, len(events))
    return f"{100 * count / len(events):.2f} % [{100 * low:.2f}, {100 * high:.2f}] ({count} of {len(events)})"


if __name__ == "__main__":
    main()
