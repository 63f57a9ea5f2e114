"""Which law makes a probability of a similarity: the gallery's own where it still fits, else the model's cohort's."""

from faceid.models import model_zoo
from faceid.models.model_file import Model
from indexer.calibration.self_measured import probability_with_cohort
from indexer.decision.match_probability import MatchProbability
from indexer.gallery import Gallery


def probability_law(model: Model, gallery: Gallery, photos: int = 1) -> MatchProbability | None:
    """Return the law that holds for the gallery as it is, for so many photos of one unknown decided on together.

    None for an empty gallery, and for a model without a cohort or whose cohort has nobody with as many photos.
    """
    return gallery.remember(f"probability {photos} {model.digest}", lambda: _law(model, gallery, photos))


def _law(model: Model, gallery: Gallery, photos: int) -> MatchProbability | None:
    cohort = model_zoo.load_cohort(model)
    if photos > 1:
        return probability_with_cohort(gallery, cohort, photos) if cohort is not None and gallery.size else None
    fitted = [one for one in gallery.calibrations() if one.probability is not None]
    if fitted:
        contents = gallery.contents().digest
        for one in reversed(fitted):
            then = one.circumstances
            if then is not None and (then.contents, one.fusion) == (contents, gallery.fusion):
                return one.probability
    return probability_with_cohort(gallery, cohort) if cohort is not None and gallery.size else None
