"""From measured non-mated scores to a threshold with its provenance, and from a similarity to a decision."""

import base64
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from indexer.decided_on import DEFAULT_DECIDED_ON, DecidedOn
from indexer.decision.intervals import wilson
from indexer.decision.match_probability import MatchProbability
from indexer.decision.tail import (
    MIN_EXCEEDANCES,
    SHARE,
    UpperTail,
    any_of,
    fit_tail,
    resample_tail,
    tail_interval,
    tail_probability,
    tail_quantile,
)
from indexer.errors import CalibrationError
from indexer.records import FloatVector

MAX_STORED = 65_536
"""Scores kept of one sample: enough for a FAR of 1e-4 from 6e8 pairs, and 256 KiB."""

RULE_OF_THREE = 3
"""No event in n trials bounds a rate by 3/n at 95 %: a target below it cannot be told from zero."""

LEAST_RATE = 1e-12
"""The smallest rate that may be asked for: by the rule of three, all who ever lived are too few to measure it."""

SAME_SIZE = 0.10
"""Galleries within this share of the calibrated size count as measured; others are extrapolated."""

FORETOLD_EVENTS = 0.3
"""Events in the trials below which a fitted tail is not asked: a tenth of what the rule of three asks for. On faces it
then held the rate within a factor of four; rarer ones rest on the law alone."""

Target = Literal["fpir", "far"]
Kind = Literal["gallery", "model", "user"]
Way = Literal["cohort", "strangers", "carried", "gallery", "table"]
"""How a threshold came to be: the model's cohort searched in this gallery, strangers of one's own searched in it as it
is, the same when it was another and carried along by the cohort, its own people searched among each other, or the
model's table."""


@dataclass(frozen=True, eq=False)
class Circumstances:
    """What a gallery was, and how faces were found, when it was calibrated: what still fits, and what changed since.

    `contents` is `indexer.records.Contents.digest`; `cohort_scores` float32 [n] are the best scores of the cohort
    `cohort` then, in its order (None without one). `detector` and `quality_policy` say how faces were found and chosen.
    """

    contents: str
    templates: int
    detector: str
    quality_policy: str
    cohort: str | None = None
    cohort_scores: FloatVector | None = None


@dataclass(frozen=True, eq=False)
class Calibration:
    """One measured sample of non-mated scores.

    `scores` float32 [m], largest first, is the upper tail (m <= MAX_STORED) of `trials` scores. For 'fpir' a score
    is the best of one non-mated search against `gallery_size` identities; for 'far' it is one pair of two people.
    `probability` is fitted to mated and non-mated searches of the same gallery, where both were at hand, and
    `circumstances` are known of what was measured on a gallery. `on` says what the scores are: similarities, or what a
    decision on context is made on; one kind is never used for the other.
    """

    target: Target
    scores: FloatVector
    trials: int
    gallery_size: int | None
    templates_per_identity: float | None
    fusion: str | None
    model_digest: str
    precision: str
    data: str
    date: str
    probability: MatchProbability | None = None
    circumstances: Circumstances | None = None
    on: DecidedOn = DEFAULT_DECIDED_ON

    def __post_init__(self) -> None:
        if self.target == "far" and self.on != DEFAULT_DECIDED_ON:
            raise CalibrationError("a FAR is one of pairs, and a pair has no context")
        if self.scores.dtype != np.float32 or self.scores.ndim != 1 or len(self.scores) > self.trials:
            raise CalibrationError("a calibration's scores are float32 [m] with m <= trials")
        if not np.isfinite(self.scores).all() or (np.diff(self.scores) > 0).any():
            raise CalibrationError("a calibration's scores are finite and sorted, largest first")
        if (self.target == "fpir") != (self.gallery_size is not None and self.gallery_size >= 1):
            raise CalibrationError("an FPIR needs the size of the gallery that was searched, a FAR has none")

    def to_record(self) -> dict[str, Any]:
        """Return JSON-able values; scores as base64 of little-endian float32, so that none is rounded.

        A model's table: circumstances are a gallery's and stay there.
        """
        record = asdict(replace(self, circumstances=None))
        del record["circumstances"], record["on"]
        if self.probability is None:  # as programs wrote it that knew none
            del record["probability"]
        record["scores"] = base64.b64encode(self.scores.astype("<f4").tobytes()).decode("ascii")
        return record

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Calibration":
        """Return the inverse of to_record; raises CalibrationError for anything else."""
        try:
            scores = np.frombuffer(base64.b64decode(record["scores"], validate=True), "<f4").astype(np.float32)
            law = record.get("probability")
            probability = None if law is None else MatchProbability(**law)
            return cls(**{**record, "scores": scores, "probability": probability})
        except (KeyError, TypeError, ValueError) as error:
            raise CalibrationError(f"not a calibration record: {error}") from error


@dataclass(frozen=True)
class Threshold:
    """A similarity to accept at (>=), and where it comes from.

    `gallery_size` is the N it is meant for, `measured_at` the N that was searched when it was measured. `measured` is
    false where the rate was not counted at that N but extrapolated. `ci95` is the 95 % interval of the rate at this
    threshold (Wilson of counts, bootstrap of a fitted tail; naive where searches share people). `way` says how it came
    to be (None for one that somebody typed), `supported` whether the trials behind it bear so rare an alarm. `on` says
    what it is compared with: the best similarity, or `indexer.decision.context.on_context`.
    """

    value: float
    kind: Kind
    target: Target | None
    target_value: float | None
    measured: bool
    trials: int | None
    ci95: tuple[float, float] | None
    gallery_size: int | None
    date: str | None
    measured_at: int | None = None
    data: str | None = None
    way: Way | None = None
    supported: bool = False
    on: DecidedOn = DEFAULT_DECIDED_ON


def user_threshold(value: float, file: Path | None = None) -> Threshold:
    """Return a threshold that somebody typed, or wrote into a settings file: nothing was measured.

    Raises ValueError for what is no similarity, -1 to 1.
    """
    if not -1 <= value <= 1:  # NaN is none either
        raise ValueError(f"a threshold is a similarity from -1 to 1, not {value}")
    return Threshold(value, "user", None, None, False, None, None, None, None, data=None if file is None else str(file))


def decide(score: float | None, threshold: Threshold) -> Literal["identified", "unknown"]:
    """Say `identified` at or above the threshold; `unknown` below it, and where no candidate was found (None).

    `score` is what the threshold is on.
    """
    return "identified" if score is not None and score >= threshold.value else "unknown"


def threshold_at(scores: FloatVector, trials: int, target: float) -> float:
    """Return the smallest threshold whose rate of alarms, at >=, is at most target.

    T = nextafter((k + 1)-th largest score, +inf) with k = floor(target * trials): conservative, the same under ties.
    `scores` float32 [m] is the upper tail of `trials` scores, largest first. Raises CalibrationError if the tail
    ends before the (k + 1)-th score.
    """
    allowed = math.floor(target * trials * (1 + 1e-12))  # 0.29 * 100 is 28.999999999999996
    if not 0 < target < 1:
        raise CalibrationError(f"the target rate {target:g} must lie between 0 and 1")
    if allowed >= len(scores):
        raise CalibrationError(
            f"a rate of {target:g} needs the {allowed + 1} largest of {trials} scores and only {len(scores)} are kept;"
            " ask for a smaller rate"
        )
    return float(np.nextafter(np.float32(scores[allowed]), np.float32(np.inf)))


def choose_threshold(
    calibrations: Sequence[Calibration],
    target: Target,
    value: float,
    gallery_size: int | None,
    kind: Kind,
    on: DecidedOn = DEFAULT_DECIDED_ON,
) -> Threshold:
    """Return the threshold for a rate of `value`, from the calibration that was measured nearest to `gallery_size`.

    Within 10 % of the size N0 of the sample, a rate that the trials support (3 / f of them) is counted. Every other
    FPIR f at N is extrapolated: it follows from the sample's f0 = 1 - (1 - f)^(N0/N), as if identities alarmed
    independently, and the score of f0 from a generalized Pareto tail of the best scores (`indexer.decision.tail`), or
    from counting where f0 lies in their bulk. Raises CalibrationError where there is no calibration, where trials
    cannot support a FAR, or an FPIR even by the tail (FORETOLD_EVENTS), and where the stored scores end before the
    rate. What was measured for decisions on something else than `on` does not count.
    """
    if not LEAST_RATE <= value < 1:
        raise CalibrationError(f"the target {target.upper()} {value:g} must lie between {LEAST_RATE:g} and 1")
    fitting = [calibration for calibration in calibrations if (calibration.target, calibration.on) == (target, on)]
    if not fitting:
        raise CalibrationError(f"nothing has been measured for {target.upper()}: run `faceid calibrate` first")
    if target == "far":
        source = max(fitting, key=lambda calibration: (calibration.trials, calibration.date))
        ratio, size = 1.0, None
    else:
        size = max(1, gallery_size or 0)
        source = max(fitting, key=lambda calibration: _fitness(calibration, size))
        ratio = _size(source) / size
    rate = _rescale(value, ratio)
    supported = source.trials * rate >= RULE_OF_THREE * (1 - 1e-12)
    same_size = size is None or abs(size - _size(source)) <= SAME_SIZE * _size(source)
    tail = None if target == "far" or (supported and same_size) else _tail_for(source, rate)
    if tail is None and not supported:
        raise CalibrationError(_too_few(source, target, value, size, math.ceil(RULE_OF_THREE / rate)))
    threshold = threshold_at(source.scores, source.trials, rate) if tail is None else tail_quantile(tail, rate)
    low, high = _counted_interval(source, threshold) if tail is None else _foretold_interval(source, tail, threshold)
    return Threshold(
        value=threshold,
        kind=kind,
        target=target,
        target_value=value,
        measured=supported and same_size,
        trials=source.trials,
        ci95=(_rescale(low, 1 / ratio), _rescale(high, 1 / ratio)),
        gallery_size=size,
        date=source.date,
        measured_at=source.gallery_size,
        data=source.data,
        supported=supported,
        on=on,
    )


def _tail_for(source: Calibration, rate: float) -> UpperTail | None:
    """Return the tail of the best scores if it reaches down to this rate; None where counting must do."""
    count = min(round(SHARE * source.trials), len(source.scores) - 1)
    if count < MIN_EXCEEDANCES or rate > count / source.trials or source.trials * rate < FORETOLD_EVENTS * (1 - 1e-12):
        return None
    try:
        return fit_tail(source.scores, source.trials, count)
    except CalibrationError:  # copies of one score have no shape
        return None


def _counted_interval(source: Calibration, threshold: float) -> tuple[float, float]:
    return wilson(int((source.scores >= threshold).sum()), source.trials)


def _foretold_interval(source: Calibration, tail: UpperTail, threshold: float) -> tuple[float, float]:
    return tail_interval(resample_tail(source.scores, tail), lambda drawn: float(tail_probability(drawn, threshold)))


def _size(calibration: Calibration) -> int:
    assert calibration.gallery_size is not None
    return calibration.gallery_size


def _fitness(calibration: Calibration, size: int) -> tuple[float, int, str]:
    """Nearest size in proportion first, then more trials, then the later date."""
    return -abs(math.log(_size(calibration) / size)), calibration.trials, calibration.date


def _rescale(rate: float, ratio: float) -> float:
    """1 - (1 - rate)^ratio without losing small rates."""
    return float(any_of(np.float64(rate), ratio))


def _too_few(source: Calibration, target: Target, value: float, size: int | None, needed: int) -> str:
    what = "pairs of different people" if target == "far" else "non-mated searches"
    where = "" if size is None else f" at {size} identities"
    measured = "" if size is None else f" (measured at {source.gallery_size})"
    return (
        f"{target.upper()} {value:g}{where} cannot be supported by {source.trials} {what}{measured}: it needs {needed};"
        " ask for a higher rate, or calibrate with more strangers"
    )
