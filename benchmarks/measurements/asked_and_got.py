"""FPIR asked against FPIR got, for galleries of every size, number of photos a person and fusion.

    python -m benchmarks.measurements.asked_and_got LFW.npz FACES-003.npz [OTHER.npz ...] --network NAME
        [--refused PATHS.txt] [--only-others] -o FOLDER

LFW's half A (people split by a hash of the name) sets: the cohort, one photo a person, and the table that a model had
before. Reported are LFW's half B, half B of the validation faces, and every OTHER set of labelled photos, whole: people
from each, strangers from the same and, for the two first, from each other. Photos on the list `--refused` are no
templates, as enrolment refuses them (`photos_seen`), but strangers may come so. With `--half A` the halves that chose
the method: a part of LFW's half A is the cohort, the rest and half A of the validation faces are searched.

A cell is one drawn gallery; whoever is not enrolled is a stranger, five photos a person at most. Intervals are 95 %:
*in the count's*, of the alarms counted, with people as clusters; *in both*, also of the interval that the threshold
said, both errors joined by MOVER (Zou & Donner 2008, Statistics in Medicine 27). *On context* decides so, with the
thresholds that such decisions have. Writes asked-got-NAME.csv, a row for the cells that differ only by the draw, and
prints the summary; with `--only-others` the rows of the first two sets that are there stay.
"""

import argparse
import csv
import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from benchmarks.measurements.drawn_galleries import (
    DrawnGallery,
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
from faceid.feature_set import FeatureSet
from indexer.calibration.calibration import calibrate_model
from indexer.calibration.cohort import Cohort, make_cohort
from indexer.calibration.likeness import Likeness, likeness, normal_scores, of_their_kind, with_their_error
from indexer.decided_on import DecidedOn
from indexer.decision.context import decision_scores, people_needed
from indexer.decision.decision import Calibration, choose_threshold
from indexer.errors import CalibrationError
from indexer.records import FloatMatrix, FloatVector

SIZES = (8, 24, 100, 500, 1000)
TEMPLATES: Sequence[int | None] = (1, 2, 5, 20, None)
ASKED = (0.1, 0.01, 0.001)
FUSIONS = ("max", "mean", "best two")
DRAWS = 3
STRANGERS_LEFT = 400
FEWEST_STRANGERS = 10
TABLE_SIZES = (30, 100, 300, 1000)
CONSTANTS = {"0.4 (insightface)": 0.4, "0.363 (SFace)": 0.363, "0.82 (dlib's distance 0.6)": 0.82}
SAMPLED = 400  # enrolled templates searched among the others, as a gallery does
FEW = 100  # people, up to whom each is left out in turn

Row = dict[str, Any]
Interval = tuple[float, float]


def main() -> None:
    """Write the cells and print their summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lfw", type=Path)
    parser.add_argument("validation", type=Path)
    parser.add_argument("others", type=Path, nargs="*")
    parser.add_argument("--network", required=True)
    parser.add_argument("--half", choices="AB", default="B")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--refused", type=Path)
    parser.add_argument("--only-others", action="store_true")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    setting, pools = halves(named(options.lfw), named(options.validation), options.half)
    pairs = [] if options.only_others else [(people, strangers) for people in pools for strangers in pools]
    refused = options.refused.read_text(encoding="utf-8").splitlines() if options.refused else ()
    others = [
        make_pool(path.name.split(".")[0], named(path), lambda name: True, refused=refused) for path in options.others
    ]
    pairs += [(one, one) for one in others]
    rows = list(cells(pairs, setting, options.network, options.draws))
    file = options.output / f"asked-got-{options.network}.csv"
    before = _others(file, {people.name for people, _ in pairs}) if options.only_others else []
    write(file, [*before, *by_cell(rows)])
    print(tabulate(summary(rows), headers="keys", tablefmt="github", disable_numparse=True))


def _others(file: Path, measured: set[str]) -> list[Row]:
    """Return the rows of people that are not measured now."""
    with file.open(newline="", encoding="utf-8") as lines:
        return [row for row in csv.DictReader(lines) if row["people from"] not in measured]


def halves(lfw: FeatureSet, validation: FeatureSet, half: str) -> tuple[Pool, list[Pool]]:
    """Return the people who set, and those who are searched: half B, or of half A those who are not the cohort."""
    setting = make_pool("half A", lfw, lambda name: half_of(name) == "A" and (half == "B" or _part(name)))
    searched = make_pool("LFW", lfw, lambda name: half_of(name) == half and not (half == "A" and _part(name)))
    return setting, [searched, make_pool("validation", validation, lambda name: half_of(name) == half)]


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


def cells(pairs: Sequence[tuple[Pool, Pool]], setting: Pool, network: str, draws: int) -> Iterator[Row]:
    """Yield a row for each gallery, fusion, source of strangers, asked rate and way to a threshold."""
    cohort = cohort_of(setting).strangers
    first = setting.vectors[[photos[0] for photos in setting.people]]
    names = [str(number) for number in range(len(first))]
    table = calibrate_model(first, names, TABLE_SIZES, model_digest="", data="half A")
    for pool in {people.name: people for people, _ in pairs}.values():
        elsewhere = [strangers for people, strangers in pairs if people is pool and strangers is not pool]
        several = max(map(len, pool.people)) > 1  # else nothing is mixed
        for templates in TEMPLATES if several else TEMPLATES[:1]:
            for size in dict.fromkeys((*SIZES, len(pool.people) - STRANGERS_LEFT)):
                for number in range(draws):
                    drawn = draw(pool, size, templates, np.random.default_rng([number, size])) if size > 7 else None
                    if drawn is None or len(pool.people) - size < FEWEST_STRANGERS:
                        continue
                    about = {"network": network, "people from": pool.name, "N": size, "draw": number}
                    about["photos"] = "mixed" if templates is None else templates
                    for fusion in FUSIONS:
                        if fusion == "max" or templates != 1:
                            yield from _of_gallery(drawn, fusion, cohort, table, elsewhere, about | {"fusion": fusion})


def _of_gallery(
    drawn: DrawnGallery,
    fusion: str,
    cohort: FloatMatrix,
    table: Sequence[Calibration],
    elsewhere: Sequence[Pool],
    about: Row,
) -> Iterator[Row]:
    alone = best_scores(drawn, cohort, fusion)
    alike = how_alike(drawn, fusion, cohort)
    theirs = of_their_kind(alone, alike)
    in_context = fusion == "mean"  # of new galleries
    if in_context:
        alike_so = how_alike(drawn, fusion, cohort, "context")
        theirs_so = of_their_kind(decided(score(drawn, cohort, fusion), "context"), alike_so)
    searched = {drawn.pool.name: (drawn.pool.vectors[drawn.strangers], drawn.stranger_of)}
    searched |= {pool.name: strangers_of(pool) for pool in elsewhere}
    for source, (vectors, who) in searched.items():
        by_person = score(drawn, vectors, fusion)
        scores = by_person.max(axis=1)
        for asked in ASKED:
            if in_context:
                row = about | {"strangers from": source, "way": "on context", "asked": asked}
                set_so = _threshold(_calibration(theirs_so, drawn), asked, drawn, alike_so)
                yield row | _got(*set_so, decided(by_person, "context"), who, asked)
            ways = {
                "this gallery": _threshold(_calibration(theirs, drawn), asked, drawn, alike),
                "the cohort alone": _threshold(_calibration(alone, drawn), asked, drawn, None),
                "a table of one photo a person": _threshold(table, asked, drawn, None),
            }
            for way, (threshold, said) in ways.items():
                row = about | {"strangers from": source, "way": way, "asked": asked}
                yield row | _got(threshold, said, scores, who, asked)
        for way, constant in CONSTANTS.items():
            yield about | {"strangers from": source, "way": way, "asked": ""} | _got(constant, None, scores, who, None)


def decided(by_person: FloatMatrix, on: DecidedOn) -> FloatVector:
    """Return what decisions are made on, [Q], of the similarities to each person [Q, N], in any order."""
    needed = min(people_needed(on), by_person.shape[1])
    best = np.partition(by_person, by_person.shape[1] - needed, axis=1)[:, by_person.shape[1] - needed :]
    return decision_scores(-np.sort(-best, axis=1), on)


def how_alike(drawn: DrawnGallery, fusion: str, cohort: FloatMatrix, on: DecidedOn = "similarity") -> Likeness:
    """Return how alike the enrolled are, as `indexer.calibration.self_measured.how_alike` finds it."""
    people = len(drawn.starts)
    rows = np.unique(np.linspace(0, len(drawn.enrolled) - 1, min(SAMPLED, len(drawn.enrolled))).astype(np.int64))
    owners = (np.searchsorted(drawn.starts, rows, side="right") - 1).astype(np.int64)
    among = score(drawn, drawn.pool.vectors[drawn.enrolled[rows]], fusion)
    others = np.arange(people) != owners[:, None]
    best = decided(among[others].reshape(len(rows), people - 1), on).astype(np.float64)
    theirs = score(drawn, cohort, fusion)
    if people > FEW:
        return likeness(normal_scores(best, decided(theirs, on)), owners)
    normal = np.empty(len(best))
    for person in np.unique(owners).tolist():
        without = decided(np.delete(theirs, person, axis=1), on)
        normal[owners == person] = normal_scores(best[owners == person], without)
    return likeness(normal, owners)


def by_cell(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield a row for the cells that differ only by the draw."""
    keys = ("network", "people from", "strangers from", "N", "photos", "fusion", "way", "asked")
    grouped: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        grouped.setdefault(tuple(row[key] for key in keys), []).append(row)
    for values, its in grouped.items():
        got = [row["got"] for row in its if row["got"] is not None]
        line: Row = dict(zip(keys, values, strict=True)) | {"galleries": len(its), "searches": its[0]["searches"]}
        line |= {"got": f"{np.mean(got):.5f}", "least": f"{min(got):.5f}", "most": f"{max(got):.5f}"} if got else {}
        line |= {name: sum(row[name] or 0 for row in its) if values[-1] != "" else "" for name in ("count", "both")}
        said = [row["said"] for row in its if row["said"] is not None]
        line["said"] = " to ".join(f"{bound:.5f}" for bound in np.median(said, axis=0)) if said else ""
        yield {name: line.get(name, "") for name in _COLUMNS}


_COLUMNS = (
    *("network", "people from", "strangers from", "N", "photos", "fusion", "way", "asked", "galleries", "searches"),
    *("got", "least", "most", "count", "both", "said"),
)


def summary(rows: Sequence[Row]) -> list[Row]:
    """Return, by source and rate, what was got and how often the intervals contain what was asked."""
    found = []
    keys = ("network", "people from", "strangers from", "asked")
    for values in dict.fromkeys(tuple(row[key] for key in keys) for row in rows if row["asked"] != ""):
        its = [row for row in rows if tuple(row[key] for key in keys) == values and row["got"] is not None]
        line = dict(zip(keys, values, strict=True)) | {"asked": f"{100 * values[-1]:g} %"}
        ours = [row for row in its if row["way"] == "this gallery"]
        line |= {"galleries": len(ours), "got (median, 5 to 95 %)": _range(ours)}
        line |= {"in the count's": _share(ours, "count"), "in both": _share(ours, "both"), "said": _said(ours)}
        alone = [row for row in its if row["way"] == "the cohort alone"]
        line |= {"the cohort alone: got; in both": f"{_range(alone)}; {_share(alone, 'both')}"}
        table = [row for row in its if row["way"] == "a table of one photo a person"]
        found.append(line | {"before (table of one photo)": _range(table) if table else "refused"})
    return found


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def joined(got: float, counted: Interval, asked: float, said: Interval) -> bool:
    """Whether a rate counted and a rate asked differ by no more than both errors explain: MOVER for a difference."""
    if got > asked:
        return got - asked <= math.hypot(got - counted[0], said[1] - asked)
    return asked - got <= math.hypot(counted[1] - got, asked - said[0])


def _range(rows: Sequence[Row]) -> str:
    low, middle, high = np.quantile([row["got"] for row in rows], (0.05, 0.5, 0.95))
    return f"{100 * middle:.2f} ({100 * low:.2f} to {100 * high:.2f})"


def _share(rows: Sequence[Row], name: str) -> str:
    return f"{100 * np.mean([row[name] for row in rows]):.0f} %"


def _said(rows: Sequence[Row]) -> str:
    low, high = np.median([row["said"] for row in rows], axis=0)
    return f"{100 * low:.2g} to {100 * high:.2g} %"


def _calibration(scores: FloatVector, drawn: DrawnGallery) -> list[Calibration]:
    ordered = np.sort(scores)[::-1]
    return [Calibration("fpir", ordered, len(ordered), len(drawn.starts), None, None, "", "", "", "")]


def _threshold(
    calibrations: Sequence[Calibration], asked: float, drawn: DrawnGallery, alike: Likeness | None
) -> tuple[float | None, Interval | None]:
    try:
        found = choose_threshold(calibrations, "fpir", asked, len(drawn.starts), "gallery")
    except CalibrationError:
        return None, None
    assert found.ci95 is not None
    return found.value, found.ci95 if alike is None else with_their_error(found.ci95, asked, alike)


def _got(
    threshold: float | None,
    said: Interval | None,
    scores: FloatVector,
    who: NDArray[np.int64],
    asked: float | None,
) -> Row:
    """Return what came of a threshold that said an interval of its rate."""
    row: Row = {"threshold": threshold, "got": None, "count": None, "both": None, "said": said, "searches": len(who)}
    if threshold is None:
        return row
    share, counted, _ = clustered(scores >= np.float32(threshold), who)
    row["got"] = share
    if asked is not None and said is not None:
        row["count"], row["both"] = int(counted[0] <= asked <= counted[1]), int(joined(share, counted, asked, said))
    return row


def _part(name: str) -> bool:
    return hashlib.sha256(f"cohort {name}".encode()).digest()[0] < 128


if __name__ == "__main__":
    main()
