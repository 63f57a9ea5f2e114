"""BLUFR's published splits: the MATLAB file `blufr_lfw_config.mat` (Liao et al. 2014).

Read from it: `imageList` (cells with file names), `labels` (a class number each), and a cell a trial of indices into
that list, from 1: `testIndex`, and its two parts `galIndex` and `probIndex`.
"""

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.formats.matlab_file import read_variables
from indexer.errors import FaceIdError
from indexer.text import printable

Ints = NDArray[np.int64]
NAMES = ("imageList", "labels", "testIndex", "galIndex", "probIndex")


class BlufrError(FaceIdError):
    """A file that does not hold BLUFR's splits."""


@dataclass(frozen=True, eq=False)
class BlufrConfig:
    """`photos` [n] as file names without ending, `labels` int64 [n]; a trial's indices [...] into them from 0."""

    photos: tuple[str, ...]
    labels: Ints
    test: tuple[Ints, ...]
    gallery: tuple[Ints, ...]
    probes: tuple[Ints, ...]


def read_config(path: Path) -> BlufrConfig:
    """Read the published splits. Raises MatlabFileError as `read_variables`, BlufrError if the file lacks something."""
    content = read_variables(path, NAMES)
    missing = [name for name in NAMES if name not in content]
    if missing:
        raise BlufrError(f"{printable(path)}: no {', '.join(missing)} in it; give BLUFR's blufr_lfw_config.mat")
    try:
        photos = tuple(PurePath(str(cell.item())).stem for cell in content["imageList"].ravel())
        labels = _whole(content["labels"])
        test, gallery, probes = (_trials(content[name], len(photos)) for name in NAMES[2:])
    except (ValueError, AttributeError, TypeError) as error:
        raise BlufrError(f"{printable(path)}: not as BLUFR's file is laid out ({error})") from error
    if not len(test) == len(gallery) == len(probes) > 0 or len(labels) != len(photos):
        raise BlufrError(f"{printable(path)}: its lists differ in length")
    return BlufrConfig(photos, labels, test, gallery, probes)


def _trials(cells: NDArray[Any], photos: int) -> tuple[Ints, ...]:
    trials = tuple(_whole(np.asarray(cell)) - 1 for cell in cells.ravel())
    for trial in trials:
        if not len(trial) or trial.min() < 0 or trial.max() >= photos:
            raise ValueError("an index beyond the list of images")
    return trials


def _whole(numbers: NDArray[Any]) -> Ints:
    """Return numbers (MATLAB's are float64) as int64 [n]; ValueError for what would not stay the same."""
    with np.errstate(invalid="ignore"):
        whole: Ints = numbers.ravel().astype(np.int64)
    if not np.array_equal(whole, numbers.ravel()):
        raise ValueError("a number that is not whole")
    return whole
