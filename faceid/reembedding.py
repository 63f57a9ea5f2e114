"""Bringing a gallery over to another model: embed every enrolled photo again, then switch at once."""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from faceid.engine import FaceEngine
from faceid.pipeline import BATCH_PHOTOS, FoundFace, PictureFaces
from faceid.vision.picture import Picture
from indexer.gallery import Gallery
from indexer.records import TemplateRow

# A face found again is the enrolled one if its box overlaps the stored box at least so much (intersection over union).
SAME_BOX = 0.5


def reembed_gallery(engine: FaceEngine, gallery: Gallery, *, drop_missing: bool) -> list[TemplateRow]:
    """Embed all templates with the engine's model and bind the gallery to it; returns those that could not be.

    The new vectors are stored as they come, so that an interrupted run goes on where it stopped; searches use the old
    model until all are there. Templates whose photo is gone, has changed, or no longer shows the face are returned;
    with `drop_missing` they are deleted, without it the gallery stays with its old model while there are any.
    """
    lost: list[TemplateRow] = []
    left = gallery.reembedding_left(engine.binding)
    while batch := list(islice(left, BATCH_PHOTOS)):
        faces = {template.id: face for template, face in zip(batch, _find_again(engine, batch), strict=True)}
        lost += [template for template in batch if faces[template.id] is None]
        found = {template_id: face.vector for template_id, face in faces.items() if face is not None}
        if found:
            gallery.add_embeddings(engine.binding, list(found), np.stack(list(found.values())))
    if drop_missing or not lost:
        gallery.switch_model(engine.binding, drop=[template.id for template in lost])
    return lost


def _find_again(engine: FaceEngine, templates: Iterable[TemplateRow]) -> Iterator[FoundFace | None]:
    templates = list(templates)
    files = engine.pipeline.read(Picture(template.source) for template in templates)
    for template, found in zip(templates, engine.pipeline.find_faces(files, "all"), strict=True):
        yield _enrolled_face(template, found) if found.digest == template.source_digest else None


def _enrolled_face(template: TemplateRow, found: PictureFaces) -> FoundFace | None:
    if template.box is None:
        return found.faces[0] if len(found.faces) == 1 else None
    overlaps = [(_overlap(template.box, face.box), face) for face in found.faces]
    best, face = max(overlaps, key=lambda pair: pair[0], default=(0.0, None))
    return face if best >= SAME_BOX else None


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)
