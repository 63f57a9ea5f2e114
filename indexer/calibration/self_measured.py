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

FEWEST_ALIKE = 5
"""People below which nothing is said of how alike they are."""

_ALIKE_TEMPLATES = 400  # templates searched among the others: at a million they take about a second
_MEDIAN_ERROR = 1.2533  # the standard error of a median in units of that of a mean, for a normal law
_DRAWS = 4000  # mated searches drawn for a probability: the law's three numbers are then good to a hundredth


def measure_with_cohort(gallery: Gallery, cohort: Cohort, photos: int = 1) -> Calibration:
    """Return the gallery's non-mated best scores as the cohort's strangers give them, of `photos` photos each.

    With several photos of one unknown the direction of their mean is searched. Where the enrolled are more alike than
    the cohort is, the scores are raised (`alikeness`). Raises CalibrationError where nobody is enrolled or nobody of
    the cohort has as many photos.
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
    data = f"the model's cohort: {len(scores):,} strangers"
    raised = alikeness(gallery, cohort)
    if raised:
        data += f", raised by {raised:.3f} because the enrolled are more alike"
    return _calibration(gallery, scores + np.float32(raised), cohort.precision, data)


def alikeness(gallery: Gallery, cohort: Cohort) -> float:
    """Return by how much the enrolled score more against each other than the cohort does against them, if surely.

    Strangers to a gallery mostly are of its people's kind: of one town, one profession, one source of photos. The
    median over people of what each reaches among all the others, less the cohort's median (of as many others); 0 where
    that is not above twice the standard error of the former, and for fewer than FEWEST_ALIKE people.
    """
    return gallery.remember(f"alikeness {cohort.key}", lambda: _alikeness(gallery, cohort))


def _alikeness(gallery: Gallery, cohort: Cohort) -> float:
    people = gallery.size
    if people < FEWEST_ALIKE:
        return 0.0
    own = gallery.sample(_ALIKE_TEMPLATES)
    best = np.array(
        [
            next(one.similarity for one in answer.candidates if one.id != person)
            for answer, person in zip(gallery.search(own.vectors, 2), own.identity_ids.tolist(), strict=True)
        ]
    )
    _, person_of = np.unique(own.identity_ids, return_inverse=True)
    medians = np.array([np.median(best[person_of == one]) for one in range(person_of.max() + 1)])
    scores = gallery.ask_cohort(cohort.strangers, cohort.key).scores
    among_others = float(np.quantile(scores, 0.5 ** (people / (people - 1))))
    error = _MEDIAN_ERROR * float(medians.std(ddof=1)) / float(np.sqrt(len(medians)))
    more = float(np.median(medians)) - among_others
    return more if more > 2 * error else 0.0


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
    rivals = gallery.ask_cohort(cohort.strangers, cohort.key).scores.astype(np.float64) + alikeness(gallery, cohort)
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
