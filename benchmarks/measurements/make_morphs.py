"""Morphs of LFW's half B, embedded: what `morphing` measures, for as many networks as are named.

    python -m benchmarks.measurements.make_morphs LFW_DIR --features LFW.npz --model NAME [--model FILE ...] -o FOLDER

Everybody of half B with two photos gives the first one as a document. Each is morphed with a person drawn, and with the
one who looks most alike to the network of --features (a forger chooses a likeness by a network, too), averaged and
warped. Writes FOLDER/morphs.NAME.npz: labels are `ONE & OTHER`, paths `average/random/...` and so on.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.inputs.morphs import REFERENCE, average, framed, warp
from benchmarks.measurements.extrapolation_errors import named
from benchmarks.measurements.lfw_engine import half_of
from benchmarks.protocols.morphing import random_partners
from faceid.engine import FaceEngine
from faceid.feature_file import write_features
from faceid.models.embedding import Embedder
from faceid.models.model_zoo import find_model
from faceid.vision.alignment import Points, align
from faceid.vision.images import UInt8Image
from indexer.decision.morph import look_alikes
from indexer.records import FloatMatrix, ModelBinding

Frame = tuple[UInt8Image, Points]
Morph = tuple[str, str, UInt8Image, Points]  # path, label, frame, landmarks


def main() -> None:
    """Find the documents' faces, make the morphs, embed them with each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lfw", type=Path)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--people", type=int, help="only so many")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    names, documents, paths = documents_of(options.features, options.people)
    frames = dict(tqdm(faces_of(names, paths, options.lfw.parent), total=len(names)))
    there = [place for place, name in enumerate(names) if name in frames]
    names, documents = [names[place] for place in there], documents[there]
    morphs = list(morphs_of(names, documents, [frames[name] for name in names]))
    options.output.mkdir(parents=True, exist_ok=True)
    labels, sources = np.array([one[1] for one in morphs]), np.array([one[0] for one in morphs])
    for model in options.model:
        embedder = Embedder(find_model(model))
        vectors = embedded(embedder, morphs)
        name = embedder.spec.name
        binding = ModelBinding(name, embedder.model.digest, embedder.dimension)
        write_features(options.output / f"morphs.{name}.npz", vectors, labels.tolist(), sources.tolist(), binding)
        print(f"{name}: {len(morphs)} morphs of {len(names)} people")


def documents_of(features: Path, count: int | None) -> tuple[list[str], FloatMatrix, list[str]]:
    """Return names, vectors and paths of the first photo of everybody of half B with two or more."""
    people = named(features)
    labels, first, photos = np.unique(people.labels, return_index=True, return_counts=True)
    chosen = [place for place, name in enumerate(labels.tolist()) if photos[place] > 1 and half_of(name) == "B"][:count]
    rows = first[chosen]
    return labels[chosen].tolist(), np.asarray(people.features[rows]), people.paths[rows].tolist()


def faces_of(names: Sequence[str], paths: Sequence[str], root: Path) -> Iterator[tuple[str, Frame]]:
    """Yield the frame of each document's largest face, as the shipped detector finds it; nothing where none is."""
    engine = FaceEngine()
    for name, path in zip(names, paths, strict=True):
        (found,) = engine.analyse(root / path, faces="largest")
        if found.faces:
            pixels = pixels_of(root / path)
            yield name, framed(pixels, np.array(found.faces[0].landmarks, np.float32))


def pixels_of(path: Path) -> UInt8Image:
    """Read a photo of LFW: a JPEG without orientation."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def morphs_of(names: Sequence[str], documents: FloatMatrix, frames: Sequence[Frame]) -> Iterator[Morph]:
    """Yield the four morphs that each document begins."""
    partners = {"random": random_partners(len(names), seed=0), "look-alike": look_alikes(documents)}
    for kind, partner in partners.items():
        for one, other in enumerate(partner.tolist()):
            (first, its), (second, others) = frames[one], frames[other]
            label, file = f"{names[one]} & {names[other]}", f"{kind}/{one:04}.png"
            yield f"average/{file}", label, average(first, second), REFERENCE
            yield f"warp/{file}", label, warp(first, its, second, others), ((its + others) / 2).astype(np.float32)


def embedded(embedder: Embedder, morphs: Sequence[Morph]) -> FloatMatrix:
    """Cut each morph to the network's input by its landmarks, and embed it."""
    spec = embedder.spec
    reference = np.array(spec.reference_points, np.float32)
    crops = np.concatenate([align(frame, points[None], reference, spec.input_size) for *_, frame, points in morphs])
    return np.concatenate([embedder.embed(crops[start : start + 64]) for start in tqdm(range(0, len(crops), 64))])


if __name__ == "__main__":
    main()
