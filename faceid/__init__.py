"""Open-set face identification: the public API, each name loaded when it is first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faceid.engine import FaceEngine
    from faceid.results import Answer, Enrollment, Verification
    from faceid.thresholds import identification_threshold, verification_threshold
    from faceid.vision.photo_list import PersonPhoto, photos_in, photos_of_manifest, photos_of_people
    from faceid.vision.quality import Limits
    from indexer.decision.decision import Threshold, user_threshold
    from indexer.errors import FaceIdError
    from indexer.gallery import Gallery

# Importing `faceid` must cost nothing: the command line imports it before it knows what is asked.
_HOMES = {
    "Answer": "faceid.results",
    "Enrollment": "faceid.results",
    "FaceEngine": "faceid.engine",
    "FaceIdError": "indexer.errors",
    "Gallery": "indexer.gallery",
    "Limits": "faceid.vision.quality",
    "PersonPhoto": "faceid.vision.photo_list",
    "Threshold": "indexer.decision.decision",
    "Verification": "faceid.results",
    "identification_threshold": "faceid.thresholds",
    "photos_in": "faceid.vision.photo_list",
    "photos_of_manifest": "faceid.vision.photo_list",
    "photos_of_people": "faceid.vision.photo_list",
    "user_threshold": "indexer.decision.decision",
    "verification_threshold": "faceid.thresholds",
}

__all__ = [
    "Answer",
    "Enrollment",
    "FaceEngine",
    "FaceIdError",
    "Gallery",
    "Limits",
    "PersonPhoto",
    "Threshold",
    "Verification",
    "identification_threshold",
    "photos_in",
    "photos_of_manifest",
    "photos_of_people",
    "user_threshold",
    "verification_threshold",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'faceid' has no attribute {name!r}")
