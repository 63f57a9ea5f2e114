"""Morphs against networks: the curves of MMPMR and BSCER, MAP over all networks, and what was asked of a threshold.

    python -m benchmarks.measurements.morphing NAME LFW.npz MORPHS.npz [NAME LFW.npz MORPHS.npz ...] [-o FOLDER]

LFW's half B: the first photo of everybody with two is the document, up to three others are live. Kinds: `worst` are the
midpoints of two documents' vectors (no morph of these two photos is better), `average` and `warp` are pictures
(`benchmarks.measurements.make_morphs`), each of a person drawn (`random`) and of the most alike (`look-alike`).
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from benchmarks.measurements.asked_and_got import write
from benchmarks.measurements.extrapolation_errors import named
from benchmarks.protocols.morphing import (
    Morphs,
    People,
    asked_and_got,
    contributor_scores,
    curve,
    impostor_scores,
    map_matrix,
    people_of,
    random_partners,
    worst_cases,
)
from benchmarks.results.results import Rate
from faceid.feature_file import read_features
from indexer.decision.decision import threshold_at
from indexer.decision.morph import look_alikes, pair_score_of

ATTEMPTS = 3
FMRS = (1e-2, 1e-3, 1e-4)
STEPS = np.arange(0.2, 0.86, 0.05)
ASKED = (0.2, 0.1, 0.05)

Row = dict[str, Any]
Kinds = dict[str, tuple[Morphs, np.ndarray[Any, np.dtype[np.float32]]]]


def main() -> None:
    """Print the tables, and write the curves of each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", metavar="NAME LFW.npz MORPHS.npz")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    systems: dict[str, tuple[People, Kinds]] = {}
    for start in range(0, len(options.networks), 3):
        name, lfw, morphs = options.networks[start : start + 3]
        systems[name] = measured(Path(lfw), Path(morphs))
    for name, (people, kinds) in systems.items():
        rows = list(curves(people, kinds))
        print(f"\n{name}: {len(people.names)} people\n{tabulate(rows, headers='keys', tablefmt='github')}")
        asked = list(asked_rows(people, kinds))
        print(f"\n{name}, asked and got\n{tabulate(asked, headers='keys', tablefmt='github')}")
        if options.output:
            write(options.output / f"morphs-{name}.csv", rows)
            write(options.output / f"morphs-asked-{name}.csv", asked)
    print(tabulate(list(potentials(systems)), headers="keys", tablefmt="github", floatfmt=".3f"))


def measured(lfw: Path, morphs: Path) -> tuple[People, Kinds]:
    """Return the people, and the morphs of each kind with their scores."""
    photos, pictures = named(lfw), read_features(morphs)
    pairs = [tuple(label.split(" & ")) for label in pictures.labels.tolist()]
    names = sorted({name for pair in pairs for name in pair})
    people = people_of(np.asarray(photos.features), photos.labels.tolist(), names, ATTEMPTS)
    place = {name: number for number, name in enumerate(names)}
    kinds: Kinds = {}
    for kind, partner in (("random", random_partners(len(names), 0)), ("look-alike", look_alikes(people.documents))):
        worst = worst_cases(people, partner)
        kinds[f"worst, {kind}"] = worst, contributor_scores(people, worst)
    for way in ("average", "warp"):
        for kind in ("random", "look-alike"):
            rows = np.flatnonzero([path.startswith(f"{way}/{kind}/") for path in pictures.paths.tolist()])
            first, second = (np.array([place[pairs[row][side]] for row in rows], np.int64) for side in (0, 1))
            those = Morphs(np.asarray(pictures.features[rows]), first, second)
            kinds[f"{way}, {kind}"] = those, contributor_scores(people, those)
    return people, kinds


def curves(people: People, kinds: Kinds) -> Iterator[Row]:
    """Yield a row for each threshold: those of some FMR, then steps; with the bound on every morph there is."""
    impostors = impostor_scores(people)
    at_fmr = [threshold_at(impostors, len(impostors), fmr) for fmr in FMRS]
    for threshold in [*at_fmr, *STEPS.tolist()]:
        rows = curve(kinds, people, [threshold])
        bound = float((impostors >= pair_score_of(threshold)).mean())
        yield {
            "threshold": f"{threshold:.3f}",
            "FMR": f"{rows[0].fmr:.1e}",
            "BSCER": percent(rows[0].bscer),
            "bound": f"{100 * bound:.1f} %",
            **{row.kind: percent(row.mmpmr) for row in rows},
        }


def asked_rows(people: People, kinds: Kinds) -> Iterator[Row]:
    """Yield what thresholds set on the worst cases of half of the people got on the other half's morphs."""
    for kind, (morphs, _) in kinds.items():
        for row in asked_and_got(kind, people, morphs, ASKED, seed=0):
            facts = asdict(row)
            yield {
                "kind": kind,
                "asked": f"{100 * row.asked:g} %",
                "threshold": f"{facts['threshold']:.3f}",
                "got": percent(row.got),
                "BSCER": percent(row.bscer),
            }


def potentials(systems: dict[str, tuple[People, Kinds]]) -> Iterator[Row]:
    """Yield MAP[r, c] of the warps at FMR 1e-3, over people with all the live photos in every system."""
    people = next(iter(systems.values()))[0]
    for kind in ("warp, random", "warp, look-alike"):
        morphs = next(iter(systems.values()))[1][kind][0]
        full = (people.attempts[morphs.first] == ATTEMPTS) & (people.attempts[morphs.second] == ATTEMPTS)
        accepted = []
        for its, kinds in systems.values():
            impostors = impostor_scores(its)
            accepted.append(kinds[kind][1][full] >= threshold_at(impostors, len(impostors), 1e-3))
        table = map_matrix(np.stack(accepted))
        for least, values in enumerate(table, start=1):
            shares = {f"c = {systems_}": value for systems_, value in enumerate(values, start=1)}
            yield {"kind": kind, "morphs": int(full.sum()), "r": least, **shares}


def percent(found: Rate) -> str:
    """Return a rate with its interval, clustered where there is one."""
    low, high = found.ci95_clustered or found.ci95
    return f"{100 * found.rate:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


if __name__ == "__main__":
    main()
