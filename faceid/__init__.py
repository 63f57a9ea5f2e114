"""Open-set face identification: the public API, each name loaded when it is first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from faceid.rooms import require_our_rooms

if TYPE_CHECKING:
    from faceid.engine import FaceEngine, Features
    from faceid.models.embedding import Embedder
    from faceid.models.model_file import ModelError
    from faceid.pipeline import FoundFace, PictureFaces
    from faceid.results import Answer, Enrollment, Verification
    from faceid.thresholds import calibrate_gallery, identification_threshold, verification_threshold
    from faceid.vision.detection import Detector, DetectorError, Faces
    from faceid.vision.images import ImageError
    from faceid.vision.photo_list import (
        PersonPhoto,
        PhotoListError,
        photos_in,
        photos_of_manifest,
        photos_of_people,
    )
    from faceid.vision.picture import Picture
    from faceid.vision.quality import Limits, Quality
    from indexer.decision.decision import Threshold, user_threshold
    from indexer.errors import (
        CalibrationError,
        FaceIdError,
        FileNotWritten,
        ForkedProcess,
        GalleryBusy,
        GalleryError,
        GalleryLocked,
        GalleryUnreachable,
        InvalidName,
        KeyMissing,
        ModelMismatch,
        StoreDamaged,
        VectorError,
        WrongKey,
    )
    from indexer.gallery import Gallery
    from indexer.records import (
        Added,
        Candidate,
        Embeddings,
        Identity,
        MergedPerson,
        ModelBinding,
        NewTemplate,
        Problem,
        SearchResult,
        Stats,
        TemplateRow,
    )
    from indexer.store.undo import Undoable

# Importing `faceid` must cost nothing: the command line imports it before it knows what is asked.
_HOMES = {
    "faceid.engine": ("FaceEngine", "Features"),
    "faceid.models.embedding": ("Embedder",),
    "faceid.models.model_file": ("ModelError",),
    "faceid.pipeline": ("FoundFace", "PictureFaces"),
    "faceid.results": ("Answer", "Enrollment", "Verification"),
    "faceid.thresholds": ("calibrate_gallery", "identification_threshold", "verification_threshold"),
    "faceid.vision.detection": ("Detector", "DetectorError", "Faces"),
    "faceid.vision.images": ("ImageError",),
    "faceid.vision.photo_list": (
        "PersonPhoto",
        "PhotoListError",
        "photos_in",
        "photos_of_manifest",
        "photos_of_people",
    ),
    "faceid.vision.picture": ("Picture",),
    "faceid.vision.quality": ("Limits", "Quality"),
    "indexer.decision.decision": ("Threshold", "user_threshold"),
    "indexer.errors": (
        "CalibrationError",
        "FaceIdError",
        "FileNotWritten",
        "ForkedProcess",
        "GalleryBusy",
        "GalleryError",
        "GalleryLocked",
        "GalleryUnreachable",
        "InvalidName",
        "KeyMissing",
        "ModelMismatch",
        "StoreDamaged",
        "VectorError",
        "WrongKey",
    ),
    "indexer.gallery": ("Gallery",),
    "indexer.records": (
        "Added",
        "Candidate",
        "Embeddings",
        "Identity",
        "MergedPerson",
        "ModelBinding",
        "NewTemplate",
        "Problem",
        "SearchResult",
        "Stats",
        "TemplateRow",
    ),
    "indexer.store.undo": ("Undoable",),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Added",
    "Answer",
    "CalibrationError",
    "Candidate",
    "Detector",
    "DetectorError",
    "Embedder",
    "Embeddings",
    "Enrollment",
    "FaceEngine",
    "FaceIdError",
    "Faces",
    "Features",
    "FileNotWritten",
    "ForkedProcess",
    "FoundFace",
    "Gallery",
    "GalleryBusy",
    "GalleryError",
    "GalleryLocked",
    "GalleryUnreachable",
    "Identity",
    "ImageError",
    "InvalidName",
    "KeyMissing",
    "Limits",
    "MergedPerson",
    "ModelBinding",
    "ModelError",
    "ModelMismatch",
    "NewTemplate",
    "PersonPhoto",
    "PhotoListError",
    "Picture",
    "PictureFaces",
    "Problem",
    "Quality",
    "SearchResult",
    "Stats",
    "StoreDamaged",
    "TemplateRow",
    "Threshold",
    "Undoable",
    "VectorError",
    "Verification",
    "WrongKey",
    "calibrate_gallery",
    "identification_threshold",
    "photos_in",
    "photos_of_manifest",
    "photos_of_people",
    "user_threshold",
    "verification_threshold",
]

require_our_rooms("indexer")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'faceid' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
