"""Photos of documents against live ones: what morphs of them score, and the threshold that follows."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from faceid.engine import FaceEngine
from faceid.models import model_zoo
from faceid.models.model_file import Model
from faceid.pipeline import PictureFaces
from faceid.vision.detection import FacePolicy
from faceid.vision.photo_list import PersonPhoto
from indexer.calibration.documents import measure_morphs
from indexer.decision.morph import MorphScores, MorphThreshold, morph_threshold
from indexer.errors import CalibrationError
from indexer.gallery import Gallery

DOCUMENT = "document"
"""How the name of a document's photo begins; without such a name a person's first photo is the document's."""


def calibrate_documents(
    engine: FaceEngine, gallery: Gallery, people: Iterable[PersonPhoto], *, faces: FacePolicy
) -> tuple[MorphScores, tuple[PictureFaces, ...]]:
    """Measure what morphs of people's documents score, and keep it in the gallery; photos without a face are returned.

    So are copies of photos. Whoever has no second photo is left out, and whose document gave no face. Raises
    CalibrationError for fewer than two people.
    """
    with_document: set[str] = set()

    def noted() -> Iterator[PersonPhoto]:
        for photo in people:
            if _is_named_document(photo.picture.source):
                with_document.add(photo.name)
            yield photo

    features = engine.embed(noted(), faces=faces, each_once=True)
    rows: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(features.labels):
        rows[label].append(row)
    documents: list[int] = []
    live: list[int] = []
    owners: list[int] = []
    for person, theirs in rows.items():
        ordered = sorted(theirs, key=lambda row: _order(features.paths[row]))
        # A live photo is not to take the place of a document on which no face was found.
        lost = person in with_document and not _is_named_document(features.paths[ordered[0]])
        if len(ordered) < 2 or lost:
            continue
        owners += [len(documents)] * (len(ordered) - 1)
        documents.append(ordered[0])
        live += ordered[1:]
    if len(documents) < 2:
        raise CalibrationError(
            "thresholds against morphs need a document's photo and a live one of at least two people: a folder for each"
            " person, with two photos"
        )
    scores = measure_morphs(
        features.vectors[documents],
        features.vectors[live],
        np.array(owners, np.int64),
        f"documents of {len(documents)} people",
        datetime.now(UTC).date().isoformat(),
    )
    gallery.keep_morph_scores(scores)
    return scores, features.failures


def document_threshold(model: Model, gallery: Gallery | None, target: float | None) -> MorphThreshold:
    """Return the threshold that lets at most the share `target` (None: about the usual) of worst-case morphs pass.

    What the gallery keeps comes first, then the bound from a false match rate: the gallery's, or the model's. Raises
    CalibrationError where nothing was measured, or too little.
    """
    own = [one for one in gallery.calibrations() if one.target == "far"] if gallery else []
    fars = own or model_zoo.load_calibrations(model)
    return morph_threshold(target, gallery.morph_scores() if gallery else None, fars)


def _order(path: str) -> tuple[bool, str]:
    """Return what sorts a person's photos, the document's first."""
    return not _is_named_document(path), path


def _is_named_document(path: str) -> bool:
    return Path(path).name.lower().startswith(DOCUMENT)
