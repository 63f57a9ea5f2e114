"""Verification sets in insightface's `.bin` form (LFW, AgeDB-30, CFP-FP, CALFW, CPLFW), read without trusting them.

The file is a pickle of (images, same): 2 n encoded images, of which 2 i and 2 i + 1 are pair i, and n booleans. A
pickle is a program; none of it is run (`plain_pickle`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.formats import plain_pickle
from benchmarks.formats.plain_pickle import ForbiddenOperator
from indexer.errors import FaceIdError
from indexer.text import printable


class BinError(FaceIdError):
    """A `.bin` file that is damaged, or holds other things than images and booleans."""


@dataclass(frozen=True, eq=False)
class ImagePairs:
    """Pairs of encoded, aligned images: `images` [2 n] (pair i is 2 i and 2 i + 1), `same` bool [n]."""

    images: tuple[bytes, ...]
    same: NDArray[np.bool_]


def read_bin(path: Path) -> ImagePairs:
    """Read a verification set; pickles of Python 2 and 3. Raises BinError for anything but images and booleans."""
    try:
        if not path.is_file():
            raise BinError(f"{printable(path)}: cannot be read (no such file, or not a regular one)")
        data = path.read_bytes()
    except OSError as error:
        raise BinError(f"{printable(path)}: cannot be read ({error.strerror})") from error
    try:
        content = plain_pickle.load(data)
    except ForbiddenOperator as error:
        raise BinError(
            f"{printable(path)}: not a verification set: its pickle asks for {printable(str(error))}; nothing of it "
            "was run. A .bin file holds lists, bytes and booleans alone"
        ) from error
    except ValueError as error:
        raise BinError(f"{printable(path)}: not a pickle, or a damaged one ({error}); fetch the file again") from error
    return _checked(content, path)


def _checked(content: Any, path: Path) -> ImagePairs:
    if not isinstance(content, tuple | list) or len(content) != 2:
        raise BinError(f"{printable(path)}: a verification set is a pair of lists, (images, same)")
    images, same = content
    if not (_all_of(images, bytes) and _all_of(same, bool)):
        raise BinError(f"{printable(path)}: the images must be a list of bytes, `same` a list of booleans")
    if not same or len(images) != 2 * len(same):
        raise BinError(f"{printable(path)}: {len(images)} images where {len(same)} pairs take {2 * len(same)}")
    return ImagePairs(tuple(images), np.array(same, dtype=np.bool_))


def _all_of(values: Any, kind: type) -> bool:
    return isinstance(values, list | tuple) and all(type(value) is kind for value in values)
