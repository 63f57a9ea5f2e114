"""FPIR asked against FPIR got, for galleries of every size, number of photos a person and fusion.

    python -m benchmarks.measurements.asked_and_got LFW.npz FACES-003.npz --network NAME -o FOLDER

LFW's half A (people split by a hash of the name) sets: the cohort, one photo a person, and the table that a model had
before. Reported are LFW's half B and half B of the validation faces (their half A chose the method). A cell is one
drawn gallery; whoever is not enrolled is a stranger, five photos a person at most; intervals are 95 %, with people as
clusters; `within both` also counts that a cohort of so many people cannot be nearer. Writes asked-got-NAME.csv, a row a
cell, and fnir-NAME.csv, FNIR at the threshold that the strangers themselves give, and prints how often the intervals
contain what was asked.
"""

import argparse
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from benchmarks.measurements.drawn_galleries import (
    Drawn,
    Pool,
    best_scores,
    clustered,
    draw,
    make_pool,
    score,
    strangers_of,
)
from benchmarks.measurements.extrapolation_errors import named
from benchmarks.measurements.lfw_engine import half_of
from indexer.calibration.calibration import calibrate_model
from indexer.calibration.cohort import Cohort, make_cohort
from indexer.calibration.self_measured import FEWEST_ALIKE
from indexer.decision.decision import Calibration, choose_threshold, threshold_at
from indexer.errors import CalibrationError
from indexer.records import FloatMatrix, FloatVector

SIZES = (8, 24, 100, 500, 1000)
TEMPLATES: Sequence[int | None] = (1, 2, 5, 20, None)
ASKED = (0.1, 0.01, 0.001)
FUSIONS = ("max", "mean", "best two")
FNIR_FUSIONS = ("max", "mean", "best two", "spread", "mean of scores")
DRAWS = 3
FNIR_DRAWS = 12
STRANGERS_LEFT = 400
TABLE_SIZES = (30, 100, 300, 1000)
CONSTANTS = {"0.4 (insightface)": 0.4, "0.363 (SFace)": 0.363, "0.82 (dlib's distance 0.6)": 0.82}

Row = dict[str, Any]


def main() -> None:
    """Write both tables and print their summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lfw", type=Path)
    parser.add_argument("validation", type=Path)
    parser.add_argument("--network", required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    lfw, validation = named(options.lfw), named(options.validation)
    half_a = make_pool("half A", lfw, lambda name: half_of(name) == "A")
    pools = [
        make_pool("LFW", lfw, lambda name: half_of(name) == "B"),
        make_pool("validation", validation, lambda name: half_of(name) == "B"),
    ]
    rows = list(cells(pools, half_a, options.network))
    write(options.output / f"asked-got-{options.network}.csv", rows)
    write(options.output / f"fnir-{options.network}.csv", list(fnir_cells(pools, options.network)))
    print(tabulate(summary(rows), headers="keys", tablefmt="github", disable_numparse=True))


def cohort_of(pool: Pool) -> Cohort:
    """Return the cohort that the pool's people make, as a model carries it."""
    rows = np.concatenate(pool.people)
    labels = np.repeat(np.arange(len(pool.people)), [len(photos) for photos in pool.people])
    return make_cohort(
        pool.vectors[rows],
        [f"{label:06d}" for label in labels.tolist()],
        model_digest="",
        data=pool.name,
        date="",
        detector="",
    )


def cells(pools: Sequence[Pool], half_a: Pool, network: str) -> Iterator[Row]:
    """Yield a row for each gallery, fusion, source of strangers, asked rate and way to a threshold."""
    cohort = cohort_of(half_a).strangers
    first = half_a.vectors[[photos[0] for photos in half_a.people]]
    names = [str(number) for number in range(len(first))]
    table = calibrate_model(first, names, TABLE_SIZES, model_digest="", data="half A")
    for pool in pools:
        elsewhere = next(other for other in pools if other is not pool)
        for templates in TEMPLATES:
            for size in dict.fromkeys((*SIZES, len(pool.people) - STRANGERS_LEFT)):
                for number in range(DRAWS):
                    drawn = draw(pool, size, templates, np.random.default_rng([number, size])) if size > 7 else None
                    if drawn is None:
                        continue
                    about = {"network": network, "people from": pool.name, "N": size, "draw": number}
                    about["photos"] = "mixed" if templates is None else templates
                    for fusion in FUSIONS:
                        if fusion == "max" or templates != 1:
                            yield from _of_gallery(drawn, fusion, cohort, table, elsewhere, about | {"fusion": fusion})


def _of_gallery(
    drawn: Drawn, fusion: str, cohort: FloatMatrix, table: Sequence[Calibration], elsewhere: Pool, about: Row
) -> Iterator[Row]:
    size = len(drawn.starts)
    sample = cohort_scores(drawn, fusion, cohort)
    plain = best_scores(drawn, cohort, fusion)
    others, persons = strangers_of(elsewhere)
    searched = {
        drawn.pool.name: (best_scores(drawn, drawn.pool.vectors[drawn.strangers], fusion), drawn.stranger_of),
        elsewhere.name: (best_scores(drawn, others, fusion), persons),
    }
    for source, (scores, who) in searched.items():
        for asked in ASKED:
            ways = {
                "cohort": _threshold([_calibration(sample, size)], asked, size),
                "cohort, not raised": _threshold([_calibration(plain, size)], asked, size),
                "table of one photo a person": _threshold(table, asked, size),
            }
            for way, threshold in ways.items():
                trials = len(cohort) if way.startswith("cohort") else None
                row = about | {"strangers from": source, "way": way, "asked": asked}
                yield row | _got(threshold, scores, who, asked, trials)
        for way, constant in CONSTANTS.items():
            yield about | {"strangers from": source, "way": way, "asked": ""} | _got(constant, scores, who, None, None)


def cohort_scores(drawn: Drawn, fusion: str, cohort: FloatMatrix) -> FloatVector:
    """Return the cohort's best scores, raised as `indexer.calibration.self_measured.alikeness` raises them."""
    scores = best_scores(drawn, cohort, fusion)
    people = len(drawn.starts)
    if people < FEWEST_ALIKE:
        return scores
    rows = np.unique(np.linspace(0, len(drawn.enrolled) - 1, min(400, len(drawn.enrolled))).astype(np.int64))
    owners = np.searchsorted(drawn.starts, rows, side="right") - 1
    among = score(drawn, drawn.pool.vectors[drawn.enrolled[rows]], fusion).copy()
    among[np.arange(len(rows)), owners] = -np.inf
    best = among.max(axis=1)
    medians = np.array([np.median(best[owners == one]) for one in np.unique(owners)])
    error = 1.2533 * medians.std(ddof=1) / np.sqrt(len(medians))
    shift = float(np.median(medians) - np.quantile(scores, 0.5 ** (people / (people - 1))))
    raised: FloatVector = (scores + np.float32(shift if shift > 2 * error else 0.0)).astype(np.float32)
    return raised


def fnir_cells(pools: Sequence[Pool], network: str) -> Iterator[Row]:
    """Yield FNIR by fusion at the threshold at which exactly the asked share of the very strangers alarms."""
    for pool in pools:
        for templates in (1, 2, 5, 20, None):
            for size in (8, 24, 60, 100, 500):
                drawn = [
                    one
                    for number in range(FNIR_DRAWS)
                    if (one := draw(pool, size, templates, np.random.default_rng([7, number, size]))) is not None
                ]
                drawn = [one for one in drawn if len(one.probes)]
                if not drawn:
                    continue
                for fusion in FNIR_FUSIONS if templates != 1 else ("max",):
                    yield _fnir_row(drawn, fusion, network, size, templates)


def _fnir_row(galleries: Sequence[Drawn], fusion: str, network: str, size: int, templates: int | None) -> Row:
    row: Row = {"network": network, "people from": galleries[0].pool.name, "N": size}
    row |= {"photos": "mixed" if templates is None else templates, "fusion": fusion}
    missed: dict[float, list[NDArray[np.bool_]]] = {asked: [] for asked in ASKED[:2]}
    for one in galleries:
        alarms = np.sort(best_scores(one, one.pool.vectors[one.strangers], fusion))[::-1]
        mated = score(one, one.pool.vectors[one.probes], fusion)
        own, right = mated[np.arange(len(mated)), one.probe_of], mated.argmax(axis=1) == one.probe_of
        for asked, found in missed.items():
            found.append(~(right & (own >= threshold_at(alarms, len(alarms), asked))))
    row |= {f"FNIR at FPIR {asked:g}": f"{np.concatenate(found).mean():.4f}" for asked, found in missed.items()}
    return row | {"mated searches": sum(len(one.probes) for one in galleries)}


def summary(rows: Sequence[Row]) -> list[Row]:
    """Return how often what was asked lies in the interval, and the median and worst ratio of got to asked."""
    found = []
    keys = dict.fromkeys((row["way"], row["people from"], row["strangers from"], row["asked"]) for row in rows)
    for way, people, strangers, asked in keys:
        its = [
            row for row in rows if (row["way"], row["people from"], row["strangers from"]) == (way, people, strangers)
        ]
        its = [row for row in its if row["asked"] == asked and row["got"] != ""]
        got = np.array([float(row["got"]) for row in its])
        line = {"way": way, "people": people, "strangers": strangers, "asked": asked, "cells": len(its)}
        if len(its) and asked != "":
            inside = np.mean([int(row["inside"]) for row in its])
            both = [int(row["within both"]) for row in its if row["within both"] != ""]
            line |= {"in the count's interval": f"{100 * inside:.0f} %"}
            line |= {"and the cohort's": f"{100 * np.mean(both):.0f} %" if both else ""}
            line |= {"median got": f"{100 * np.median(got):.2f} %", "5 to 95 % of cells": _range(got)}
        elif len(its):
            line |= {
                "in the interval": "",
                "median got": f"{100 * np.median(got):.2f} %",
                "5 to 95 % of cells": _range(got),
            }
        found.append(line)
    return found


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _range(got: NDArray[np.float64]) -> str:
    low, high = np.quantile(got, (0.05, 0.95))
    return f"{100 * low:.2f} to {100 * high:.2f} %"


def _calibration(scores: FloatVector, size: int) -> Calibration:
    ordered = np.sort(scores)[::-1]
    return Calibration("fpir", ordered, len(ordered), size, None, None, "", "", "", "")


def _threshold(calibrations: Sequence[Calibration], asked: float, size: int) -> float | None:
    try:
        return choose_threshold(calibrations, "fpir", asked, size, "gallery").value
    except CalibrationError:
        return None


def _got(
    threshold: float | None, scores: FloatVector, who: NDArray[np.int64], asked: float | None, trials: int | None
) -> Row:
    """Return what came of a threshold; `trials` strangers set it, whose number limits how near it can be."""
    if threshold is None:
        return {
            "threshold": "",
            "got": "",
            "low": "",
            "high": "",
            "inside": "",
            "within both": "",
            "searches": len(who),
        }
    share, (low, high), effective = clustered(scores >= np.float32(threshold), who)
    row: Row = {"threshold": f"{threshold:.4f}", "got": f"{share:.5f}", "low": f"{low:.5f}", "high": f"{high:.5f}"}
    row |= {"inside": "" if asked is None else int(low <= asked <= high), "within both": "", "searches": len(who)}
    if asked is not None and trials is not None:
        spread = asked * (1 - asked) / trials + asked * (1 - asked) / effective
        row["within both"] = int(abs(share - asked) <= 1.96 * np.sqrt(spread))
    return row


if __name__ == "__main__":
    main()
