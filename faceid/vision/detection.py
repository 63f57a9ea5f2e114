"""What a face detector gives and what it must be able to do, and which of a photo's faces are used.

Stands between reading a photo and aligning its faces: photos go in, `Faces` come out, a `FacePolicy` chooses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from faceid.vision.images import UInt8Image
from indexer.errors import FaceIdError

Box = tuple[float, float, float, float]  # x, y, width, height in pixels
Landmarks = tuple[tuple[float, float], ...]  # x, y of the five points, in the order of `Faces`
FacePolicy = Literal["exactly-one", "largest", "centre", "all"]
FACE_POLICIES: tuple[FacePolicy, ...] = get_args(FacePolicy)


class DetectorError(FaceIdError):
    """The detector cannot run: no weights, damaged weights, no such device, or an image that is not one."""


class NotExactlyOneFace(FaceIdError):
    """The policy asks for exactly one face, and the photo has none or several; `reason_code` says which."""

    def __init__(self, count: int) -> None:
        self.reason_code: Literal["no_face", "several_faces"] = "several_faces" if count else "no_face"
        super().__init__(
            f"{count or 'no'} {'faces' if count else 'face'} in the photo where exactly one is wanted; "
            + ("crop it, or choose the policy `largest`, `centre` or `all`" if count else "use another photo")
        )


@dataclass(frozen=True)
class Faces:
    """The faces of one photo, the best score first; arrays share their first axis.

    Coordinates are pixels of the photo, 0-based, with pixel centres at integers.
    """

    boxes: npt.NDArray[np.float32]  # [n, 4]: x, y (left upper corner), width, height; inside the photo
    landmarks: npt.NDArray[np.float32]  # [n, 5, 2]: x, y of left eye, right eye, nose, left, right mouth corner,
    #                                     left as seen in the photo; may lie outside the photo
    scores: npt.NDArray[np.float32]  # [n]: the detector's probability of a face, 0..1

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, indices: Sequence[int] | npt.NDArray[np.intp]) -> "Faces":
        """Return the faces at these indices, in that order."""
        chosen = np.asarray(indices, dtype=np.intp)
        return Faces(self.boxes[chosen], self.landmarks[chosen], self.scores[chosen])

    @classmethod
    def none(cls) -> "Faces":
        """Return the result for a photo without a face."""
        return cls(np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32), np.empty((0,), np.float32))


class Detector(Protocol):
    """Anything that finds faces with their five landmarks; many threads may use one at once.

    `tests/faceid/vision/detector_contract.py` says what each must do. A package plugs one in by an entry point of the
    group `faceid.detectors` (`faceid.vision.detectors.MakeDetector`). One whose scores tell upright faces from turned
    ones may have a `sure_score`, 0..1: photos without a face of that score are looked at in four directions; with other
    detectors, photos without a face are.
    """

    @property
    def digest(self) -> str:
        """What tells this detector from another: hex SHA-256 of its kind and weights, the same on every machine."""
        ...

    def detect(self, images: Sequence[UInt8Image]) -> list[Faces]:
        """Find the faces of each image ([H, W, 3] uint8 RGB, any sizes); one `Faces` an image, in order."""
        ...


def select_faces(faces: Faces, policy: FacePolicy, image_size: tuple[int, int]) -> Faces:
    """Choose the faces to use, out of all that were found in a photo of `image_size` (width, height).

    `largest` takes the box of the largest area, `centre` the box whose middle is nearest to the photo's middle
    (MegaFace's rule for photos with several faces), `all` keeps all, `exactly-one` insists on one.
    Of equals the better score wins.  A photo without a face gives no face, save under `exactly-one`.

    Raises:
        NotExactlyOneFace: under `exactly-one`, with any other number of faces than one.
        ValueError: an unknown policy.

    """
    match policy:
        case "all":
            return faces
        case "exactly-one":
            if len(faces) != 1:
                raise NotExactlyOneFace(len(faces))
            return faces
        case "largest":
            cost = -faces.boxes[:, 2] * faces.boxes[:, 3]
        case "centre":
            photo_middle = (np.asarray(image_size, np.float32) - 1) / 2
            middles = faces.boxes[:, :2] + faces.boxes[:, 2:] / 2
            cost = np.square(middles - photo_middle).sum(axis=1)
        case _:
            raise ValueError(f"unknown policy {policy!r}; choose one of {', '.join(FACE_POLICIES)}")
    return faces.take([int(cost.argmin())]) if len(faces) else faces
