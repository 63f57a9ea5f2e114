"""Finds the photos of a protocol's list among the rows of features, by their files' names."""

from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from benchmarks.protocols.errors import ProtocolError
from faceid.feature_set import FeatureSet
from indexer.text import printable


def rows_of_photos(features: FeatureSet, photos: Sequence[str]) -> NDArray[np.int64]:
    """Return the row int64 [n] of each photo, known by its file's name without folder and ending; -1 for none.

    `photos` [n] are such names. Raises ProtocolError where over half of them have no row, and where one
    has several: nobody can tell which of the faces is meant.
    """
    wanted = set(photos)
    rows: dict[str, int] = {}
    for row, path in enumerate(features.paths.tolist()):
        name = PurePath(path).stem
        if name in wanted and rows.setdefault(name, row) != row:
            raise ProtocolError(
                f"{features.source}: {printable(name)} has more than one row; embed one face of each photo"
                " (`--faces largest`)"
            )
    missing = [photo for photo in photos if photo not in rows]
    if 2 * len(missing) > len(photos):
        raise ProtocolError(
            f"{features.source}: {len(missing)} of the {len(photos)} photos of the list are not in it, the first "
            f"{printable(missing[0])}; were other photos embedded?"
        )
    return np.array([rows.get(photo, -1) for photo in photos], np.int64)
