"""What the local context of a search gains over one logistic law: in Brier score and calibration error, and by group.

    python -m benchmarks.measurements.group_calibration PEOPLE.npz STRANGERS.npz --groups GROUPS.csv --column race

Enrolled with one photo each: half of the people of PEOPLE and half of STRANGERS; searched: the other photos of PEOPLE
(mated, and non-mated of the other half) and the other half of STRANGERS (non-mated, by group). Both laws are fitted on
half of the searches of PEOPLE, so that mated and non-mated are of one source, and checked on the other half and on
STRANGERS, with even odds: one logistic in the similarity, and the same with the mean of the next ten rivals
(`indexer.decision.match_probability`). No group is an input of either. ECE: ten bins of equal width.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from benchmarks.formats.group_table import read_groups
from benchmarks.measurements.extrapolation_errors import named
from faceid.feature_file import read_features
from indexer.decision.decision import threshold_at
from indexer.decision.match_probability import CONTEXT, MatchProbability, fit_probability
from indexer.hygiene.nearest import nearest_owners, searchable

BINS = 10
REPLICATES = 1000
FPIRS = (0.1, 0.01)

Reals = NDArray[np.float64]
Row = dict[str, Any]


def main() -> None:
    """Print calibration overall and by group, then the errors of decisions on either."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", type=Path)
    parser.add_argument("strangers", type=Path)
    parser.add_argument("--groups", type=Path, required=True)
    parser.add_argument("--column", required=True)
    options = parser.parse_args()
    people, strangers = named(options.people), read_features(options.strangers)
    group_of = read_groups(options.groups, strangers, [options.column])[options.column]
    random = np.random.default_rng(0)
    order = random.permutation(len(strangers))
    enrolled, searched = order[: len(order) // 2], order[len(order) // 2 :]
    _, owner = np.unique(people.labels, return_inverse=True)
    _, first = np.unique(owner, return_index=True)
    known = np.sort(random.permutation(len(first))[: len(first) // 2])
    gallery = np.concatenate([people.features[first[known]], strangers.features[enrolled]])
    probes = np.setdiff1d(np.arange(len(owner)), first)
    queries = np.concatenate([people.features[probes], strangers.features[searched]])
    place = np.full(len(first), -1)
    place[known] = np.arange(len(known))
    whose = np.concatenate([place[owner[probes]], np.full(len(searched), -1)])
    cluster_of = np.concatenate([owner[probes], owner.max() + 1 + np.arange(len(searched))])
    group = np.concatenate([np.full(len(probes), ""), group_of[searched]])
    found = nearest_owners(searchable(gallery, np.arange(len(gallery))), queries, 1 + CONTEXT)
    best, context = found.scores[:, 0].astype(float), found.scores[:, 1:].mean(axis=1).astype(float)
    right, mated = found.ids[:, 0] == whose, whose >= 0
    half = random.permutation(cluster_of.max() + 1) % 2 == 0
    fit, check = half[cluster_of], ~half[cluster_of]
    own = fit & (group == "")  # mated and non-mated searches of one source
    print(f"{len(gallery):,} enrolled, {mated.sum():,} mated and {(~mated).sum():,} non-mated searches")
    laws = {
        name: probabilities(fit_probability(best[own], used[own], mated[own], right[own]), best, used)
        for name, used in (("one logistic", np.zeros(len(best))), ("with context", context))
    }
    rows = list(calibration(laws, mated, right, group, check, cluster_of))
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".4f"))
    scores = {"similarity": best, "probability with context": laws["with context"]}
    print(
        tabulate(
            list(decisions(scores, mated, right, group, fit, check)), headers="keys", tablefmt="github", floatfmt=".4f"
        )
    )


def probabilities(law: MatchProbability, best: Reals, context: Reals) -> Reals:
    """Return the probability of each search."""
    answer: Reals = 1 / (1 + np.exp(-(law.bias + law.similarity * best + law.context * context)))
    return answer


def calibration(
    laws: dict[str, Reals],
    mated: NDArray[np.bool_],
    right: NDArray[np.bool_],
    group: NDArray[np.str_],
    check: NDArray[np.bool_],
    cluster_of: NDArray[np.int64],
) -> Iterator[Row]:
    """Yield Brier score and ECE of all, and of each group's strangers together with all the mated searches."""
    for name in ["", *np.unique(group[group != ""]).tolist()]:
        chosen = check & (mated | (group == name))
        row: Row = {"non-mated of": name or "the same source", "searches": int((chosen & ~mated).sum())}
        weight = np.where(mated, 0.5 / max((chosen & mated).sum(), 1), 0.5 / max((chosen & ~mated).sum(), 1))[chosen]
        parts = {law: (probability[chosen], right[chosen].astype(float)) for law, probability in laws.items()}
        for law, (probability, truth) in parts.items():
            row[f"Brier, {law}"] = float((weight * (probability - truth) ** 2).sum())
            row[f"ECE, {law}"] = ece(probability, truth, weight)
        one, other = (parts[law][0] for law in laws)
        truth = parts["one logistic"][1]
        gain = weight * ((one - truth) ** 2 - (other - truth) ** 2)
        row["Brier gained, 95 %"] = "{:.4f} to {:.4f}".format(*drawn(gain, cluster_of[chosen]))
        yield row


def ece(probability: Reals, truth: Reals, weight: Reals) -> float:
    """Return the weighted mean distance of what was said and what came true, over bins of equal width."""
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    said, came = (np.bincount(place, weight * value, BINS) for value in (probability, truth))
    return float(np.abs(said - came).sum() / weight.sum())


def drawn(gain: Reals, cluster_of: NDArray[np.int64]) -> tuple[float, float]:
    """Return the interval of a sum over searches, people drawn anew."""
    _, person = np.unique(cluster_of, return_inverse=True)
    by_person = np.bincount(person, gain)
    random = np.random.default_rng(0)
    sums = [float((random.poisson(1, len(by_person)) * by_person).sum()) for _ in range(REPLICATES)]
    low, high = np.percentile(sums, [2.5, 97.5]).tolist()
    return low, high


def decisions(
    scores: dict[str, Reals],
    mated: NDArray[np.bool_],
    right: NDArray[np.bool_],
    group: NDArray[np.str_],
    fit: NDArray[np.bool_],
    check: NDArray[np.bool_],
) -> Iterator[Row]:
    """Yield FPIR by group and FNIR where half of the strangers set the threshold, and the other half is searched."""
    names = np.unique(group[group != ""]).tolist()
    for asked in FPIRS:
        for name, score in scores.items():
            strangers = np.sort(score[fit & (group != "")].astype(np.float32))[::-1]
            threshold = threshold_at(strangers, len(strangers), asked)
            accepted = score.astype(np.float32) >= threshold
            by_group = [float(accepted[check & (group == one)].mean()) for one in names]
            rates = np.array(by_group)
            yield {
                "decided on": name,
                "FPIR asked": asked,
                "got": float(accepted[check & (group != "")].mean()),
                **dict(zip(names, by_group, strict=True)),
                "worst / geometric mean": float(rates.max() / np.exp(np.log(np.maximum(rates, 1e-6)).mean())),
                "FNIR": float(1 - (accepted & right)[check & mated].mean()),
            }


if __name__ == "__main__":
    main()
