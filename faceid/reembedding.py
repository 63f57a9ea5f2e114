"""Bringing a gallery over to another model: embed every enrolled photo again, then switch at once."""

import errno
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from faceid.engine import FaceEngine
from faceid.pipeline import BATCH_PHOTOS, FoundFace, PictureFaces
from faceid.vision.images import ImageError, is_file, spellings
from faceid.vision.picture import Picture, ReadPicture
from indexer.errors import GalleryError
from indexer.gallery import Gallery
from indexer.records import TemplateRow
from indexer.text import counted

# A face found again is the enrolled one if its box overlaps the stored box at least so much (intersection over union).
SAME_BOX = 0.5

_NO_ANSWER = (errno.EIO, errno.ESTALE, errno.ENOTCONN)  # of a disk or a network drive: nobody knows what is there


@dataclass(frozen=True)
class Lost:
    """Templates that could not be embedded anew: those that count, and those that had been removed singly before.

    Those of photos that are there and cannot be read, or decoded, are apart, each with why: they are not lost.
    """

    photos: list[TemplateRow]
    pruned: list[TemplateRow]
    unread: list[tuple[TemplateRow, ImageError]]


def reembed_gallery(
    engine: FaceEngine, gallery: Gallery, *, drop_missing: bool, photos_root: Path | None = None
) -> Lost:
    """Embed all templates with the engine's model and bind the gallery to it; returns those that could not be.

    The new vectors are stored as they come, so that an interrupted run goes on where it stopped; searches use the old
    model until all are there. Photos that are not where they were are looked for below `photos_root`, by the ends of
    their paths and their bytes, and their new places noted. Templates whose photo is gone, has changed, or no longer
    shows the face are returned; with `drop_missing` they are deleted, without it the gallery stays with its old model
    while there are any. Those that had been removed singly are in nobody's way: they are deleted. While a photo is
    there and cannot be read, the gallery stays as it is. Raises GalleryError where every photo would be dropped.
    """
    lost = Lost([], [], [])
    left = gallery.reembedding_left(engine.binding)
    while batch := list(islice(left, BATCH_PHOTOS)):
        looked_for = {template.id: _read(template, photos_root) for template in batch}
        read = {number: found for number, found in looked_for.items() if isinstance(found, ReadPicture)}
        errors = {number: found for number, found in looked_for.items() if isinstance(found, ImageError)}
        found = dict(zip(read, engine.pipeline.find_faces(list(read.values()), "all"), strict=True))
        # The very bytes were decoded once: what cannot be now is not gone.
        errors |= {number: its.error for number, its in found.items() if its.error}
        faces = _enrolled_faces(batch, found)
        if faces:
            gallery.add_embeddings(engine.binding, list(faces), np.stack([face.vector for face in faces.values()]))
        places = {one.id: read[one.id].picture.address for one in batch if one.id in faces}
        moved = {one.id: places[one.id] for one in batch if places.get(one.id, one.source) != one.source}
        if moved:
            gallery.note_places(moved)
        for template in batch:
            if template.id in errors:
                lost.unread.append((template, errors[template.id]))
            elif template.id not in faces:
                (lost.pruned if template.removed_singly else lost.photos).append(template)
    if lost.unread:
        return lost
    if lost.photos and drop_missing and len(lost.photos) + len(lost.pruned) == _all_templates(gallery):
        raise GalleryError(
            f"of {counted(len(lost.photos), 'photo', 'photos')} none is where it was: is the disk mounted? Nothing was"
            " dropped; --photos-root says where they are now, `gallery remove` hides people"
        )
    if drop_missing or not lost.photos:
        gallery.switch_model(engine.binding, drop=[template.id for template in (*lost.photos, *lost.pruned)])
    return lost


def _all_templates(gallery: Gallery) -> int:
    return sum(1 for _ in gallery.templates(include_removed=True))


def _read(template: TemplateRow, photos_root: Path | None) -> ReadPicture | ImageError | None:
    """Return the template's photo, wherever it is, or why a file cannot be read; None where none has these bytes."""
    unread: ImageError | None = None
    for place in (place for source in spellings(template.source) for place in _places(source, photos_root)):
        try:
            read = Picture(place).read()
        except ImageError as error:
            if (is_file(place) and error.reason_code == "unreadable") or _errno(error) in _NO_ANSWER:
                unread = error
            continue
        if read.digest == template.source_digest:
            return read
    return unread


def _errno(error: ImageError) -> int | None:
    return error.__cause__.errno if isinstance(error.__cause__, OSError) else None


def _places(source: Path, photos_root: Path | None) -> Iterator[Path]:
    """Yield where a photo may be: where it was, and below the root, with as much of its path as possible first."""
    yield source
    if photos_root is not None:
        parts = source.parts[1:] if source.is_absolute() else source.parts
        yield from (photos_root.joinpath(*parts[start:]) for start in range(len(parts)))


def _enrolled_faces(templates: Sequence[TemplateRow], found: Mapping[int, PictureFaces]) -> dict[int, FoundFace]:
    """Return the faces of templates, by id, among those found in their photos; some may not be found again."""
    faces = ((one.id, _enrolled_face(one, found[one.id])) for one in templates if one.id in found)
    return {number: face for number, face in faces if face is not None}


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
