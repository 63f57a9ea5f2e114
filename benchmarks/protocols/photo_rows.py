"""Finds the photos of a protocol's list among the rows of features, by their files' names; tells which come twice."""

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
            other = str(features.paths[rows[name]])
            why = "embed one face of each photo (`--faces largest`)"
            if other != path:
                why = f"{printable(other)} and {printable(path)} are called alike; leave one of them out"
            raise ProtocolError(f"{features.source}: {printable(name)} has more than one row; {why}")
    missing = [photo for photo in photos if photo not in rows]
    if 2 * len(missing) > len(photos):
        raise ProtocolError(
            f"{features.source}: {len(missing)} of the {len(photos)} photos of the list are not in it, the first "
            f"{printable(missing[0])}; were other photos embedded?"
        )
    return np.array([rows.get(photo, -1) for photo in photos], np.int64)


def listed_twice(features: FeatureSet) -> tuple[str, ...]:
    """Return a note where a photo is there more than once: it counts as often, and is compared with its like."""
    paths, times = np.unique(features.paths, return_counts=True)
    if not (times > 1).any():
        return ()
    shown = printable(str(paths[times > 1][0]))
    return (
        f"{features.source}: {int((times > 1).sum())} photos are listed more than once, such as {shown}; each counts as"
        " often as it is listed, and is the mate of itself",
    )
