"""BLUFR: LFW's whole set, ten trials, verification at FAR 0.1 % and open-set identification at FAR 1 %.

Liao, Lei, Yi, Li 2014, "A benchmark study of large-scale unconstrained face recognition". A trial sets 1,500 people
aside for training; of the others, all pairs of photos are compared, and 1,000 people are enrolled with one photo each.
Figures are mean - standard deviation over the trials. FAR of identification is the share of impostor probes whose best
score passes, what ISO calls FPIR.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.formats.blufr_config import BlufrConfig
from benchmarks.metrics.bootstrap import MatedTrials, NonMatedTrials, accepted_intervals, tail_length
from benchmarks.metrics.metrics import roc, tar_at_far
from benchmarks.metrics.rates import UnsupportedRate
from benchmarks.protocols.errors import ProtocolError
from benchmarks.protocols.photo_rows import listed_twice, rows_of_photos
from benchmarks.protocols.scored_pairs import verification_row
from benchmarks.protocols.searches import fnir_fpir_curve, open_set_row, search
from benchmarks.results.results import Curve, Curves, MeanAccuracy, Refusal, Results, VerificationRow
from faceid.feature_set import FeatureSet
from indexer.records import FloatMatrix, FloatVector
from indexer.search.scores import canonical_scores

TRIALS = 10
TRAINING_PEOPLE = 1500
GALLERY_PEOPLE = 1000
VERIFICATION_FAR = 1e-3
IDENTIFICATION_FAR = 1e-2
VERIFICATION = "VR at FAR 0.1 %"
IDENTIFICATION = "DIR at FAR 1 %, rank 1"
BLOCK = 512  # rows of the score matrix at a time

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Trial:
    """Rows of the features: the `test` photos, of which `gallery` are enrolled and `probes` searched."""

    test: Ints
    gallery: Ints
    probes: Ints


@dataclass(frozen=True, eq=False)
class Trials:
    """The trials, the `identity` int64 [N] of each row of the features, and which `splits` these are."""

    trials: tuple[Trial, ...]
    identity: Ints
    splits: str
    notes: tuple[str, ...] = ()


def published_trials(config: BlufrConfig, features: FeatureSet) -> Trials:
    """Return the published trials, over the rows of the features whose file names the list has.

    A photo without a feature is left out of its trials, which the notes say. Raises ProtocolError as `rows_of_photos`,
    and for a trial that is none: with a person enrolled twice, or probes of the enrolled or of strangers alone.
    """
    at = rows_of_photos(features, config.photos)
    missing = int((at < 0).sum())
    identity = np.full(len(features), -1)
    identity[at[at >= 0]] = config.labels[at >= 0]

    trials = []
    for test, gallery, probes in zip(config.test, config.gallery, config.probes, strict=True):
        enrolled, lost = (config.labels[gallery[part]] for part in (at[gallery] >= 0, at[gallery] < 0))
        # Without their enrolled photo these people would turn into impostors.
        probes = probes[~np.isin(config.labels[probes], np.setdiff1d(lost, enrolled))]
        trial = Trial(*(at[part][at[part] >= 0] for part in (test, gallery, probes)))
        _check(trial, identity, features.source)
        trials.append(trial)
    notes = (f"{missing} photos of the published list have no feature and are left out",) if missing else ()
    return Trials(tuple(trials), identity, "the published ones", notes)


def seeded_trials(
    features: FeatureSet,
    seed: int = 0,
    training_people: int = TRAINING_PEOPLE,
    gallery_people: int = GALLERY_PEOPLE,
) -> Trials:
    """Draw trials by BLUFR's rule: other people and photos than the published ones, the same numbers of people.

    `labels` of the features name the identities. A trial leaves out `training_people`; of the others who have two or
    more photos, `gallery_people` are enrolled with one and probed with the rest; all others are impostor probes.
    Raises ProtocolError where there are not so many people.
    """
    names, identity, photos = np.unique(features.labels, return_inverse=True, return_counts=True)
    if "" in names:
        raise ProtocolError(f"{features.source}: rows without a label; BLUFR's people all have names")
    random = np.random.default_rng(seed)
    trials = []
    for _ in range(TRIALS):
        people = random.permutation(len(names))[training_people:]
        enrollable = people[photos[people] > 1]
        if len(enrollable) < gallery_people:
            raise ProtocolError(
                f"{features.source}: of its {len(names)} people, {len(enrollable)} with two photos are left where "
                f"{training_people} are set aside; BLUFR enrols {gallery_people}"
            )
        enrolled = random.permutation(enrollable)[:gallery_people]
        test = np.flatnonzero(np.isin(identity, people))
        shuffled = random.permutation(test)
        _, first = np.unique(identity[shuffled], return_index=True)
        one_each = shuffled[first]
        gallery = np.sort(one_each[np.isin(identity[one_each], enrolled)])
        trials.append(Trial(test, gallery, np.setdiff1d(test, gallery)))
    splits = f"drawn by BLUFR's rule from seed {seed}, not the published"
    return Trials(tuple(trials), identity.astype(np.int64), splits, listed_twice(features))


def blufr(features: FeatureSet, trials: Trials, name: str) -> Results:
    """Return VR at FAR 0.1 % and DIR at FAR 1 %, rank 1, of each trial, and their mean and standard deviation.

    Rows of the results have the trial's number as `set`; the open-set rows' `distractors` is the number of enrolled
    people. VR and DIR stand in `accuracy`, a fold for each trial. A trial that is too small for one of them has it
    among the refusals, and then there is no mean of it. The curves are those of trial 1, the ROC as far as FAR 0.4 %.
    """
    verification, open_set = [], []
    refusals: list[Refusal] = []
    curves = Curves()
    for number, trial in enumerate(trials.trials, start=1):
        try:
            row, curve = _verification(features.features, trials.identity, trial, number, name)
            verification.append(row)
        except UnsupportedRate as refused:
            curve = Curves()
            refusals.append(_refusal(VERIFICATION, number, refused))
        gallery, probes = trial.gallery, trial.probes
        searches = search(
            features.features[gallery], trials.identity[gallery], features.features[probes], trials.identity[probes]
        )
        try:
            open_set.append(open_set_row(searches, IDENTIFICATION_FAR, number))
        except UnsupportedRate as refused:
            refusals.append(_refusal(IDENTIFICATION, number, refused))
        if number == 1:
            curves = curve
            if len(searches.best):
                curves = replace(curve, fnir_fpir=(fnir_fpir_curve(searches, f"{name}, trial 1"),))
    return Results(
        protocol="blufr",
        name=name,
        conventions={
            "splits": trials.splits,
            "figures": "mean - standard deviation over the trials",
            "identification": "FAR is the share of impostor probes whose best score passes (ISO: FPIR), rank 1",
            "threshold": "conservative, each trial its own",
        },
        verification=tuple(verification),
        open_set=tuple(open_set),
        accuracy=tuple(
            _over_trials(what, rates)
            for what, rates in (
                (VERIFICATION, [row.tar.rate for row in verification]),
                (IDENTIFICATION, [1 - row.fnir.rate for row in open_set]),
            )
            if len(rates) == len(trials.trials)
        ),
        refusals=tuple(refusals),
        curves=curves,
        notes=(*features.notes, *trials.notes),
    )


def _check(trial: Trial, identity: Ints, source: str) -> None:
    enrolled = identity[trial.gallery]
    if len(np.unique(enrolled)) < len(enrolled):
        raise ProtocolError("BLUFR enrols each person of a gallery with one photo; the list has more")
    mated = np.isin(identity[trial.probes], enrolled)
    if mated.all() or not mated.any():
        raise ProtocolError(
            f"{source}: {int(mated.sum())} of a trial's {len(mated)} probes are of enrolled people;"
            " both kinds are needed"
        )
    if len(np.setdiff1d(np.concatenate([trial.gallery, trial.probes]), trial.test)):
        raise ProtocolError("BLUFR's gallery and probes are parts of the test photos; the list has others")


def _verification(
    features: FloatMatrix, identity: Ints, trial: Trial, number: int, name: str
) -> tuple[VerificationRow, Curves]:
    # Rows grouped by identity: the pairs in which it comes first are those with all rows after its own.
    rows = trial.test[np.argsort(identity[trial.test], kind="stable")]
    _, start, person, photos = np.unique(identity[rows], return_index=True, return_inverse=True, return_counts=True)
    end = start + photos
    first_trials, second_trials = photos * (len(rows) - end), photos * start
    trials = int(first_trials.sum())
    keep = tail_length(VERIFICATION_FAR, trials)
    mated, other = _mated_pairs(end[person]), _closest_pairs(features[rows], end[person], keep)
    mated_scores, other_scores = (_rescored(features[rows], pairs) for pairs in (mated, other))
    point = tar_at_far(mated_scores, other_scores, VERIFICATION_FAR, trials)
    (interval,) = accepted_intervals(
        MatedTrials(mated_scores, person[mated[0]]),
        NonMatedTrials(other_scores, person[other[0]], person[other[1]], trials, first_trials, second_trials),
        [VERIFICATION_FAR],
    )
    curve = roc(mated_scores, other_scores, trials)
    label = f"{name}, trial {number}"
    curves = Curves(roc=(Curve(label, curve.far, curve.tar),), det=(Curve(label, curve.far, curve.fnmr),))
    return verification_row(point, interval, number), curves


def _mated_pairs(end: Ints) -> tuple[Ints, Ints]:
    """Return all pairs of rows of one identity; `end` [n] is for each row the first row of the next identity."""
    rows = np.arange(len(end))
    mates = end - rows - 1
    first = np.repeat(rows, mates)
    return first, first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(mates) - mates, mates)


def _closest_pairs(features: FloatMatrix, end: Ints, keep: int) -> tuple[Ints, Ints]:
    """Return the `keep` pairs of rows of two identities with the highest scores.

    They are selected in float32: far more are kept than are allowed above the threshold, so which of the last ones
    come in makes no difference.
    """
    floor = np.float32(-2)
    kept, scores = [np.zeros((2, 0), np.int64)], [np.zeros(0, np.float32)]
    for start in range(0, len(features), BLOCK):
        block = features[start : start + BLOCK] @ features[start:].T
        for row, stop in zip(block, end[start : start + BLOCK] - start, strict=True):
            row[:stop] = -2  # itself, pairs that came before, and mates
        above = np.flatnonzero(block > floor)
        kept.append(np.stack(np.divmod(above, block.shape[1])) + start)
        scores.append(block.ravel()[above])
        if sum(map(len, scores)) > 2 * keep:
            floor = _prune(kept, scores, keep)
    _prune(kept, scores, keep)
    return kept[0][0], kept[0][1]


def _prune(kept: list[Ints], scores: list[FloatVector], keep: int) -> np.float32:
    """Leave only the highest scores in both lists; return the lowest of them."""
    pairs, values = np.concatenate(kept, axis=1), np.concatenate(scores)
    top = np.argpartition(values, max(0, len(values) - keep))[-keep:]
    kept[:], scores[:] = [pairs[:, top]], [values[top]]
    return np.float32(scores[0].min())


def _rescored(features: FloatMatrix, pairs: tuple[Ints, Ints]) -> FloatVector:
    """Return the canonical scores of the pairs [n], a part at a time."""
    parts = [
        canonical_scores(features[pairs[0][at : at + 2**13]], features[pairs[1][at : at + 2**13]])
        for at in range(0, len(pairs[0]), 2**13)
    ]
    return np.concatenate(parts)


def _refusal(what: str, number: int, refused: UnsupportedRate) -> Refusal:
    return Refusal(f"{what}, trial {number}", refused.needed, refused.trials)


def _over_trials(what: str, rates: Sequence[float]) -> MeanAccuracy:
    mean, deviation = float(np.mean(rates)), float(np.std(rates, ddof=1))
    convention = f"BLUFR, {what}: mean of {len(rates)} trials; mean - std {100 * (mean - deviation):.2f} %"
    return MeanAccuracy(mean, deviation / len(rates) ** 0.5, tuple(rates), convention)
