"""Several photos of one unknown, decided on together: FPIR got, and how many people are missed.

    python -m benchmarks.measurements.photos_together LFW.npz -o FOLDER

Half A's people with as many photos set (the cohort's groups), half B's count: those who are not enrolled and have as
many photos are strangers; the enrolled are searched for with as many photos that are not enrolled. Fusion mean.
"""

import argparse
from pathlib import Path

import numpy as np
from tabulate import tabulate

from benchmarks.measurements.asked_and_got import Row, cohort_of, write
from benchmarks.measurements.drawn_galleries import Pool, best_scores, clustered, draw, make_pool, score
from benchmarks.measurements.extrapolation_errors import named
from benchmarks.measurements.lfw_engine import half_of
from indexer.decision.decision import Calibration, choose_threshold
from indexer.errors import CalibrationError
from indexer.records import FloatMatrix

DRAWS = 6


def main() -> None:
    """Write photos-together.csv and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lfw", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    lfw = named(options.lfw)
    cohort = cohort_of(make_pool("half A", lfw, lambda name: half_of(name) == "A"))
    pool = make_pool("half B", lfw, lambda name: half_of(name) == "B")
    rows = []
    for photos in (1, 2, 3, 5):
        groups = cohort.strangers if photos == 1 else cohort.groups(photos)
        for size in (24, 100):
            for asked in (0.1, 0.01):
                rows.append(_row(pool, groups, photos, size, asked))
    write(options.output / "photos-together.csv", rows)
    print(tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True))


def _row(pool: Pool, groups: FloatMatrix, photos: int, size: int, asked: float) -> Row:
    alarms, who, missed, thresholds = [], [], [], []
    for number in range(DRAWS):
        drawn = draw(pool, size, 2, np.random.default_rng([13, number, size]))
        assert drawn is not None
        sample = np.sort(best_scores(drawn, groups, "mean"))[::-1]
        try:
            measured = Calibration("fpir", sample, len(sample), size, None, None, "", "", "", "")
            threshold = choose_threshold([measured], "fpir", asked, size, "gallery").value
        except CalibrationError:
            continue
        strangers, persons = _together(pool, drawn.strangers, drawn.stranger_of, photos)
        alarms.append(best_scores(drawn, strangers, "mean") >= threshold)
        who.append(persons)
        mated, owners = _together(pool, drawn.probes, drawn.probe_of, photos)
        scores = score(drawn, mated, "mean")
        own = scores[np.arange(len(scores)), owners]
        missed.append((own < threshold) | (scores.argmax(axis=1) != owners))
        thresholds.append(threshold)
    row: Row = {"photos together": photos, "N": size, "FPIR asked": f"{asked:g}", "people in the cohort": len(groups)}
    if not thresholds:
        return row | {"threshold": "refused", "FPIR got": "", "FNIR": "", "strangers": ""}
    share, (low, high), _ = clustered(np.concatenate(alarms), np.concatenate(who))
    lost = np.concatenate(missed)
    return row | {
        "threshold": f"{np.mean(thresholds):.3f}",
        "FPIR got": f"{100 * share:.2f} % [{100 * low:.2f}, {100 * high:.2f}]",
        "FNIR": f"{100 * lost.mean():.2f} % of {len(lost)}" if len(lost) else "",
        "strangers": len(np.unique(np.concatenate(who))),
    }


def _together(pool: Pool, rows: np.ndarray, persons: np.ndarray, photos: int) -> tuple[FloatMatrix, np.ndarray]:
    """Return the direction of the mean of the first `photos` rows of each person who has as many, and who it is."""
    people, first, count = np.unique(persons, return_index=True, return_counts=True)
    chosen = first[count >= photos]
    means = pool.vectors[rows[chosen[:, None] + np.arange(photos)]].mean(axis=1, dtype=np.float64)
    directions: FloatMatrix = (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)
    return directions, people[count >= photos]


if __name__ == "__main__":
    main()
