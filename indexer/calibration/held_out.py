"""What thresholds and probabilities are worth on people who did not set them: half set, the other half checks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from indexer.calibration.known_searches import KnownSearches, probability_of
from indexer.decided_on import DEFAULT_DECIDED_ON, DecidedOn
from indexer.decision.context import WEIGHT
from indexer.decision.decision import MAX_STORED, Calibration, choose_threshold
from indexer.decision.intervals import wilson
from indexer.decision.match_probability import MatchProbability, Reals, match_probability
from indexer.errors import CalibrationError

BINS = 10
"""Of equal width in the reliability diagram."""

_NEVER_CERTAIN = 1e-6  # a logarithm of zero would make one wrong answer outweigh all others


@dataclass(frozen=True)
class AchievedRate:
    """An FPIR that was asked for, and what the held-out non-mated searches made of it.

    `threshold` and the counts are None where the other half could not set one (`basis` refused).
    """

    fpir: float
    basis: Literal["measured", "extrapolated", "refused"]
    threshold: float | None
    alarms: int | None
    searches: int
    rate: float | None
    ci95: tuple[float, float] | None


@dataclass(frozen=True)
class ReliabilityBin:
    """Held-out searches whose probability lies in one bin: its mean, and the share that was right, at even odds.

    `ci95` is Wilson's of that share, with the effective number of searches (mated and non-mated weigh the same).
    """

    probability: float
    right: float
    ci95: tuple[float, float]
    searches: int


@dataclass(frozen=True)
class HeldOut:
    """The check: achieved rates, and for the probability its diagram, Brier score and log loss (nats) at even odds.

    Without enough mated searches the diagram is empty, the scores are None, and `remark` says why.
    """

    achieved: tuple[AchievedRate, ...]
    reliability: tuple[ReliabilityBin, ...] = ()
    brier: float | None = None
    log_loss: float | None = None
    remark: str | None = None


def held_out(
    searches: KnownSearches,
    gallery_size: int,
    fpirs: Sequence[float],
    on: DecidedOn = DEFAULT_DECIDED_ON,
    seed: int = 0,
) -> HeldOut:
    """Set thresholds and the probability on the searches of half of the persons, and count on the other half's.

    Thresholds are for decisions `on` it.
    """
    persons = np.unique(searches.persons)
    first_half = np.random.default_rng(seed).permutation(persons)[: len(persons) // 2]
    setting = np.isin(searches.persons, first_half)
    known, checked = searches.only(setting), searches.only(~setting)
    achieved = tuple(_achieved(known, checked, gallery_size, fpirs, on))
    try:
        law = probability_of(known)
    except CalibrationError as error:
        return HeldOut(achieved, remark=str(error))
    if not checked.mated.any() or checked.mated.all():
        return HeldOut(achieved, remark="the held-out half has no searches of one of the two kinds")
    return _reliability(achieved, law, checked)


def _achieved(
    known: KnownSearches, checked: KnownSearches, gallery_size: int, fpirs: Sequence[float], on: DecidedOn
) -> Iterator[AchievedRate]:
    weight = WEIGHT if on == "context" else 0.0
    best = np.sort((known.similarities - weight * known.contexts)[~known.mated].astype(np.float32))[::-1]
    strangers = (checked.similarities - weight * checked.contexts)[~checked.mated].astype(np.float32)
    sample = Calibration("fpir", best[:MAX_STORED], len(best), gallery_size, None, None, "", "", "", "")
    for fpir in fpirs:
        try:
            threshold = choose_threshold([sample], "fpir", fpir, gallery_size, "gallery")
        except CalibrationError:
            yield AchievedRate(fpir, "refused", None, None, len(strangers), None, None)
            continue
        alarms = int((strangers >= np.float32(threshold.value)).sum())
        yield AchievedRate(
            fpir,
            "measured" if threshold.measured else "extrapolated",
            threshold.value,
            alarms,
            len(strangers),
            alarms / len(strangers) if len(strangers) else None,
            wilson(alarms, len(strangers)) if len(strangers) else None,
        )


def _reliability(achieved: tuple[AchievedRate, ...], law: MatchProbability, checked: KnownSearches) -> HeldOut:
    probabilities = np.array(
        [match_probability(law, *one) for one in zip(checked.similarities, checked.contexts, strict=True)]
    )
    weights = np.where(checked.mated, 0.5 / checked.mated.sum(), 0.5 / (~checked.mated).sum())
    right = checked.right.astype(np.float64)
    safe = np.clip(probabilities, _NEVER_CERTAIN, 1 - _NEVER_CERTAIN)
    return HeldOut(
        achieved,
        tuple(_bins(probabilities, right, weights)),
        brier=float(weights @ np.square(probabilities - right)),
        log_loss=float(-(weights @ np.where(checked.right, np.log(safe), np.log1p(-safe)))),
    )


def _bins(probabilities: Reals, right: Reals, weights: Reals) -> Iterator[ReliabilityBin]:
    where = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    for place in range(BINS):
        here = where == place
        if not here.any():
            continue
        weight = weights[here] / weights[here].sum()
        share = float(weight @ right[here])
        effective = max(1, round(1 / float(np.square(weight).sum())))  # Kish 1965
        yield ReliabilityBin(
            float(weight @ probabilities[here]), share, wilson(round(share * effective), effective), int(here.sum())
        )
