"""A gallery answers only to the model whose templates it holds."""

from faceid.models.model_file import Model
from indexer.decision.decision import Threshold
from indexer.errors import ModelMismatch
from indexer.gallery import Gallery
from indexer.records import FloatMatrix, SearchResult
from indexer.text import printable

_SHOWN = 12
"""Digits of a digest that tell models apart for people."""


def require_same_model(model: Model, gallery: Gallery) -> None:
    """Raise ModelMismatch for a gallery of another model."""
    bound = gallery.model
    if bound.digest != model.digest:
        raise ModelMismatch(
            f"{printable(gallery.place)} is bound to the model {bound.name!r} ({bound.digest[:_SHOWN]}), not to"
            f" {model.spec.name!r} ({model.digest[:_SHOWN]}); name the first with --model, or bring the gallery over"
            " with `faceid gallery reembed`"
        )


def search_with(
    model: Model, gallery: Gallery, vectors: FloatMatrix, k: int, threshold: Threshold, *, fast: bool = False
) -> list[SearchResult]:
    """Search for a model's vectors as `Gallery.search` does; raises ModelMismatch for a gallery of another model.

    A gallery that stays open may be brought over to another model at any moment, and would know nobody without a word.
    """
    try:
        return gallery.search(vectors, k, threshold=threshold.value, on=threshold.on, fast=fast)
    finally:
        require_same_model(model, gallery)  # afterwards: what was searched before a move was searched as it should be
