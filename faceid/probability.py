"""Which law makes a probability of a similarity: the gallery's own where it still fits, else the model's cohort's."""

from faceid.models import model_zoo
from faceid.models.model_file import Model
from indexer.calibration.self_measured import probability_with_cohort
from indexer.decision.match_probability import MatchProbability
from indexer.gallery import Gallery


def probability_law(model: Model, gallery: Gallery) -> MatchProbability | None:
    """Return the law that holds for the gallery as it is; None for an empty one, and for a model without a cohort."""
    return gallery.remember(f"probability {model.digest}", lambda: _law(model, gallery))


def _law(model: Model, gallery: Gallery) -> MatchProbability | None:
    fitted = [one for one in gallery.calibrations() if one.probability is not None]
    if fitted:
        contents = gallery.contents().digest
        for one in reversed(fitted):
            if one.circumstances is not None and one.circumstances.contents == contents:
                return one.probability
    cohort = model_zoo.load_cohort(model)
    return probability_with_cohort(gallery, cohort) if cohort is not None and gallery.size else None
