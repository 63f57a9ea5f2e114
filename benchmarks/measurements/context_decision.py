"""Whether deciding on z = s - w c (c: the mean of the next ten people's similarities) misses fewer than s alone.

    python -m benchmarks.measurements.context_decision LFW.npz FACES-003.npz --network NAME -o FOLDER

w is chosen on half A of LFW and half A of the validation faces; half B of both reports. Thresholds are those that the
very strangers give, so that each row shows FNIR at the same FPIR. Galleries of `mean`, means over DRAWS of them. A
last table has half B of both in one gallery: FNIR, and the FPIR of either source's strangers at one threshold for all.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from benchmarks.measurements.asked_and_got import Row, write
from benchmarks.measurements.drawn_galleries import DrawnGallery, Pool, draw, make_pool, score
from benchmarks.measurements.extrapolation_errors import named
from benchmarks.measurements.lfw_engine import half_of
from indexer.decision.match_probability import CONTEXT

WEIGHTS = (0.25, 0.5, 0.75, 1.0)
DRAWS = 10


def main() -> None:
    """Write context-NAME.csv and context-mixed-NAME.csv, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lfw", type=Path)
    parser.add_argument("validation", type=Path)
    parser.add_argument("--network", required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    sources = {"LFW": named(options.lfw), "validation": named(options.validation)}
    found: list[Row] = []
    for half in ("A", "B"):
        pools = [make_pool(name, each, lambda who: half_of(who) == half) for name, each in sources.items()]  # noqa: B023
        found += [{"half": half} | row for pool in pools for size in (24, 100, 500) for row in _rows(pool, size)]
    pools = [make_pool(name, each, lambda who: half_of(who) == "B") for name, each in sources.items()]
    for file, rows in (("context", found), ("context-mixed", _mixed_rows(*pools))):
        write(options.output / f"{file}-{options.network}.csv", rows)
        print(tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True))


def _mixed_rows(first: Pool, second: Pool) -> list[Row]:
    """Return rows for galleries of people of two sources, as many of each."""
    shifted = tuple(rows + len(first.vectors) for rows in second.people)
    some = np.random.default_rng(3).permutation(len(first.people))[: len(shifted)]
    both = Pool("both", np.concatenate([first.vectors, second.vectors]), (*(first.people[i] for i in some), *shifted))
    rows = []
    for size in (24, 100):
        for templates in (1, 5):
            drawn = [draw(both, size, templates, np.random.default_rng([9, one, size])) for one in range(DRAWS)]
            galleries = [one for one in drawn if one is not None and len(one.probes)]
            for asked in (0.1, 0.01) if galleries else ():
                row: Row = {"N": size, "photos": templates, "FPIR": f"{asked:g}"}
                for weight in (0.0, *WEIGHTS):
                    missed = np.concatenate([_missed(one, weight, asked) for one in galleries])
                    rates = np.mean([_rates(one, weight, asked, len(first.vectors)) for one in galleries], axis=0)
                    row["s" if weight == 0 else f"s - {weight:g} c"] = (
                        f"{100 * missed.mean():.2f}; {100 * rates[0]:.2f}, {100 * rates[1]:.2f} %"
                    )
                rows.append(row)
    return rows


def _rates(drawn: DrawnGallery, weight: float, asked: float, of_first: int) -> tuple[float, float]:
    """Return the FPIR of strangers from the first source, whose rows come first, and from the second."""
    alarms, _ = _decided(score(drawn, drawn.pool.vectors[drawn.strangers], "mean"), weight)
    named = alarms >= np.quantile(alarms, 1 - asked)
    is_first = drawn.strangers < of_first
    return float(named[is_first].mean()), float(named[~is_first].mean())


def _rows(pool: Pool, size: int) -> list[Row]:
    rows = []
    for templates in (1, 5, None):
        drawn = [draw(pool, size, templates, np.random.default_rng([9, one, size])) for one in range(DRAWS)]
        galleries = [one for one in drawn if one is not None and len(one.probes)]
        for asked in (0.1, 0.01):
            if galleries:
                row: Row = {"people": pool.name, "N": size, "photos": "mixed" if templates is None else templates}
                row |= {"FPIR": f"{asked:g}"}
                for weight in (0.0, *WEIGHTS):
                    missed = np.concatenate([_missed(one, weight, asked) for one in galleries])
                    row["s" if weight == 0 else f"s - {weight:g} c"] = f"{100 * missed.mean():.2f} %"
                rows.append(row)
    return rows


def _missed(drawn: DrawnGallery, weight: float, asked: float) -> NDArray[np.bool_]:
    """Return which mated searches miss at the threshold that the strangers give."""
    alarms, _ = _decided(score(drawn, drawn.pool.vectors[drawn.strangers], "mean"), weight)
    mated, best = _decided(score(drawn, drawn.pool.vectors[drawn.probes], "mean"), weight)
    threshold = np.quantile(alarms, 1 - asked)
    missed: NDArray[np.bool_] = (mated < threshold) | (best != drawn.probe_of)
    return missed


def _decided(scores: NDArray[np.float32], weight: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return z of the best person of each search, and who that is."""
    best = scores.argmax(axis=1)
    ranked = -np.sort(-scores, axis=1)
    return ranked[:, 0] - weight * ranked[:, 1 : 1 + CONTEXT].mean(axis=1), best


if __name__ == "__main__":
    main()
