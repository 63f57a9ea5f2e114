"""A folder of feature files as one set of features: shards of a crowd that is too large for one file, or one memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from faceid.feature_file import read_features
from faceid.feature_set import FeatureError, FeatureSet
from indexer.records import FloatMatrix
from indexer.text import printable

_ENDINGS = (".npz", ".npy")


@dataclass(frozen=True, eq=False)
class ShardedRows:
    """Rows [N, D] float32 that lie in several files, one after the other; `starts` [files + 1] says where each begins.

    Indexed as an array is, by a slice, row numbers or a mask: what is taken is read, and nothing else.
    """

    files: tuple[Path, ...]
    parts: tuple[FloatMatrix, ...]
    starts: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return self.starts[-1], self.parts[0].shape[1]

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, rows: slice | NDArray[Any]) -> FloatMatrix:
        wanted = np.arange(len(self))[rows]
        taken = np.empty((len(wanted), self.shape[1]), np.float32)
        for part, start in zip(self.parts, self.starts, strict=False):
            here = (wanted >= start) & (wanted < start + len(part))
            taken[here] = part[wanted[here] - start]
        return taken


def shard_files(folder: Path) -> list[Path]:
    """Return the feature files that lie in a folder, sorted by name, no hidden ones; none in one of something else."""
    files = (file for file in folder.iterdir() if file.suffix in _ENDINGS and not file.name.startswith("."))
    return sorted(file for file in files if file.is_file())


def read_shards(files: Sequence[Path], source: Path) -> FeatureSet:
    """Read feature files as one set; labels and paths are theirs, a file of rows alone gets its name and their numbers.

    Raises FeatureError as `read_features`, and where they are of several networks.
    """
    sets = [read_features(file) for file in files]
    first = sets[0]
    for one, file in zip(sets, files, strict=True):
        if one.features.shape[1] != first.features.shape[1] or one.model != first.model:
            raise FeatureError(f"{printable(file)}: of another network than {printable(files[0].name)} beside it")
    starts = np.cumsum([0, *map(len, sets)]).tolist()
    rows = ShardedRows(tuple(files), tuple(one.features for one in sets), tuple(starts))
    paths = [
        one.paths if file.suffix == ".npz" else np.char.add(f"{file.name} ", one.paths)
        for one, file in zip(sets, files, strict=True)
    ]
    digest = sha256("".join(one.digest for one in sets).encode()).hexdigest()
    notes = tuple(note for one in sets for note in one.notes)
    # It is indexed as an array, and what needs more than that takes `features[:]`.
    features = cast(FloatMatrix, rows)
    labels = np.concatenate([one.labels for one in sets])
    return FeatureSet(features, labels, np.concatenate(paths), digest, printable(source), notes, first.model)
