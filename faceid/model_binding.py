"""A gallery answers only to the model whose templates it holds."""

from faceid.models.model_file import Model
from indexer.errors import ModelMismatch
from indexer.gallery import Gallery
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
