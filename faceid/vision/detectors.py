"""Which detector finds the faces: ours by name, or one that an installed package plugs in (`faceid.detectors`)."""

from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, cast

from faceid.vision.detection import Detector, DetectorError

# Loaded when named: MTCNN imports a network's program, YuNet does not.
_OWN = {"mtcnn": ("faceid.vision.mtcnn", "make_mtcnn"), "yunet": ("faceid.vision.yunet", "make_yunet")}
GROUP = "faceid.detectors"


class MakeDetector(Protocol):
    """What an entry point of the group `faceid.detectors` names: a function that makes the detector."""

    def __call__(self, *, device: str, min_face_size: int, weights: Path | None) -> Detector:
        """Make a detector on `device` that looks for faces of `min_face_size` pixels and more.

        `weights` is the file that the user named, None where none was. Raises DetectorError.
        """
        ...


def detector_names() -> list[str]:
    """Return the names that `make_detector` takes, ours first."""
    return [*_OWN, *sorted(entry_points(group=GROUP).names - _OWN.keys())]


def make_detector(name: str, *, device: str, min_face_size: int, weights: Path | None) -> Detector:
    """Make the detector of this name; raises DetectorError where it is unknown or cannot be made."""
    if name in _OWN:
        module, function = _OWN[name]
        make: MakeDetector = getattr(import_module(module), function)
    else:
        make = _plugged_in(name)
    return make(device=device, min_face_size=min_face_size, weights=weights)


def _plugged_in(name: str) -> MakeDetector:
    found = tuple(entry_points(group=GROUP, name=name))
    if not found:
        raise DetectorError(f"there is no detector {name!r}; choose one of {', '.join(detector_names())}")
    try:
        return cast(MakeDetector, found[0].load())
    except Exception as error:  # a package of somebody else's fails as it likes
        raise DetectorError(f"the detector {name!r} of {found[0].value} cannot be loaded: {error!r}") from error
