"""Thresholds against morphs: a document's photo made of two people, which opens for both of them.

Whatever the morph's vector m, for unit vectors p and q of two live photos min(m.p, m.q) <= sqrt((1 + p.q) / 2), which
their midpoint reaches (m.p + m.q = m.(p + q) <= |p + q| = sqrt(2 + 2 p.q)). So at a threshold t no more morphs succeed
than pairs of people score p.q >= 2 t^2 - 1: that is the false match rate there, of a calibration that exists. A forger
knows the documents' photos alone: the midpoint of two documents, against other photos of both, is the worst case that
`faceid calibrate --documents` measures.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from indexer.decision.decision import RULE_OF_THREE, Calibration, choose_threshold, threshold_at
from indexer.errors import CalibrationError
from indexer.records import FloatMatrix, FloatVector, Ids

USUAL_TARGET = 0.05
"""The share of worst-case morphs that may pass where nobody says otherwise, and what was measured tells it."""

Decision = Literal["same", "different", "possible_morph"]


@dataclass(frozen=True, eq=False)
class MorphScores:
    """What was measured on documents and live photos of `people`.

    `worst` float32 [people], largest first: for each document and the one most like it the lesser score that their
    midpoint reaches for the two. `genuine` float32 [m]: each document against the live photos of its person.
    """

    worst: FloatVector
    genuine: FloatVector
    people: int
    data: str
    date: str


@dataclass(frozen=True)
class MorphThreshold:
    """The similarity from which a pair of document and live photo is not suspected, and what is known of it.

    `target` is the share of worst-case morphs that was asked for. `estimated` is the share that was counted (None where
    nothing was), `bound` the share that no morph whatever exceeds, from the false match rate (None where the kept
    scores end before), `bscer` the share of genuine documents that are suspected. `basis` says what the value rests on.
    """

    value: float
    target: float
    basis: Literal["documents", "far"]
    estimated: float | None
    bound: float | None
    bscer: float | None
    people: int | None
    data: str


def document_decision(similarity: float, accept_at: float, morph: MorphThreshold) -> Decision:
    """Say `different` below the threshold of verification, `possible_morph` from there to the morph threshold."""
    if similarity < accept_at:
        return "different"
    return "same" if similarity >= morph.value else "possible_morph"


def morph_threshold(target: float | None, measured: MorphScores | None, fars: Sequence[Calibration]) -> MorphThreshold:
    """Return the threshold that lets at most the share `target` of worst-case morphs pass.

    From what was measured on documents, or else from a FAR calibration by the bound that holds for any morph. Without a
    target it is USUAL_TARGET, or what comes nearest of the shares that can be told: a larger one with few documents, a
    smaller one where a calibration's scores end before. Raises CalibrationError where nothing was measured, or too
    little for this target.
    """
    if measured is not None:
        if target is None:
            target = min(max(USUAL_TARGET, RULE_OF_THREE / max(measured.people, 1)), 0.999)
        needed = math.ceil(RULE_OF_THREE / target * (1 - 1e-12))
        if measured.people < needed:
            raise CalibrationError(
                f"{measured.people} people's documents cannot support a share of {target:g} morphs: it needs {needed};"
                " ask for a larger share, or calibrate with more documents"
            )
        value = threshold_at(measured.worst, measured.people, target)
        return MorphThreshold(
            value,
            target,
            "documents",
            estimated=float((measured.worst >= value).mean()),
            bound=_bound(value, fars),
            bscer=float((measured.genuine < value).mean()),
            people=measured.people,
            data=measured.data,
        )
    if not any(one.target == "far" for one in fars):
        raise CalibrationError(
            "nothing was measured against morphs: type `faceid calibrate --documents DIR`, with a folder of photos for"
            " each person of which the first is the document's"
        )
    reach = _reach(fars)
    if target is None:
        target = min(USUAL_TARGET, reach)
    if target > reach:
        raise CalibrationError(
            f"without documents the bound alone tells, and the false match table ends before a share of {target:g}; ask"
            f" for {_rounded_down(reach):g} or less, or type `faceid calibrate --documents DIR` first"
        )
    far = choose_threshold(fars, "far", target, None, "gallery")
    return MorphThreshold(threshold_of(far.value), target, "far", None, target, None, None, far.data or "")


def _reach(fars: Sequence[Calibration]) -> float:
    """Return the largest false match rate that the calibration which counts has scores for."""
    source = max((one for one in fars if one.target == "far"), key=lambda one: (one.trials, one.date))
    return (len(source.scores) - 0.5) / source.trials


def _rounded_down(share: float) -> float:
    """Return a share with two digits that is no larger."""
    digits = 1 - math.floor(math.log10(share))
    return math.floor(share * 10.0**digits) / 10.0**digits


def _bound(threshold: float, fars: Sequence[Calibration]) -> float | None:
    """Return the false match rate at 2 t^2 - 1, where a calibration has kept scores down to there."""
    score = pair_score_of(threshold)
    known = [one for one in fars if one.target == "far" and len(one.scores) and one.scores[-1] <= score]
    if not known:
        return None
    source = max(known, key=lambda one: one.trials)
    return float((source.scores >= score).sum() / source.trials)


def look_alikes(documents: FloatMatrix) -> Ids:
    """Return for each document [P, D] the other one that is most like it."""
    nearest = np.empty(len(documents), np.int64)
    for start in range(0, len(documents), 2048):
        products = documents[start : start + 2048] @ documents.T
        rows = np.arange(len(products))
        products[rows, start + rows] = -np.inf
        nearest[start : start + 2048] = products.argmax(axis=1)
    return nearest


def midpoints(first: FloatMatrix, second: FloatMatrix) -> FloatMatrix:
    """Return the unit vectors [n, D] halfway between unit vectors [n, D] and [n, D]."""
    sums = first.astype(np.float64) + second
    middle: FloatMatrix = (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)
    return middle


def pair_score_of(threshold: float) -> float:
    """Return the similarity 2 t^2 - 1 that two people's live photos must have for any morph to pass at t for both."""
    return 2 * threshold**2 - 1


def threshold_of(pair_score: float) -> float:
    """Return the threshold above which no morph of two people passes whose live photos score less than this."""
    return math.sqrt((1 + pair_score) / 2)
