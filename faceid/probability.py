"""Which law makes a probability of a similarity: the gallery's own where it still fits, else the model's cohort's."""

from faceid.models import model_zoo
from faceid.models.model_file import Model
from indexer.calibration.self_measured import probability_with_cohort
from indexer.decision.match_probability import MatchProbability
from indexer.gallery import Gallery


def probability_law(model: Model, gallery: Gallery, detector: str, photos: int = 1) -> MatchProbability | None:
    """Return the law that holds for the gallery as it is, for so many photos of one unknown decided on together.

    A law that was fitted with another detector than `detector` (the engine's digest of it) does not count. None for an
    empty gallery, and for a model without a cohort or whose cohort has nobody with as many photos.
    """
    key = f"probability {photos} {model.digest} {detector}"
    return gallery.remember(key, lambda: _law(model, gallery, detector, photos))


def _law(model: Model, gallery: Gallery, detector: str, photos: int) -> MatchProbability | None:
    cohort = model_zoo.load_cohort(model)
    if photos > 1:
        return probability_with_cohort(gallery, cohort, photos) if cohort is not None and gallery.size else None
    fitted = [one for one in gallery.calibrations() if one.probability is not None]
    if fitted:
        now = (gallery.contents().digest, gallery.fusion, detector)
        for one in reversed(fitted):
            then = one.circumstances
            if then is not None and (then.contents, one.fusion, then.detector) == now:
                return one.probability
    return probability_with_cohort(gallery, cohort) if cohort is not None and gallery.size else None
