"""MegaFace's protocol on any features: mated pairs among N distractors, verification over all scores, open-set rows.

Challenge 1 (Kemelmacher-Shlizerman et al. 2016): for every ordered pair of two photos of one identity the gallery is
one mate and N distractors; other photos of the person are not in it. Beside it the open-set figures that MegaFace never
had (NIST FRTE): a non-mated search is a probe among the N distractors without its mate.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.distractors.distractor_pass import MatedPairs, Prefix, distractor_pass, mated_pairs
from benchmarks.metrics import metrics
from benchmarks.metrics.bootstrap import (
    MatedTrials,
    NonMatedTrials,
    accepted_intervals,
    complement,
    rate_interval,
    tail_length,
)
from benchmarks.metrics.rates import UnsupportedRate, rate, require_support
from benchmarks.protocols.errors import ProtocolError
from benchmarks.protocols.photo_rows import listed_twice
from benchmarks.results.results import (
    Curve,
    Curves,
    Histogram,
    IdentificationRow,
    OpenSetRow,
    Rate,
    Refusal,
    Results,
    VerificationRow,
    WorstError,
)
from faceid.feature_set import FeatureSet
from indexer.records import FloatMatrix, Ids
from indexer.text import printable

FARS = (1e-3, 1e-4, 1e-5, 1e-6)
FPIRS = (0.003, 0.01, 0.1)
EXACT_FAR = 1e-4  # up to here thresholds are order statistics, and their intervals are bootstrapped
KEPT_AT_LEAST = 1 << 20  # highest scores: makes higher rates exact too where there are few scores
SEED = 20160626  # of the orders of the distractors, and of R-compatible probes
WORST = 24
RANKS = 100  # each of the first ranks is on a CMC, then POINTS_A_DECADE a decade
POINTS_A_DECADE = 50
BINS = 256
JITTER = 1e-3  # of a replaced probe's values, before it is normalised (insightface's remove_noises.py)

Strategy = Callable[..., tuple[Prefix, ...]]


@dataclass(frozen=True, eq=False)
class Noise:
    """Mislabelled photos, bool [P] and bool [M], and what is done about them.

    r-compatible is what published "R" figures did: a noisy probe is replaced by the normalised sum of the person's
    clean features plus uniform noise of 1e-3, a noisy distractor counts in N and never scores. Both can only help.
    r-drop leaves both out: other distractors take their places in N.
    """

    mode: Literal["r-compatible", "r-drop"]
    probes: NDArray[np.bool_]
    distractors: NDArray[np.bool_]


def megaface(
    probes: FeatureSet,
    distractors: FeatureSet,
    sizes: Sequence[int] | None = None,
    sets: int = 1,
    noise: Noise | None = None,
    fars: Sequence[float] = FARS,
    fpirs: Sequence[float] = FPIRS,
    name: str = "",
    strategy: Strategy = distractor_pass,
) -> Results:
    """Measure probes of known identities among distractors, at each gallery size of `sizes`.

    `sizes` None: 10, 100, ... and all. Set 1 takes the distractors as they lie, set s > 1 in the order of
    `distractor_order`; a size that holds all distractors is the same gallery in every set and comes once. `fars` and
    `fpirs` have their rows where the trials support them, and are in the refusals where not. Raises ProtocolError where
    the inputs do not fit, VectorError for features that are not of unit length.
    """
    probes, distractors, masked, left_out = _without_noise(probes, distractors, noise)
    _check(probes, distractors)
    sizes = _sizes(sizes, len(distractors))
    names, identity = np.unique(probes.labels, return_inverse=True)
    pairs = mated_pairs(probes.features, identity)
    if not len(pairs.scores):
        raise ProtocolError(
            f"{probes.source}: no identity has two photos; the protocol searches for one with the other"
        )
    identification: list[IdentificationRow] = []
    verification: list[VerificationRow] = []
    open_set: list[OpenSetRow] = []
    refusals: list[Refusal] = []
    curves: list[_SizeCurves] = []
    largest: Prefix | None = None
    # One size at a time: the highest scores of all of them together may be more than memory holds.
    searched = _search_all(probes.features, identity, pairs, distractors.features, masked, sizes, sets, strategy)
    for number, found in searched:
        identification.append(_identification(found, number))
        verification.extend(_verification(found, number, fars, refusals))
        open_set.extend(_open_set(found, number, fpirs, refusals))
        if number == 1:
            curves.append(_curves(found))
            largest = found.prefix
    assert largest is not None
    return Results(
        "megaface",
        name or f"{probes.source} among {distractors.source}",
        _conventions(noise, sets, len(names)),
        tuple(identification),
        tuple(verification),
        tuple(open_set),
        refusals=tuple(dict.fromkeys(refusals)),
        worst_errors=_worst_errors(pairs, largest, probes, distractors),
        curves=Curves(
            *(
                tuple(getattr(one, field) for one in curves)
                for field in ("cmc", "traditional_cmc", "roc", "det", "fnir_fpir")
            )
        ),
        histograms=_histograms(pairs, largest),
        notes=(*left_out, *listed_twice(probes), *_known_distractors(probes, distractors)),
    )


def _search_all(
    probes: FloatMatrix,
    identity: Ids,
    pairs: MatedPairs,
    distractors: FloatMatrix,
    masked: NDArray[np.bool_] | None,
    sizes: Sequence[int],
    sets: int,
    strategy: Strategy,
) -> "Iterator[tuple[int, _Searches]]":
    """Yield the searches of each set at each size, the sizes of a set in rising order, with the set's number."""
    trials = len(probes) * sizes[-1]
    kept = min(trials, max(KEPT_AT_LEAST, tail_length(EXACT_FAR, trials)))
    first = _first_photos(identity)
    traditional = distractor_pass(probes, pairs, probes[first], [len(first)], 1)[0]
    for number in range(1, sets + 1):
        of_set = sizes if number == 1 else [size for size in sizes if size < len(distractors)]
        if not of_set:
            continue
        order = distractor_order(len(distractors), number)
        for prefix in strategy(probes, pairs, distractors, of_set, kept, order=order, masked=masked):
            ranks = _traditional_ranks(pairs, traditional, prefix, identity, first)
            yield number, _Searches(pairs, prefix, identity, 1 + prefix.above + prefix.ties, ranks)


def _known_distractors(probes: FeatureSet, distractors: FeatureSet) -> tuple[str, ...]:
    """Return a note where distractors bear the names of probes: a mate among them ranks before the mate, as a miss."""
    known = np.isin(distractors.labels, np.unique(probes.labels))
    if not known.any():
        return ()
    shown = printable(str(distractors.labels[known][0]))
    return (
        f"{distractors.source}: {int(known.sum())} distractors bear the name of somebody among the probes, such as"
        f" {shown}; distractors are to be other people",
    )


def distractor_order(count: int, number: int) -> Ids | None:
    """Return the order of a set: None (as they lie) for 1, else NumPy's PCG64 permutation seeded by (SEED, number)."""
    return None if number == 1 else np.random.default_rng([SEED, number]).permutation(count)


@dataclass(frozen=True, eq=False)
class _Searches:
    """All trials of one gallery size: the pass's findings, with whose they are (int64 [P], 0..I-1)."""

    pairs: MatedPairs
    prefix: Prefix
    identity: Ids
    ranks: Ids
    traditional_ranks: Ids

    @property
    def size(self) -> int:
        return self.prefix.distractors

    @property
    def genuine(self) -> NDArray[np.bool_]:
        """Which of the ordered pairs stand for their unordered one, bool [Q]."""
        chosen: NDArray[np.bool_] = self.pairs.probe < self.pairs.mate
        return chosen


@dataclass(frozen=True, eq=False)
class _SizeCurves:
    cmc: Curve
    traditional_cmc: Curve
    roc: Curve
    det: Curve
    fnir_fpir: Curve


def _without_noise(
    probes: FeatureSet, distractors: FeatureSet, noise: Noise | None
) -> tuple[FeatureSet, FeatureSet, NDArray[np.bool_] | None, tuple[str, ...]]:
    """Return the inputs after noise handling, which distractors never score, and what was done."""
    if noise is None:
        return probes, distractors, None, ()
    if noise.probes.shape != (len(probes),) or noise.distractors.shape != (len(distractors),):
        raise ProtocolError("the noisy photos are not marked for just these probes and distractors")
    counts = f"{noise.probes.sum()} probes and {noise.distractors.sum()} distractors"
    if noise.mode == "r-drop":
        note = f"R-drop: {counts} are on the noise lists and were left out"
        return _rows(probes, ~noise.probes), _rows(distractors, ~noise.distractors), None, (note,)
    note = f"R-compatible: {counts} are on the noise lists; the probes were replaced, the distractors never score"
    return replace(probes, features=_replaced(probes, noise.probes)), distractors, noise.distractors, (note,)


def _rows(features: FeatureSet, chosen: NDArray[np.bool_]) -> FeatureSet:
    return replace(
        features, features=features.features[chosen], labels=features.labels[chosen], paths=features.paths[chosen]
    )


def _replaced(probes: FeatureSet, noisy: NDArray[np.bool_]) -> FloatMatrix:
    """Replace each noisy probe by normalise(sum of the person's clean features + U(-1e-3, 1e-3)), seeded."""
    features = np.array(probes.features, np.float32)
    random = np.random.default_rng(SEED)
    for row in np.flatnonzero(noisy).tolist():
        clean = (probes.labels == probes.labels[row]) & ~noisy
        if not clean.any():
            raise ProtocolError(
                f"all photos of {probes.labels[row]} are on the noise list: R-compatible has nothing to replace them"
                " by; use R-drop"
            )
        total = probes.features[clean].sum(axis=0, dtype=np.float64)
        total += random.uniform(-JITTER, JITTER, len(total))
        features[row] = total / np.linalg.norm(total)
    return features


def _check(probes: FeatureSet, distractors: FeatureSet) -> None:
    if not len(probes) or not len(distractors):
        raise ProtocolError(f"{len(probes)} probes and {len(distractors)} distractors: there must be some of both")
    if probes.features.shape[1] != distractors.features.shape[1]:
        raise ProtocolError(
            f"{probes.source} has features of {probes.features.shape[1]} numbers, {distractors.source} of"
            f" {distractors.features.shape[1]}: they are of two networks"
        )
    if (probes.labels == "").any():
        raise ProtocolError(f"{probes.source}: a probe has no label; put photos of nobody among the distractors")


def _sizes(sizes: Sequence[int] | None, available: int) -> list[int]:
    if sizes is None:
        tens = [10**power for power in range(1, 19) if 10**power < available]
        return [*tens, available]
    chosen = sorted(set(sizes))
    if not chosen or chosen[0] < 1 or chosen[-1] > available:
        raise ProtocolError(
            f"galleries of {', '.join(f'{size:,}' for size in chosen) or 'no size'} were asked for;"
            f" there are {available:,} distractors"
        )
    return chosen


def _first_photos(identity: Ids) -> Ids:
    """Return the first row of each identity, by identity."""
    return np.unique(identity, return_index=True)[1].astype(np.int64)


def _traditional_ranks(pairs: MatedPairs, among: Prefix, prefix: Prefix, identity: Ids, first: Ids) -> Ids:
    """Rank of each search whose gallery is the first photo of every identity and the distractors.

    Searched with all other photos. The mate is itself among the first photos, and equals itself there: one tie less.
    """
    searched = _searched_traditionally(pairs, identity, first)
    rivals = among.above + among.ties - 1 + prefix.above + prefix.ties
    ranks: Ids = 1 + rivals[searched]
    return ranks


def _searched_traditionally(pairs: MatedPairs, identity: Ids, first: Ids) -> NDArray[np.bool_]:
    """Return which of the ordered pairs, bool [Q], are searches for the first photo of their identity."""
    searched: NDArray[np.bool_] = pairs.mate == first[identity[pairs.probe]]
    return searched


def _identification(searches: _Searches, number: int) -> IdentificationRow:
    identity = searches.identity[searches.pairs.probe]
    searched = _searched_traditionally(searches.pairs, searches.identity, _first_photos(searches.identity))
    return IdentificationRow(
        searches.size,
        number,
        _rank_rate(searches.ranks, 1, identity),
        _rank_rate(searches.ranks, 10, identity),
        int(searches.prefix.ties.sum()),
        _rank_rate(searches.traditional_ranks, 1, identity[searched]),
    )


def _rank_rate(ranks: Ids, rank: int, identity: Ids) -> Rate:
    return replace(metrics.rank_rate(ranks, rank), ci95_clustered=rate_interval(ranks <= rank, identity))


def _verification(
    searches: _Searches, number: int, fars: Sequence[float], refusals: list[Refusal]
) -> Iterator[VerificationRow]:
    """Yield a row for each FAR: exact order statistics where they were kept, else the ROC's fixed thresholds."""
    prefix = searches.prefix
    genuine = searches.pairs.scores[searches.genuine]
    identity = searches.identity[searches.pairs.probe[searches.genuine]]
    for far in fars:
        try:
            require_support(far, prefix.trials, "pairs of a probe and a distractor")
        except UnsupportedRate as refused:
            refusals.append(_refusal(f"TAR at FAR {far:g}", searches.size, number, refused))
            continue
        if far * prefix.trials * (1 + 1e-12) < len(prefix.top_scores):
            point = metrics.tar_at_far(genuine, prefix.top_scores, far, prefix.trials)
            threshold, tar, achieved = point.threshold, point.value, point.achieved
            tail = min(len(prefix.top_scores), tail_length(far, prefix.trials))
            non_mated = NonMatedTrials(
                prefix.top_scores[:tail],
                searches.identity[prefix.top_probes[:tail]],
                None,
                prefix.trials,
                np.bincount(searches.identity) * searches.size,
                None,
            )
            (interval,) = accepted_intervals(MatedTrials(genuine, identity), non_mated, [far])
            tar = replace(tar, ci95_clustered=interval)
        elif prefix.accepted is not None:
            threshold, accepted = _fixed_threshold(prefix.accepted, math.floor(far * prefix.trials * (1 + 1e-12)))
            passed = genuine >= threshold
            tar = rate(int(passed.sum()), len(genuine), rate_interval(passed, identity))
            achieved = rate(accepted, prefix.trials)
        else:
            continue
        yield VerificationRow(searches.size, number, far, tar, threshold, achieved.hits, prefix.trials, achieved)


def _fixed_threshold(accepted: Ids, allowed: int) -> tuple[float, int]:
    """Return the lowest fixed threshold with at most so many false accepts, and how many it has."""
    index = int(np.searchsorted(-accepted, -allowed))  # the first that does not exceed it: counts fall with k
    if index == len(accepted):
        return math.nextafter(1.0, 2.0), 0
    return index / 32768 - 1, int(accepted[index])


def _open_set(
    searches: _Searches, number: int, fpirs: Sequence[float], refusals: list[Refusal]
) -> Iterator[OpenSetRow]:
    prefix, pairs, identity = searches.prefix, searches.pairs, searches.identity
    found = np.where(searches.ranks == 1, pairs.scores, np.float32(-np.inf))
    trials = np.bincount(identity)
    for fpir in fpirs:
        try:
            point = metrics.fnir_at_fpir(searches.ranks, pairs.scores, prefix.best, fpir)
        except UnsupportedRate as refused:
            refusals.append(_refusal(f"FNIR at FPIR {fpir:g}", searches.size, number, refused))
            continue
        non_mated = NonMatedTrials(prefix.best, identity, None, len(prefix.best), trials, None)
        (interval,) = accepted_intervals(MatedTrials(found, identity[pairs.probe]), non_mated, [fpir])
        yield OpenSetRow(
            searches.size,
            number,
            fpir,
            replace(point.value, ci95_clustered=complement(interval)),
            point.threshold,
            point.achieved.hits,
            len(prefix.best),
            point.achieved,
        )


def _refusal(what: str, size: int, number: int, refused: UnsupportedRate) -> Refusal:
    return Refusal(f"{what} among {size:,} distractors, set {number}", refused.needed, refused.trials)


def _curves(searches: _Searches) -> _SizeCurves:
    label, prefix, pairs = f"N = {searches.size:,}", searches.prefix, searches.pairs
    genuine = np.sort(pairs.scores[searches.genuine])
    tail = metrics.roc(genuine, prefix.top_scores, prefix.trials)
    fixed = _fixed_points(prefix)
    far = np.concatenate([tail.far, prefix.accepted[fixed] / prefix.trials if prefix.accepted is not None else []])
    rejected = np.searchsorted(genuine, (fixed / 32768 - 1).astype(np.float32), side="left")
    fnmr = np.concatenate([tail.fnmr, rejected / len(genuine)])
    found = np.where(searches.ranks == 1, pairs.scores, np.float32(-np.inf))
    open_set = metrics.roc(found, prefix.best)
    return _SizeCurves(
        _cmc(label, searches.ranks, searches.size + 1),
        _cmc(label, searches.traditional_ranks, searches.size + len(np.unique(searches.identity))),
        Curve(label, far, 1 - fnmr),
        Curve(label, far, fnmr),
        Curve(label, open_set.far, open_set.fnmr),
    )


def _fixed_points(prefix: Prefix) -> Ids:
    """Choose the fixed thresholds to draw below the kept scores, falling, evenly in the logarithm of FAR."""
    if prefix.accepted is None or len(prefix.top_scores) >= prefix.accepted[0]:
        return np.empty(0, np.int64)
    low, high = math.log10(len(prefix.top_scores)), math.log10(int(prefix.accepted[0]))
    counts = 10 ** np.linspace(low, high, max(2, math.ceil((high - low) * POINTS_A_DECADE)))
    index = np.unique(np.searchsorted(-prefix.accepted, -counts))[::-1]
    chosen: Ids = index[(index < len(prefix.accepted))]
    return chosen[prefix.accepted[chosen] >= len(prefix.top_scores)]


def _cmc(label: str, ranks: Ids, last: int) -> Curve:
    """Each of the first RANKS ranks, then evenly in the logarithm, and the last one, where every mate is found."""
    beyond = np.round(10 ** np.arange(math.log10(RANKS), math.log10(last) + 1, 1 / POINTS_A_DECADE)).astype(np.int64)
    points = np.unique(np.concatenate([np.arange(1, RANKS + 1), beyond, [last]]))
    points = points[points <= last]
    return Curve(label, points.astype(np.float64), np.searchsorted(np.sort(ranks), points, side="right") / len(ranks))


def _histograms(pairs: MatedPairs, prefix: Prefix) -> tuple[Histogram, ...]:
    """Similarities of unordered mated pairs and, if counted, of all pairs of probe and distractor, in equal bins."""
    edges = np.linspace(-1, 1, BINS + 1)
    mated = np.histogram(pairs.scores[pairs.probe < pairs.mate].clip(-1, 1), edges)[0].astype(np.int64)
    if prefix.accepted is None:
        return (Histogram("mated", edges, mated),)
    step = len(prefix.accepted) // BINS
    non_mated = -np.diff(np.append(prefix.accepted[::step], 0))
    return Histogram("mated", edges, mated), Histogram("non_mated", edges, non_mated)


def _worst_errors(
    pairs: MatedPairs, prefix: Prefix, probes: FeatureSet, distractors: FeatureSet
) -> tuple[WorstError, ...]:
    """Return the mated pairs of the lowest and the non-mated pairs of the highest similarity."""
    genuine = np.flatnonzero(pairs.probe < pairs.mate)
    lowest = genuine[np.argsort(pairs.scores[genuine], kind="stable")[:WORST]]
    missed = [
        WorstError("missed", str(probes.paths[probe]), str(probes.paths[mate]), float(score))
        for probe, mate, score in zip(pairs.probe[lowest], pairs.mate[lowest], pairs.scores[lowest], strict=True)
    ]
    top = prefix.top_probes[:WORST], prefix.top_at[:WORST], prefix.top_scores[:WORST]
    accepted = [
        WorstError("false_accept", str(probes.paths[probe]), str(distractors.paths[at]), float(score))
        for probe, at, score in zip(*top, strict=True)
    ]
    return (*missed, *accepted)


def _conventions(noise: Noise | None, sets: int, identities: int) -> dict[str, str]:
    return {
        "identification": "every ordered pair of two photos of a person: gallery = one mate and N distractors",
        "ties": "a distractor that scores as high as the mate ranks before it",
        "traditional": "gallery = the first photo of each person and N distractors; probes = all other photos",
        "verification": "genuine = unordered pairs of two photos of a person;"
        " impostor = each probe with each of N distractors",
        "open set": "mated search = an ordered pair, missed if its rank is not 1 or its score below the threshold;"
        " non-mated search = each probe among N distractors",
        "threshold": "accept at s >= T, T just above the (k + 1)-th largest score, k = floor(rate x trials); above FAR"
        " 1e-4, where fewer scores are kept, the lowest of 65,536 fixed thresholds that has no more false accepts",
        "noise": "raw" if noise is None else noise.mode,
        "sets": "1: the distractors as they lie"
        + (f"; 2 to {sets}: NumPy's permutation of them, default_rng([{SEED}, set])" if sets > 1 else ""),
        "score": "float64 dot product of the float32 features, rounded to float32",
        "ci95_clustered": f"bootstrap over the {identities:,} identities of the probes;"
        " the distractors are not drawn anew; a threshold that is one of the 65,536 fixed ones is held",
    }
