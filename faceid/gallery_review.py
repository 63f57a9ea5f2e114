"""A gallery's review with its model: the examples that vectors alone cannot give, and what each finding proposes."""

import numpy as np

from faceid.models import model_zoo
from faceid.models.embedding import Embedder
from faceid.models.model_file import Model
from faceid.models.review_crops import broken_crops, with_copies
from faceid.models.trial_crops import trial_crops
from indexer.hygiene.review import Examples
from indexer.search.scores import canonical_scores

_MATED = ("mean", 1)


def review_examples(model: Model) -> Examples:
    """Embed drawn crops with a model, and look up what photos of one person score with it."""
    embedder = Embedder(model)
    height, width = embedder.spec.input_size
    faces, copies = with_copies(trial_crops(height, width))
    cohort = model_zoo.load_cohort(model)
    law = None if cohort is None else cohort.own_scores.get(_MATED)
    return Examples(
        embedder.embed(broken_crops(height, width)),
        canonical_scores(embedder.embed(faces), embedder.embed(copies)),
        law,
    )
