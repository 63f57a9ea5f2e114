"""What a cohort should be: real faces, mixtures of them, or draws from a fitted density; and of how many people.

    python -m benchmarks.measurements.cohort_kinds LFW.npz FACES-003.npz [OTHER.npz ...] -o FOLDER

For choosing: galleries and strangers are of a part of LFW's half A that is in no cohort here, and of half A of the
validation faces. OTHER are further strangers as cohorts, one photo a person. FPIR got where 10 and 1 % were asked, mean
over galleries of 24 people, with 1 and 5 photos each (LFW), 1, 5 and 20 (validation), fusion mean.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
from tabulate import tabulate

from benchmarks.measurements.asked_and_got import Row, write
from benchmarks.measurements.drawn_galleries import Pool, best_scores, draw, make_pool
from benchmarks.measurements.extrapolation_errors import named
from benchmarks.measurements.lfw_engine import half_of
from indexer.decision.decision import threshold_at
from indexer.records import FloatMatrix

PEOPLE, DRAWS = 24, 12


def main() -> None:
    """Write cohort-kinds.csv and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lfw", type=Path)
    parser.add_argument("validation", type=Path)
    parser.add_argument("others", type=Path, nargs="*")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    lfw = named(options.lfw)
    setting = make_pool("cohort", lfw, lambda name: half_of(name) == "A" and _part(name))
    pools = [
        make_pool("LFW", lfw, lambda name: half_of(name) == "A" and not _part(name)),
        make_pool("validation", named(options.validation), lambda name: half_of(name) == "A"),
    ]
    real = setting.vectors[[photos[0] for photos in setting.people]]
    cohorts = kinds(real) | {path.stem: np.asarray(named(path).features)[: len(real)] for path in options.others}
    rows = [_row(name, cohort, pools) for name, cohort in cohorts.items()]
    write(options.output / "cohort-kinds.csv", rows)
    print(tabulate(rows, headers="keys", tablefmt="github"))


def kinds(real: FloatMatrix) -> dict[str, FloatMatrix]:
    """Return cohorts of as many vectors as there are real ones, and of fewer real ones."""
    random = np.random.default_rng(0)
    scale = 127 / np.abs(real).max(axis=1, keepdims=True)
    pairs = random.permuted(np.tile(np.arange(len(real)), (2, 1)), axis=1)
    nearest = np.argsort(-(real @ real.T), axis=1)[:, 1 : 1 + len(real) // 50]
    near = nearest[np.arange(len(real)), random.integers(0, nearest.shape[1], len(real))]
    covariance = np.cov(real.T)
    found = {
        "real faces": real,
        "real faces, int8 codes": _unit(np.rint(real * scale)),
        "mixtures of two at random": _unit(real[pairs[0]] + real[pairs[1]]),
        "mixtures with a near one": _unit(real + real[near]),
        "a Gaussian of the same covariance": _unit(
            random.multivariate_normal(real.mean(axis=0), covariance, len(real)).astype(np.float32)
        ),
    }
    return found | {f"{count} real faces": real[random.permutation(len(real))[:count]] for count in (250, 500, 1000)}


def _row(name: str, cohort: FloatMatrix, pools: list[Pool]) -> Row:
    row: Row = {"cohort": name, "people": len(cohort)}
    for pool in pools:
        for asked in (0.1, 0.01):
            got = []
            for templates in (1, 5, 20) if pool.name == "validation" else (1, 5):
                for number in range(DRAWS):
                    drawn = draw(pool, PEOPLE, templates, np.random.default_rng([5, number]))
                    if drawn is not None:
                        sample = np.sort(best_scores(drawn, cohort, "mean"))[::-1]
                        strangers = best_scores(drawn, pool.vectors[drawn.strangers], "mean")
                        got.append(float((strangers >= threshold_at(sample, len(sample), asked)).mean()))
            row[f"{pool.name}, asked {asked:g}"] = f"{100 * np.mean(got):.2f} % (sd {100 * np.std(got):.2f})"
    return row


def _part(name: str) -> bool:
    return hashlib.sha256(f"cohort {name}".encode()).digest()[0] < 128


def _unit(vectors: FloatMatrix) -> FloatMatrix:
    unit: FloatMatrix = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


if __name__ == "__main__":
    main()
