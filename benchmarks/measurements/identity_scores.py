"""How templates of a person become one score, and what a cohort adds.

    python -m benchmarks.measurements.identity_scores FILE

Of the people of half B (by a hash of the name) those with more than --templates photos are enrolled with so many,
their next photos (two at most) are searched for, and one photo of everybody else in B is a stranger. A photo of
each of at most COHORT people of half A is the cohort. Thresholds are those of the strangers, so that each row shows
FNIR at the very same FPIR. An array `quality` [N] in the file weights the templates in the last fusion.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from benchmarks.measurements.extrapolation_errors import named
from benchmarks.measurements.lfw_engine import half_of
from benchmarks.measurements.score_normalization import centred, cohort_scores, s_norm, t_norm, z_norm
from faceid.feature_set import FeatureSet
from indexer.decision.decision import threshold_at
from indexer.decision.intervals import wilson
from indexer.records import FloatMatrix

FPIRS = (0.1, 0.01)
COHORT = 1000
NEAREST = 200
"""The part of the cohort that the adaptive norms look at."""
PROBES_EACH = 2

Scores = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class OpenSetDraw:
    """Templates [P, T, D] and their weights [P, T]; searches [Q, D] and whose they are [Q] (-1: a stranger)."""

    templates: FloatMatrix
    weights: NDArray[np.float64] | None
    searches: FloatMatrix
    owners: NDArray[np.int64]
    cohort: FloatMatrix


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("--templates", type=int, default=3, help="photos enrolled of each person")
    options = parser.parse_args()
    people, quality = _read(options.features)
    trial = draw(people, quality, options.templates)
    strangers = int((trial.owners < 0).sum())
    print(
        f"{len(trial.templates):,} people with {options.templates} templates each, {len(trial.owners) - strangers:,} "
        f"mated searches, {strangers:,} strangers, a cohort of {len(trial.cohort):,}"
    )
    print(tabulate(list(table(trial)), headers="keys", tablefmt="github", disable_numparse=True))


def draw(people: FeatureSet, quality: NDArray[np.float64] | None, templates: int) -> OpenSetDraw:
    """Split people into enrolled, searched, strangers and cohort, as the head of this file says; photos in order."""
    half = np.array([half_of(name) for name in people.labels.tolist()])
    order = np.argsort(people.labels, kind="stable")
    enrolled: list[NDArray[np.int64]] = []
    searched: list[int] = []
    owners: list[int] = []
    strangers: list[int] = []
    cohort: list[int] = []
    for photos in np.split(order, np.flatnonzero(np.diff(np.unique(people.labels[order], return_inverse=True)[1])) + 1):
        if half[photos[0]] == "A":
            cohort.append(photos[0])
        elif len(photos) <= templates:
            strangers.append(photos[0])
        else:
            own = photos[templates : templates + PROBES_EACH]
            searched += own.tolist()
            owners += [len(enrolled)] * len(own)
            enrolled.append(photos[:templates])
    chosen = np.array(enrolled)
    return OpenSetDraw(
        templates=people.features[chosen],
        weights=None if quality is None else quality[chosen],
        searches=people.features[np.array([*searched, *strangers])],
        owners=np.array([*owners, *([-1] * len(strangers))]),
        cohort=people.features[np.random.default_rng(0).permutation(cohort)[:COHORT]],
    )


def table(trial: OpenSetDraw) -> Iterator[dict[str, str]]:
    """Yield a row for each fusion, and for those that a gallery offers each normalisation."""
    for fusion, score in fusions(trial).items():
        scores = score(trial.searches)
        yield _row(fusion, "none", scores, trial.owners)
        if fusion in ("max", "mean"):
            yield from normalised(fusion, score, scores, trial)


def fusions(trial: OpenSetDraw) -> dict[str, Callable[[FloatMatrix], Scores]]:
    """Return, by name, functions that score searches [Q, D] against the people: [Q, P]."""
    ways: dict[str, Callable[[FloatMatrix], Scores]] = {
        "max": lambda searches: _sorted(trial, searches)[:, :, -1],
        "mean": lambda searches: searches @ _direction(trial.templates.mean(axis=1)).T,
        "mean of scores": lambda searches: _sorted(trial, searches).mean(axis=2),
        "top-2 mean": lambda searches: _sorted(trial, searches)[:, :, -2:].mean(axis=2),
    }
    if trial.weights is not None:
        weighted = _direction((trial.templates * trial.weights[:, :, None].astype(np.float32)).sum(axis=1))
        ways["mean, weighted by quality"] = lambda searches: searches @ weighted.T
    return ways


def normalised(
    fusion: str, score: Callable[[FloatMatrix], Scores], scores: Scores, trial: OpenSetDraw
) -> Iterator[dict[str, str]]:
    """Yield a row for each normalisation of these scores."""
    for name, nearest in (("", None), (f", nearest {NEAREST}", min(NEAREST, len(trial.cohort)))):
        probes = cohort_scores(trial.searches @ trial.cohort.T, nearest)
        identities = cohort_scores(score(trial.cohort).T, nearest)
        yield _row(fusion, f"z-norm{name}", z_norm(scores, probes), trial.owners)
        yield _row(fusion, f"t-norm{name}", t_norm(scores, identities), trial.owners)
        yield _row(fusion, f"s-norm{name}", s_norm(scores, probes, identities), trial.owners)
        yield _row(fusion, f"centred{name}", centred(scores, probes, identities), trial.owners)


def _read(path: Path) -> tuple[FeatureSet, NDArray[np.float64] | None]:
    features = named(path)
    with np.load(path, allow_pickle=False) as arrays:
        quality = arrays["quality"].astype(np.float64) if "quality" in arrays else None
    return features, quality


def _sorted(trial: OpenSetDraw, searches: FloatMatrix) -> Scores:
    """Scores [Q, P, T] of each search against each template, ascending within a person."""
    people, templates, dimension = trial.templates.shape
    scores = searches @ trial.templates.reshape(-1, dimension).T
    return np.sort(scores.reshape(len(searches), people, templates), axis=2)


def _direction(vectors: FloatMatrix) -> FloatMatrix:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _row(fusion: str, norm: str, scores: Scores, owners: NDArray[np.int64]) -> dict[str, str]:
    mated = owners >= 0
    best = scores.max(axis=1)
    hits = scores.argmax(axis=1)[mated] == owners[mated]
    strangers = np.sort(best[~mated].astype(np.float32))[::-1]
    row = {"fusion": fusion, "cohort": norm, "rank-1": f"{100 * hits.mean():.2f} %"}
    for fpir in FPIRS:
        at = threshold_at(strangers, len(strangers), fpir)
        missed = int((~(hits & (best[mated].astype(np.float32) >= np.float32(at)))).sum())
        low, high = wilson(missed, len(hits))
        row[f"FNIR at FPIR {fpir:.0%}"] = f"{100 * missed / len(hits):.2f} % [{100 * low:.2f}, {100 * high:.2f}]"
    return row


if __name__ == "__main__":
    main()
