"""LFW view 2: verification accuracy on 6,000 pairs in 10 folds, the threshold of each fold chosen on the other nine.

Report class "unrestricted, with labelled outside data" (Huang & Learned-Miller 2014).
"""

from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.fold_accuracy import CLUSTERED, by_every_convention
from benchmarks.protocols.errors import ProtocolError
from benchmarks.protocols.photo_rows import rows_of_photos
from benchmarks.protocols.scored_pairs import ScoredPairs, add_pair_figures, notes_on_list
from benchmarks.results.results import Results
from faceid.feature_set import FeatureSet
from indexer.records import FloatMatrix
from indexer.search.scores import canonical_scores
from indexer.text import printable

FARS = (1e-2, 1e-3)
"""3,000 non-mated pairs support no rate below 1e-3 (rule of three)."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of photos: `first` and `second` as NAME/NAME_0001, `same` bool [n], `fold` int [n] from 0."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    same: NDArray[np.bool_]
    fold: NDArray[np.int64]


def lfw(features: FeatureSet, pairs: Pairs, name: str) -> Results:
    """Return the accuracy by each convention (`exact` first) and TAR at FAR of the pairs.

    A photo is known by its file's name without the ending (Abel_Pacheco_0001). One that has no feature, because no face
    was found, makes its pairs count as not accepted. Raises ProtocolError as `rows_of_photos`.
    """
    photos = sorted(set(pairs.first + pairs.second))
    row = dict(zip(photos, rows_of_photos(features, [PurePath(photo).name for photo in photos]).tolist(), strict=True))
    missing = [photo for photo in photos if row[photo] < 0]
    at = [np.array([row[photo] for photo in side]) for side in (pairs.first, pairs.second)]
    first, second = (_features(features.features, side) for side in at)
    scores = np.where(np.isnan(first[:, 0] + second[:, 0]), np.float32(-np.inf), canonical_scores(first, second))
    scored = _scored(features, pairs, scores, at)
    accuracies = by_every_convention(first, second, scores, pairs.same, pairs.fold, scored.identities)
    results = Results(
        protocol="lfw",
        name=name,
        conventions={
            "accuracy": accuracies[0].convention,
            "ci95_clustered": CLUSTERED,
            "class": "unrestricted, with labelled outside data",
            "pairs": f"{len(scores)} in {len(np.unique(pairs.fold))} folds",
            "threshold": "TAR at FAR: conservative, all non-mated pairs pooled",
        },
        accuracy=accuracies,
        notes=(*features.notes, *_missing_note(missing), *notes_on_list(pairs.first, pairs.second, "photo")),
    )
    return add_pair_figures(results, scored, FARS)


def read_pairs(path: Path) -> Pairs:
    """Read LFW's pairs.txt: a line `folds pairs`, then per fold `pairs` mated lines and as many non-mated ones.

    A mated line is `name i j`, a non-mated one `name1 i name2 j`, with tabs between them, or blanks where the line has
    no tab; empty lines, and tabs and blanks at the ends, mean nothing. Raises ProtocolError naming the line that is
    neither, and for fewer than two folds.
    """
    try:
        text = path.read_text(encoding="utf-8-sig").splitlines()
        lines = [(number, line.strip()) for number, line in enumerate(text, start=1) if line.strip()]
        folds, pairs = (int(number) for number in lines[0][1].split())
    except (OSError, ValueError, IndexError) as error:
        raise ProtocolError(f"{printable(path)}: not a list of pairs, which begins with `folds pairs`") from error
    if folds < 2 or pairs < 1:
        raise ProtocolError(f"{printable(path)}: {folds} folds of 2 x {pairs} pairs; at least two folds are needed")
    if len(lines) - 1 != folds * pairs * 2:
        raise ProtocolError(
            f"{printable(path)}: {len(lines) - 1} pairs where {folds} folds of 2 x {pairs} are announced"
        )
    first, second, same = [], [], []
    for number, line in lines[1:]:
        match [cell.strip() for cell in line.split("\t" if "\t" in line else None)]:
            case [name, i, j] if _is_number(i) and _is_number(j):
                ends = (name, i), (name, j)
            case [name, i, other, j] if _is_number(i) and _is_number(j):
                ends = (name, i), (other, j)
            case _:
                raise ProtocolError(f"{printable(path)}, line {number}: not a pair: {line!r}")
        first.append(_photo(*ends[0]))
        second.append(_photo(*ends[1]))
        same.append(ends[0][0] == ends[1][0])
    fold = np.repeat(np.arange(folds), pairs * 2)
    return Pairs(tuple(first), tuple(second), np.array(same), fold)


def _is_number(cell: str) -> bool:
    return cell.isascii() and cell.isdecimal()


def _photo(name: str, number: str) -> str:
    return f"{name}/{name}_{number.zfill(4)}"


def _features(features: FloatMatrix, rows: NDArray[np.int64]) -> FloatMatrix:
    """Return the rows; NaN for row -1."""
    found = features[np.maximum(rows, 0)]
    found[rows < 0] = np.nan
    return found


def _scored(
    features: FeatureSet, pairs: Pairs, scores: NDArray[np.float32], at: list[NDArray[np.int64]]
) -> ScoredPairs:
    people = [[PurePath(photo).parent.name for photo in side] for side in (pairs.first, pairs.second)]
    _, number = np.unique(people, return_inverse=True)
    first, second = number.reshape(2, -1).astype(np.int64)
    return ScoredPairs(scores, pairs.same, (features.paths[at[0]], features.paths[at[1]]), (first, second))


def _missing_note(missing: list[str]) -> tuple[str, ...]:
    return (f"{len(missing)} photos have no feature (no face found): {', '.join(missing[:10])}",) if missing else ()
