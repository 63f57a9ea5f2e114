"""What a run would have measured with more distractors than there are: rank-1, FPIR and thresholds, foretold.

Probes differ: one resembles everybody, another nobody (Doddington et al. 1998), so scores pooled over probes say little
about the best score of one probe. Cosines are first stretched by Fisher's z, artanh(s), which makes those of random
directions nearly normal (Fisher 1915) and lets no tail reach beyond 1; then each probe's are brought to location 0 and
scale 1 by their own mean and standard deviation (z-norm, Auckenthaler et al. 2000). Pooled they have one law and reach
far deeper than the scores of one probe: the upper tail of Pareto type (`indexer.decision.tail`) starts where at most a
thousandth of all scores lie, not at a tenth of a thousand, where the tail of a cosine still bends. With p(s) for a
probe's probability that a distractor reaches s, N other people leave a mate of score s on rank 1 with probability
(1 - p(s))^N, and raise an alarm at threshold T with 1 - (1 - p(T))^N; both are averaged over the trials.

It holds for N different people who look like those that were seen, drawn from the same source. Several photos of one
person alarm together, so that a measurement on such photos lies on the good side of the prediction.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm, t

from benchmarks.results.results import Prediction
from faceid.feature_set import FeatureSet
from indexer.decision.tail import Reals, UpperTail, any_of, fit_tail, tail_probability
from indexer.errors import FaceIdError
from indexer.records import FloatMatrix, FloatVector

FPIRS = (0.1, 0.01, 0.003)

MIN_DISTRACTORS = 200
"""A probe's scale from fewer scores is off by more than 5 % (1 / sqrt(2 n)), and a thousandth of them is nothing."""

TAIL_SHARE = 1e-3
"""Share of all standardised scores above which the law is fitted, on a development set of other faces the best of
1e-2 .. 1e-4; and never so many that ten distractors of the sample or more reach it."""
TAIL_DISTRACTORS = 10

KEPT_DISTRACTORS = 20
"""Scores so low that about 20 distractors of the sample reach them decide nothing: (1 - 20/n)^n is 2e-9."""

GROUPS = 20
"""Groups of persons in the jackknife; each is left out once (Shao & Tu 1995, delete-d jackknife)."""

_BLOCK_SCORES = 2**24
_END = 1e-6  # float32 knows cosines near 1 to 6e-8


class ExtrapolationError(FaceIdError):
    """Too little to foretell from."""


@dataclass(frozen=True, eq=False)
class ImpostorScores:
    """What is kept of all scores of P probes against n distractors: moments, and the highest scores.

    `sums`, `squares` [P, GROUPS] float64 and `counts` [GROUPS] over the distractors of each group of persons;
    `scores` [m] float32, `rows` [m] the probe and `groups` [m] the distractor's group of each high score; `centre` [P]
    is subtracted in the sums and squares. All of them after Fisher's z.
    """

    centre: Reals
    sums: Reals
    squares: Reals
    counts: NDArray[np.int64]
    scores: FloatVector
    rows: NDArray[np.int64]
    groups: NDArray[np.int64]

    @property
    def distractors(self) -> int:
        """How many distractors were seen."""
        return int(self.counts.sum())


@dataclass(frozen=True, eq=False)
class ImpostorLaw:
    """The law of a distractor's score after Fisher's z: for each probe location [P] and scale [P], then one for all.

    `body` [m] float64 ascending are standardised scores from the lowest kept one up, each of 1 / `total`; above its
    start `tail` speaks instead.
    """

    location: Reals
    scale: Reals
    body: Reals
    total: int
    tail: UpperTail


@dataclass(frozen=True, eq=False)
class MatedSearches:
    """Mated searches: `rows` [M] the probe, `scores` [M] float32 the mate's score."""

    rows: NDArray[np.int64]
    scores: FloatVector


def extrapolate(
    probes: FeatureSet,
    distractors: FeatureSet,
    sizes: Sequence[int],
    fpirs: Sequence[float] = FPIRS,
    thresholds: Sequence[float] = (),
) -> tuple[Prediction, ...]:
    """Foretell rank-1, the threshold of each FPIR, and the FPIR at each threshold, for each number of distractors.

    All ordered pairs of photos of one person are mated searches; each probe is one non-mated search. Intervals (95 %)
    are of the jackknife over groups of persons, of the probes and of the distractors, with Student's t; a photo
    without a label counts as a person of its own. They know nothing of a model that does not fit: what that amounts to
    on real faces is in docs/results/open-set.md. Raises ExtrapolationError for fewer than MIN_DISTRACTORS distractors,
    for fewer people than groups, for no mated pair, for a number of distractors below what is there, and where photos
    of the probes among the distractors leave no threshold for an FPIR.
    """
    mated = mated_pairs(probes.features, probes.labels)
    sample = impostor_scores(probes.features, distractors.features, person_groups(distractors.labels, "distractors"))
    return predictions(sample, mated, person_groups(probes.labels, "probes"), sizes, fpirs, thresholds)


def predictions(
    sample: ImpostorScores,
    mated: MatedSearches,
    probe_groups: NDArray[np.int64],
    sizes: Sequence[int],
    fpirs: Sequence[float],
    thresholds: Sequence[float],
) -> tuple[Prediction, ...]:
    """Return the predictions of `extrapolate` from scores that were already computed."""
    if min(sizes) < sample.distractors:
        raise ExtrapolationError(
            f"{sample.distractors:,} distractors are here: {min(sizes):,} of them are measured, not foretold"
        )
    everybody = np.ones(len(probe_groups), bool)
    values = _foretell(fit_law(sample), mated, everybody, sizes, fpirs, thresholds)
    # Leave out a group of distractors, then a group of probes: two sources of error, taken for independent.
    spread = _jackknife_variance(
        [_foretell(fit_law(sample, group), mated, everybody, sizes, fpirs, thresholds) for group in range(GROUPS)]
    ) + _jackknife_variance(
        [
            _foretell(fit_law(sample, None, kept), mated, kept, sizes, fpirs, thresholds)
            for kept in (probe_groups != group for group in range(GROUPS))
        ]
    )
    half = t.ppf(0.975, GROUPS - 1) * np.sqrt(spread)
    return tuple(
        Prediction(
            quantity=quantity,
            distractors=size,
            value=_back(quantity, value),
            ci95=(_back(quantity, value - width), _back(quantity, value + width)),
            method="tail",
            fitted_on=sample.distractors,
            measured=None,
        )
        for (quantity, size), value, width in zip(question_names(sizes, fpirs, thresholds), values, half, strict=True)
    )


def mated_pairs(features: FloatMatrix, labels: NDArray[np.str_]) -> MatedSearches:
    """Return all ordered pairs of two photos of one person; raises ExtrapolationError where there is none.

    Photos without a label have no mate.
    """
    rows, scores = [], []
    for person in np.unique(labels[labels != ""]):
        photos = np.flatnonzero(labels == person)
        first, second = np.nonzero(~np.eye(len(photos), dtype=bool))
        products = features[photos].astype(np.float64) @ features[photos].T.astype(np.float64)
        rows.append(photos[first])
        scores.append(products[first, second].astype(np.float32))
    if not any(map(len, rows)):
        raise ExtrapolationError("no person among the probes has two photos: there is no mated pair to rank")
    return MatedSearches(np.concatenate(rows), np.concatenate(scores))


def person_groups(labels: NDArray[np.str_], what: str) -> NDArray[np.int64]:
    """Deal persons out to GROUPS groups, the photos of one together: the group [n] of each row."""
    persons, owner = np.unique(labels, return_inverse=True)
    nameless = np.flatnonzero(labels == "")
    owner = owner.astype(np.int64)
    owner[nameless] = len(persons) + np.arange(len(nameless))
    _, owner = np.unique(owner, return_inverse=True)
    people = int(owner.max(initial=-1)) + 1
    if people < GROUPS:
        raise ExtrapolationError(f"{people} different people among the {what} are too few: at least {GROUPS}")
    return np.asarray(np.random.default_rng(0).permutation(people)[owner] % GROUPS, np.int64)


def impostor_scores(probes: FloatMatrix, distractors: FloatMatrix, groups: NDArray[np.int64]) -> ImpostorScores:
    """Compute all scores of probes [P, D] against distractors [n, D] of these groups [n], and keep what matters.

    Two passes in blocks of distractors. Raises ExtrapolationError for fewer than MIN_DISTRACTORS.
    """
    if len(distractors) < MIN_DISTRACTORS:
        raise ExtrapolationError(
            f"{len(distractors)} distractors say too little about more of them: at least {MIN_DISTRACTORS}"
        )
    # Moments about a value near the mean, so that float32 loses nothing to cancellation.
    centre = fisher_z(probes.astype(np.float64) @ distractors.mean(axis=0, dtype=np.float64))
    sums, squares = np.zeros((2, len(probes), GROUPS))
    for start, block in _blocks(probes, distractors):
        block -= centre.astype(np.float32)[:, None]
        member = np.eye(GROUPS, dtype=np.float32)[groups[start : start + block.shape[1]]]
        sums += block @ member
        squares += np.square(block) @ member
    shift = sums.sum(axis=1) / len(distractors)
    scale = np.sqrt(squares.sum(axis=1) / len(distractors) - np.square(shift))
    lowest = (centre + shift + norm.isf(KEPT_DISTRACTORS / len(distractors)) * scale).astype(np.float32)
    found = []
    for start, block in _blocks(probes, distractors):
        rows, columns = np.nonzero(block >= lowest[:, None])
        found.append((block[rows, columns], rows, groups[start + columns]))
    scores, rows, owners = (np.concatenate(part) for part in zip(*found, strict=True))
    return ImpostorScores(centre, sums, squares, np.bincount(groups, minlength=GROUPS), scores, rows, owners)


def fit_law(
    sample: ImpostorScores, without: int | None = None, kept_probes: NDArray[np.bool_] | None = None
) -> ImpostorLaw:
    """Fit the law, with all distractors or without one group of them, to all probes or to some of them [P]."""
    groups = np.arange(GROUPS) != without
    count = int(sample.counts[groups].sum())
    shift = sample.sums[:, groups].sum(axis=1) / count
    location = sample.centre + shift
    scale = np.sqrt(np.maximum(sample.squares[:, groups].sum(axis=1) / count - np.square(shift), 1e-12))
    chosen = groups[sample.groups] if kept_probes is None else kept_probes[sample.rows]
    probes = len(location) if kept_probes is None else int(kept_probes.sum())
    rows = sample.rows[chosen]
    body = np.sort((sample.scores[chosen] - location[rows]) / scale[rows])
    total = probes * count
    tail = fit_tail(body, total, round(min(TAIL_SHARE, TAIL_DISTRACTORS / count) * total))
    return ImpostorLaw(location, scale, body, total, tail)


def exceedance(law: ImpostorLaw, rows: NDArray[np.int64], scores: NDArray[np.floating] | float) -> Reals:
    """P(a distractor's score >= s) for these probes [m]; below what was kept, the largest known probability."""
    standard = (fisher_z(scores) - law.location[rows]) / law.scale[rows]
    counted = (len(law.body) - np.searchsorted(law.body, standard, side="left")) / law.total
    return np.where(standard > law.tail.start, tail_probability(law.tail, standard), counted)


def question_names(sizes: Sequence[int], fpirs: Sequence[float], thresholds: Sequence[float]) -> list[tuple[str, int]]:
    """Return what is foretold, and for how many distractors, in the order of the predictions."""
    quantities = ["rank1", *(f"threshold at FPIR {fpir:g}" for fpir in fpirs)]
    quantities += [f"FPIR at threshold {threshold:.4f}" for threshold in thresholds]
    return [(quantity, size) for size in sizes for quantity in quantities]


def fisher_z(cosines: NDArray[np.floating] | float) -> NDArray[Any]:
    """Return artanh of cosines; of those that are 1 or -1 to within _END that of the last one inside."""
    return np.asarray(np.arctanh(np.clip(cosines, _END - 1, 1 - _END)))


def _blocks(probes: FloatMatrix, distractors: FloatMatrix) -> Iterator[tuple[int, FloatMatrix]]:
    """Yield the first column and Fisher's z of the scores [P, b], block by block."""
    step = max(1, _BLOCK_SCORES // len(probes))
    for start in range(0, len(distractors), step):
        yield start, fisher_z(probes @ distractors[start : start + step].T)


def _foretell(
    law: ImpostorLaw,
    mated: MatedSearches,
    kept_probes: NDArray[np.bool_],
    sizes: Sequence[int],
    fpirs: Sequence[float],
    thresholds: Sequence[float],
) -> Reals:
    """Return the answers to `question_names` where intervals are symmetric: rates as log odds, thresholds as artanh."""
    rows = np.flatnonzero(kept_probes)
    searches = kept_probes[mated.rows]
    passed = exceedance(law, mated.rows[searches], mated.scores[searches])

    def fpir_at(threshold: float, size: int) -> float:
        return float(any_of(exceedance(law, rows, threshold), size).mean())

    def threshold_at_fpir(fpir: float, size: int) -> float:
        if fpir_at(1 - _END, size) > fpir:
            raise ExtrapolationError(
                f"no threshold has an FPIR of {fpir:g} among {size:,} distractors like these, which are as much like"
                " a probe as its own photo is: are photos of the probes among them?"
            )
        found = brentq(lambda threshold: fpir_at(threshold, size) - fpir, lowest, 1 - _END, xtol=1e-7)
        return float(fisher_z(found))

    lowest = float(np.tanh(law.location[rows].min()))
    values = []
    for size in sizes:
        values.append(_odds(1 - float(any_of(passed, size).mean())))
        values += [threshold_at_fpir(fpir, size) for fpir in fpirs]
        values += [_odds(fpir_at(threshold, size)) for threshold in thresholds]
    return np.array(values)


def _odds(rate: float) -> float:
    return float(logit(np.clip(rate, 1e-12, 1 - 1e-12)))


def _back(quantity: str, value: float) -> float:
    return float(np.tanh(value)) if quantity.startswith("threshold") else float(expit(value))


def _jackknife_variance(replicates: Sequence[Reals]) -> Reals:
    spread: Reals = (len(replicates) - 1) * np.var(np.stack(replicates), axis=0)
    return spread
