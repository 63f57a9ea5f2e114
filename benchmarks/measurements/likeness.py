"""How like real people the drawn ones are to a network.

python -m benchmarks.measurements.likeness MODEL --held-out TAR --fitted TAR...

Prints the similarities of photos of one person and of two, for drawn people through the whole line and for the held-out
people's aligned faces, and how near the drawn people come to the people that the model was fitted on.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.demo.face_model import FACE_LANDMARKS
from benchmarks.demo.people import write_people
from benchmarks.demo.story import pair_similarities
from benchmarks.measurements.fit_face_model import PHOTOS_EACH, chosen_faces
from faceid.engine import FaceEngine
from faceid.vision.alignment import align
from faceid.vision.images import UInt8Image
from faceid.vision.photo_list import photos_of_people
from indexer.records import FloatMatrix

DRAWN_PEOPLE = 300
SEED = 99  # other people than the demo's


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--held-out", type=Path, required=True, metavar="TAR")
    parser.add_argument("--fitted", type=Path, nargs="+", required=True, metavar="TAR")
    options = parser.parse_args()
    engine = FaceEngine(options.model)
    with tempfile.TemporaryDirectory() as folder:
        photos = len(write_people(Path(folder), DRAWN_PEOPLE, PHOTOS_EACH, SEED))
        drawn = engine.embed(photos_of_people(Path(folder)), faces="exactly-one")
    print(f"drawn photos without exactly one face: {len(drawn.failures)} of {photos}")
    _print_pairs("drawn", drawn.vectors, np.array(drawn.labels))
    held_out, people = _embed_faces(engine, chosen_faces([options.held_out]))
    _print_pairs("held-out", held_out, people)
    fitted, _ = _embed_faces(engine, chosen_faces(options.fitted))
    for name, vectors in (("drawn", drawn.vectors), ("held-out", held_out)):
        nearest = (vectors @ fitted.T).max(axis=1)
        quantiles = ", ".join(f"{value:.3f}" for value in np.quantile(nearest, (0.5, 0.95, 0.99, 1)))
        print(f"{name}: similarity to the nearest fitted photo: median, 95 %, 99 %, largest {quantiles}")


def _embed_faces(engine: FaceEngine, people: list[list[UInt8Image]]) -> tuple[FloatMatrix, NDArray[np.str_]]:
    """Embed aligned faces as the engine would see them; returns vectors [n, D] and the persons' numbers [n]."""
    spec = engine.model.spec
    crops = [
        align(face, FACE_LANDMARKS[None], spec.reference_points, spec.input_size)[0]
        for faces in people
        for face in faces
    ]
    labels = np.repeat(np.arange(len(people)), PHOTOS_EACH).astype(np.str_)
    return engine.pipeline.embedder.embed(np.stack(crops)), labels


def _print_pairs(name: str, vectors: FloatMatrix, labels: NDArray[np.str_]) -> None:
    same, different = pair_similarities(vectors, labels)
    rates = ", ".join(f"{(same >= np.quantile(different, 1 - far)).mean():.3f} at FAR {far:g}" for far in (1e-2, 1e-3))
    print(
        f"{name}: {len(set(labels.tolist()))} people; one person {same.mean():.3f} +- {same.std():.3f}, "
        f"two people {different.mean():.3f} +- {different.std():.3f}; TAR {rates}"
    )


if __name__ == "__main__":
    main()
