"""The lists of MegaFace's mislabelled photos, which the "refined" (R) protocol leaves out or replaces.

`facescrub_noises.txt` names probe photos, one file name a line; `megaface_noises.txt` names distractors, tab separated,
the second column their path `id1/id2/photo`. Lines that begin with # are comments.
"""

from collections.abc import Collection
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from faceid.feature_set import Strings
from indexer.errors import FaceIdError
from indexer.text import printable


class NoiseListError(FaceIdError):
    """A list of noisy photos that cannot be read, or that names nothing."""


def read_noises(path: Path) -> frozenset[str]:
    """Read either list: the names (or relative paths) of the noisy photos.

    Of a line with tabs the second column counts. Raises NoiseListError for a file that is not text or has no names.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise NoiseListError(f"{printable(path)}: not a readable list of photos ({error})") from error
    columns = [line.strip().split("\t") for line in lines if line.strip() and not line.startswith("#")]
    names = frozenset(column[1 if len(column) > 1 else 0].strip() for column in columns) - {""}
    if not names:
        raise NoiseListError(f"{printable(path)}: no photo is named in it")
    return names


def noisy(paths: Strings, noises: Collection[str]) -> NDArray[np.bool_]:
    """Mark the photos [N] whose path ends in a listed name or relative path, whole components compared."""
    depths = {len(PurePosixPath(name).parts) for name in noises}
    listed = {PurePosixPath(name).parts for name in noises}
    return np.array(
        [any(PurePosixPath(path).parts[-depth:] in listed for depth in depths) for path in paths.tolist()], np.bool_
    )
