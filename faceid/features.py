"""Feature files: unit vectors with their labels and photos, as the benchmarks read them."""

from pathlib import Path

import numpy as np

from faceid.engine import Features


def write_features(path: Path, features: Features) -> None:
    """Write `.npz`: `features` [N, D] float32, `labels` [N] and `paths` [N] text (NumPy type U, no pickle)."""
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        np.savez(
            file,
            features=features.vectors,
            labels=np.array(features.labels, dtype=np.str_),
            paths=np.array(features.paths, dtype=np.str_),
        )
    temporary.replace(path)
