"""What 600 strangers of one's own are worth: the rates got on others, over many draws, and whether the interval holds.

    python -m benchmarks.measurements.own_strangers LFW.npz -o FOLDER

Half B of LFW: 24 people with one photo each, the gallery of `changing_gallery` at its start (draw 0 is its very
calibration) and 19 more galleries. SETTING strangers set the threshold with a photo each, everybody else counts, five
photos a person at most. *Agrees*: what was got and asked differ by no more than both intervals explain. Writes
own-strangers.csv and prints it.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tabulate import tabulate

from benchmarks.measurements.asked_and_got import Row, joined, write
from benchmarks.measurements.changing_gallery import ASKED, PEOPLE, SETTING
from benchmarks.measurements.drawn_galleries import PROBES_EACH, Pool, clustered, make_pool
from benchmarks.measurements.extrapolation_errors import named
from benchmarks.measurements.lfw_engine import half_of
from indexer.decision.decision import Calibration, choose_threshold

ENROLLED = 24
SEED = 11


def main() -> None:
    """Write the table and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lfw", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    pool = make_pool("half B", named(options.lfw), lambda name: half_of(name) == "B")
    same = list(_draws(pool, SEED, 300))
    others = [row for seed in range(20) if seed != SEED for row in _draws(pool, seed, 10)]
    lines = [
        _line(what, asked, [row for row in rows if row["asked"] == asked])
        for asked in ASKED
        for what, rows in (("draw 0", same[: len(ASKED)]), ("one gallery", same), ("19 galleries", others))
    ]
    write(options.output / "own-strangers.csv", lines)
    print(tabulate(lines, headers="keys", tablefmt="github", disable_numparse=True))


def _draws(pool: Pool, seed: int, count: int) -> Iterator[Row]:
    random = np.random.default_rng(seed)
    order = random.permutation(len(pool.people))
    several = [one for one in order if len(pool.people[one]) >= 6][:PEOPLE]
    rest = np.array([one for one in order if one not in set(several)])
    enrolled = pool.vectors[[pool.people[one][0] for one in several[:ENROLLED]]]
    best = {one: (pool.vectors[pool.people[one][:PROBES_EACH]] @ enrolled.T).max(axis=1) for one in rest}
    for draw in range(count):
        turn = random.permutation(rest) if draw else rest
        setting = np.sort([best[one][0] for one in turn[:SETTING]])[::-1].astype(np.float32)
        counted = [best[one] for one in turn[SETTING:]]
        who = np.repeat(np.arange(len(counted)), [len(scores) for scores in counted])
        for asked in ASKED:
            own = Calibration("fpir", setting, len(setting), ENROLLED, None, None, "", "", "", "")
            threshold = choose_threshold([own], "fpir", asked, ENROLLED, "gallery")
            assert threshold.ci95 is not None
            got, interval, _ = clustered(np.concatenate(counted) >= np.float32(threshold.value), who)
            low, high = threshold.ci95
            agrees = joined(got, interval, asked, threshold.ci95)
            yield {"asked": asked, "got": got, "low": low, "high": high, "agrees": agrees}


def _line(what: str, asked: float, rows: list[Row]) -> Row:
    got, low, high = (np.array([row[name] for row in rows]) for name in ("got", "low", "high"))
    return {
        "what": what,
        "asked": f"{100 * asked:g} %",
        "draws": len(rows),
        "got, mean (5 to 95 %)": f"{100 * got.mean():.2f} ({100 * np.quantile(got, 0.05):.2f} to"
        f" {100 * np.quantile(got, 0.95):.2f}) %",
        "said": f"{100 * low.mean():.2f} to {100 * high.mean():.2f} %",
        "said interval holds it": f"{100 * np.mean((low <= got) & (got <= high)):.0f} %",
        "agrees": f"{100 * np.mean([row['agrees'] for row in rows]):.0f} %",
    }


if __name__ == "__main__":
    main()
