"""Feature files: unit vectors with their labels and photos, as the benchmarks read them."""

from pathlib import Path

import numpy as np

from faceid.engine import Features
from faceid.models.model_file import replacing
from indexer.records import ModelBinding


def write_features(path: Path, features: Features, model: ModelBinding) -> None:
    """Write `.npz`: `features` [N, D] float32, `labels` [N] and `paths` [N] text (NumPy type U, no pickle).

    `model` [2] text beside them says what embedded the photos: its name and digest.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            features=features.vectors,
            labels=np.array(features.labels, dtype=np.str_),
            paths=np.array(features.paths, dtype=np.str_),
            model=np.array([model.name, model.digest]),
        )
