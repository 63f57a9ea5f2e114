"""YouTube Faces' list of video pairs (`splits.txt`, `splits_corrected.txt`; Wolf, Hassner, Maoz 2011).

A line of headings, which may be missing, then a line a pair, separated by commas: the split (from 1), the pair's
number, the two videos as NAME/VIDEO, perhaps more, and last 1 for the same person or 0.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexer.errors import FaceIdError
from indexer.text import printable


class SplitsError(FaceIdError):
    """A file that is not YTF's list of pairs."""


@dataclass(frozen=True, eq=False)
class VideoPairs:
    """Pairs of videos: `first` and `second` as NAME/VIDEO, `same` bool [n], `fold` int64 [n] from 0."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    same: NDArray[np.bool_]
    fold: NDArray[np.int64]


def read_splits(path: Path) -> VideoPairs:
    """Read the list of pairs. Raises SplitsError naming the line that is none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SplitsError(f"{printable(path)}: cannot be read as text ({error})") from error
    first, second, same, fold = [], [], [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match [cell.strip() for cell in line.split(",")]:
            case [split, _, one, other, *_, is_same] if _is_split(split) and is_same in ("0", "1"):
                first.append(one)
                second.append(other)
                same.append(is_same == "1")
                fold.append(int(split) - 1)
            case _ if number > 1:  # the first line is one of headings, mostly
                raise SplitsError(f"{printable(path)}, line {number}: not `split, pair, video, video, ..., same`")
    if len(set(fold)) < 2:
        raise SplitsError(f"{printable(path)}: pairs in {len(set(fold))} splits; at least two are needed")
    return VideoPairs(tuple(first), tuple(second), np.array(same), np.array(fold, np.int64))


def _is_split(cell: str) -> bool:
    return cell.isdecimal() and len(cell) < 10 and int(cell) > 0  # fits int64
