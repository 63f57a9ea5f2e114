"""A gallery measures itself with its model's cohort: its thresholds and its probability, whatever is enrolled."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from indexer.calibration.cohort import PHOTOS_A_PERSON, Cohort
from indexer.calibration.likeness import Likeness, Reals, likeness, normal_scores, of_their_kind, with_their_error
from indexer.calibration.own_scores import own_scores_together
from indexer.decided_on import DEFAULT_DECIDED_ON, DecidedOn
from indexer.decision.context import decision_scores, people_needed
from indexer.decision.decision import Calibration, Threshold, choose_threshold
from indexer.decision.match_probability import MatchProbability, fit_probability
from indexer.decision.mated_law import law_for
from indexer.errors import CalibrationError
from indexer.fusion import Fusion
from indexer.gallery import Gallery
from indexer.records import FloatMatrix, FloatVector, Ids, KeptStrangers
from indexer.search.fusion import fuse

USUAL_RATE = 0.01
"""An FPIR that some of a cohort's strangers bear; a lower one asks for all of them."""

_MANY = 200_000  # rows from which on asking everybody takes more than some seconds
_ALIKE_TEMPLATES = 400  # templates searched among the others: at a million they take about a second
_FEW = 100  # people among whom each makes a difference to what a stranger reaches
_WORTH_A_WORD = 0.002  # of similarity
_SAME_PHOTO = 0.999  # of similarity: what two photos of a person hardly reach, and two people never
_KEPT = "faces of strangers, kept"
_DRAWS = 4000  # mated searches drawn for a probability: the law's three numbers are then good to a hundredth


def threshold_with_cohort(gallery: Gallery, cohort: Cohort, fpir: float, photos: int = 1) -> Threshold:
    """Return the threshold for an FPIR, from what the cohort scores in this gallery; with `photos` of an unknown each.

    Its interval also counts how surely it is known what strangers of the enrolled people's kind score. Raises
    CalibrationError as `measure_with_cohort`, and where the cohort does not bear the rate.
    """
    on = gallery.decided_on
    measured = measure_with_cohort(gallery, cohort, photos, fpir, on)
    threshold = choose_threshold([measured], "fpir", fpir, gallery.size, "gallery", on)
    assert threshold.ci95 is not None
    interval = with_their_error(threshold.ci95, fpir, how_alike(gallery, cohort, on))
    return replace(threshold, ci95=interval, way="cohort")


def measure_with_cohort(
    gallery: Gallery,
    cohort: Cohort,
    photos: int = 1,
    rate: float = USUAL_RATE,
    on: DecidedOn = DEFAULT_DECIDED_ON,
) -> Calibration:
    """Return the gallery's non-mated best scores as strangers of its people's kind reach them, of `photos` photos each.

    The cohort's strangers are searched, and their scores raised as `how_alike` says; some of them where the gallery is
    large and the `rate` does not ask for all. With several photos of one unknown the direction of their mean is
    searched; the scores are what decisions `on` it are made on. Raises CalibrationError where nobody is enrolled or
    nobody of the cohort has as many photos.
    """
    if photos == 1:
        scores = _strangers_scores(gallery, cohort, rate, on)
    else:
        probes = cohort.groups(photos)
        if not len(probes):
            raise CalibrationError(f"nobody of the model's cohort has {photos} photos")
        scores = gallery.ask_cohort(probes, f"{photos}-{cohort.key}", on).scores
    _require_somebody(scores)
    theirs = of_their_kind(scores, how_alike(gallery, cohort, on))
    data = f"the model's cohort: {len(scores):,} strangers"
    raised = float(np.median(theirs) - np.median(scores))
    if raised >= _WORTH_A_WORD:
        data += f", raised by {raised:.3f} for strangers as alike as your people"
    return _calibration(gallery, theirs, cohort.precision, data, on)


def _strangers_scores(gallery: Gallery, cohort: Cohort, rate: float, on: DecidedOn) -> FloatVector:
    """Return the best scores of the cohort's strangers; of some of them in a large gallery, but for a low rate."""
    if rate < USUAL_RATE or gallery.searched_rows <= _MANY:
        return gallery.ask_cohort(cohort.strangers, cohort.key, on).scores
    return gallery.ask_cohort(cohort.some_strangers, f"{len(cohort.some_strangers)}-of-{cohort.key}", on).scores


def how_alike(gallery: Gallery, cohort: Cohort, on: DecidedOn = DEFAULT_DECIDED_ON) -> Likeness:
    """Return how much more than the cohort strangers of the enrolled people's kind score; made once a revision."""
    return gallery.remember(f"likeness {on} {cohort.key}", lambda: _how_alike(gallery, cohort, on))


def _how_alike(gallery: Gallery, cohort: Cohort, on: DecidedOn) -> Likeness:
    people = gallery.size
    if people < 2:
        return Likeness()
    own = gallery.sample(_ALIKE_TEMPLATES)
    others = [
        [one.similarity for one in answer.candidates if one.id != person]
        for answer, person in zip(
            gallery.search(own.vectors, 1 + people_needed(on)), own.identity_ids.tolist(), strict=True
        )
    ]
    listed = min(map(len, others), default=0)  # one more where the person is not among the best
    if not listed:  # somebody removed the others meanwhile
        return Likeness()
    best = decision_scores(np.array([one[:listed] for one in others], np.float32), on).astype(np.float64)
    return likeness(_normal_among_others(gallery, cohort, best, own.identity_ids, people, on), own.identity_ids)


def _normal_among_others(
    gallery: Gallery, cohort: Cohort, best: Reals, persons: Ids, people: int, on: DecidedOn
) -> Reals:
    """Return each best score's normal score among those of the cohort in the same gallery without the same person."""
    if people > _FEW:  # one more or less hardly changes them
        return normal_scores(best, _strangers_scores(gallery, cohort, USUAL_RATE, on))
    enrolled = fuse(gallery.embeddings(), gallery.fusion)
    order = np.argsort(enrolled.owners, kind="stable")
    ids, starts = np.unique(enrolled.owners[order], return_index=True)
    scores = np.maximum.reduceat(cohort.strangers @ enrolled.segment.vectors[order].T, starts, axis=1)
    result, needed = np.empty(len(best)), people_needed(on)
    for one in np.unique(persons).tolist():
        its = persons == one
        others = scores[:, ids != one]
        most = -np.partition(-others, min(needed, others.shape[1]) - 1, axis=1)[:, :needed]
        result[its] = normal_scores(best[its], decision_scores(-np.sort(-most, axis=1), on))
    return result


def kept_data(count: int) -> str:
    """Return what a calibration with strangers that the gallery keeps says about its data."""
    return f"{count:,} {_KEPT}"


def is_of_kept(data: str | None) -> bool:
    """Say whether these are the data of `measure_with_kept`."""
    return data is not None and _KEPT in data


def measure_with_kept(gallery: Gallery, kept: KeptStrangers) -> Calibration:
    """Return the non-mated best scores that the strangers kept in the gallery reach in it as it is.

    Whoever is no stranger any more, because a photo that is kept was enrolled, is left out with all photos.
    """
    on = gallery.decided_on
    found = gallery.ask_cohort(kept.vectors, kept.key, on)
    _require_somebody(found.scores)
    own = gallery.remember(f"enrolled {kept.key}", lambda: _on_enrolled_photos(gallery, kept.vectors, found.owners))
    scores = found.scores[~np.isin(kept.persons, kept.persons[own])]
    data = kept_data(len(scores))
    if left_out := len(found.scores) - len(scores):
        data += f" ({left_out:,} of people who are enrolled by now left out)"
    return _calibration(gallery, scores, "float32", data, on)


def _require_somebody(scores: FloatVector) -> None:
    if not len(scores):
        raise CalibrationError("nobody is enrolled: there is nobody whom a stranger could be taken for")


def _on_enrolled_photos(gallery: Gallery, vectors: FloatMatrix, nearest: Ids) -> NDArray[np.bool_]:
    """Return which vectors [n, D] are those of photos of the person who is nearest to them [n]."""
    enrolled = gallery.embeddings_of(np.unique(nearest))
    own = np.zeros(len(vectors), np.bool_)
    for person in np.unique(nearest).tolist():
        its, theirs = nearest == person, enrolled.vectors[enrolled.identity_ids == person]
        own[its] = (vectors[its] @ theirs.T).max(axis=1, initial=-1) >= _SAME_PHOTO
    return own


def _calibration(gallery: Gallery, scores: FloatVector, precision: str, data: str, on: DecidedOn) -> Calibration:
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
        on=on,
    )


def probability_with_cohort(
    gallery: Gallery, cohort: Cohort, photos: int = 1, seed: int = 0
) -> MatchProbability | None:
    """Return the law of a match's probability from what strangers and people themselves score in this gallery.

    Mated searches are drawn: a person of the gallery, a score from the model's law for so many templates (for several
    `photos` together, from the cohort's own people), and the best rival from the cohort. None where there is no law of
    mated scores for the gallery's fusion, or nobody of the cohort has as many photos.
    """
    counts = gallery.contents().templates_of
    photos = min(photos, PHOTOS_A_PERSON)
    if not len(counts) or (photos > 1 and not len(cohort.groups(photos))):
        return None
    rivals = np.asarray(measure_with_cohort(gallery, cohort, photos).scores, np.float64)
    random = np.random.default_rng(seed)
    drawn = random.choice(counts, _DRAWS)
    own = np.empty(_DRAWS)
    for count in np.unique(drawn).tolist():
        law = _mated_law(cohort, gallery.fusion, count, photos)
        if law is None:
            return None
        its = drawn == count
        own[its] = np.interp(random.random(int(its.sum())), np.linspace(0, 1, len(law)), law)
    beside = random.choice(rivals, _DRAWS)
    similarities = np.concatenate([np.maximum(own, beside), rivals])
    mated = np.arange(len(similarities)) < _DRAWS
    right = np.concatenate([own >= beside, np.zeros(len(rivals), np.bool_)])
    return fit_probability(similarities, np.zeros(len(similarities)), mated, right)


def _mated_law(cohort: Cohort, fusion: Fusion, templates: int, photos: int) -> FloatVector | None:
    if photos == 1:
        return law_for(cohort.own_scores, fusion, templates)
    # A person of the cohort has few photos: beyond these more templates would help, so that this is on the safe side.
    return own_scores_together(cohort.rows, cohort.persons, fusion, min(templates, PHOTOS_A_PERSON), photos)
