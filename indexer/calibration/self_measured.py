"""A gallery measures itself with its model's cohort: its thresholds and its probability, whatever is enrolled."""

from datetime import UTC, datetime

import numpy as np

from indexer.calibration.cohort import Cohort
from indexer.calibration.own_scores import law_for
from indexer.decision.decision import Calibration
from indexer.decision.match_probability import MatchProbability, fit_probability
from indexer.errors import CalibrationError
from indexer.gallery import Gallery
from indexer.records import FloatVector, KeptStrangers

_DRAWS = 4000  # mated searches drawn for a probability: the law's three numbers are then good to a hundredth


def measure_with_cohort(gallery: Gallery, cohort: Cohort, photos: int = 1) -> Calibration:
    """Return the gallery's non-mated best scores as the cohort's strangers give them, of `photos` photos each.

    With several photos of one unknown the direction of their mean is searched. Raises CalibrationError where nobody is
    enrolled or nobody of the cohort has as many photos.
    """
    if not gallery.size:
        raise CalibrationError("nobody is enrolled: there is nobody whom a stranger could be taken for")
    if photos == 1:
        scores = gallery.ask_cohort(cohort.strangers, cohort.key).scores
    else:
        probes = cohort.groups(photos)
        if not len(probes):
            raise CalibrationError(f"nobody of the model's cohort has {photos} photos")
        scores = gallery.ask_cohort(probes, f"{photos}-{cohort.key}").scores
    return _calibration(gallery, scores, cohort.precision, f"the model's cohort: {len(scores):,} strangers")


def measure_with_kept(gallery: Gallery, kept: KeptStrangers) -> Calibration:
    """Return the non-mated best scores that the strangers kept in the gallery reach in it as it is."""
    scores = gallery.ask_cohort(kept.vectors, kept.key).scores
    return _calibration(gallery, scores, "float32", f"{len(scores):,} faces of strangers, kept")


def _calibration(gallery: Gallery, scores: FloatVector, precision: str, data: str) -> Calibration:
    return Calibration(
        target="fpir",
        scores=np.sort(scores)[::-1],
        trials=len(scores),
        gallery_size=gallery.size,
        templates_per_identity=None,
        fusion=gallery.fusion,
        model_digest=gallery.model.digest,
        precision=precision,
        data=data,
        date=datetime.now(UTC).date().isoformat(),
    )


def probability_with_cohort(gallery: Gallery, cohort: Cohort, seed: int = 0) -> MatchProbability | None:
    """Return the law of a match's probability from what strangers and people themselves score in this gallery.

    Mated searches are drawn: a person of the gallery, a score from the model's law for so many templates, and the best
    rival from the cohort. None where the model has no law of mated scores for the gallery's fusion.
    """
    counts = gallery.contents().templates_of
    rivals = gallery.ask_cohort(cohort.strangers, cohort.key).scores.astype(np.float64)
    random = np.random.default_rng(seed)
    if not len(counts):
        return None
    drawn = random.choice(counts, _DRAWS)
    own = np.empty(_DRAWS)
    for count in np.unique(drawn).tolist():
        law = law_for(cohort.own_scores, gallery.fusion, count)
        if law is None:
            return None
        its = drawn == count
        own[its] = np.interp(random.random(int(its.sum())), np.linspace(0, 1, len(law)), law)
    beside = random.choice(rivals, _DRAWS)
    similarities = np.concatenate([np.maximum(own, beside), rivals])
    mated = np.arange(len(similarities)) < _DRAWS
    right = np.concatenate([own >= beside, np.zeros(len(rivals), np.bool_)])
    return fit_probability(similarities, np.zeros(len(similarities)), mated, right)
