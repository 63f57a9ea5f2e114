"""Fits the demo's face model on packs of aligned faces.

    python -m benchmarks.measurements.fit_face_model TAR... -o FILE

TAR holds IDENTITY/NAME.webp, 120x120 pixels, aligned to FACE_LANDMARKS. Each person gives the three most symmetric of
their sharper photos. With m the mean of a person's photos, the covariance between people is Cov(m) - S_w / 3; the one
within a person, S_w, comes from the deviations from m (one-way analysis of variance). Only sums over thousands of
people go into the file, and no network has a part in it.
"""

import argparse
import tarfile
from collections import defaultdict
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.demo.face_model import (
    CHROMA_SIDE,
    FACE_SIDE,
    LUMA_SIDE,
    FaceModel,
    half_vectors,
)
from faceid.vision.broken_crops import shows_a_face
from faceid.vision.images import UInt8Image
from faceid.vision.opencv import cv2
from faceid.vision.quality import sharpness
from indexer.records import FloatMatrix, FloatVector

PHOTOS_EACH = 3
PEOPLE = 3600
SHARP = 100.0  # variance of the Laplacian: the sharper three quarters of the given faces

PERSON_COMPONENTS, PHOTO_COMPONENTS, ODD_COMPONENTS = 160, 100, 40
SUBSPACE = 400  # principal directions of the people's means in which Cov(m) - S_w / 3 is formed

# A network sees less difference between drawn people than between real ones, as fine detail is missing, and pixels
# vary more with light than it minds. These gains bring its similarities of drawn people near those of real ones.
# The first components of people are skin, hair and light, which would look unnatural amplified: they keep their size.
PERSON_GAIN = 1.75
UNAMPLIFIED = 15
PHOTO_GAIN = 0.55
CHROMA_GAIN = 0.65

# Hair and background take most of the variance; the face itself is to be fitted best.
OUTSIDE_WEIGHT = 0.3
CHROMA_WEIGHT = 3.0


def main() -> None:
    """Fit and write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packs", nargs="+", type=Path, metavar="TAR")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    torch.manual_seed(0)
    people = list(chosen_faces(options.packs))
    model = fit(people)
    description = f"fitted on {len(people)} people with {PHOTOS_EACH} photos each"
    options.output.write_bytes(model.to_bytes(description))
    print(f"{options.output}: {options.output.stat().st_size:,} bytes, {description}")


def chosen_faces(packs: list[Path]) -> list[list[UInt8Image]]:
    """Return PHOTOS_EACH faces of each of at most PEOPLE people: sharp, and the most symmetric, thus frontal, ones."""
    people: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
    for pack in packs:
        with tarfile.open(pack) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None:
                    people[PurePosixPath(member.name).parent.name].append((member.name, content.read()))
    chosen = []
    for name in sorted(people):
        faces = [_decode(data) for _, data in sorted(people[name])]
        faces = [face for face in faces if shows_a_face(face) and sharpness(face[4:116, 4:116]) >= SHARP]
        if len(faces) >= PHOTOS_EACH:
            chosen.append(sorted(faces, key=_asymmetry)[:PHOTOS_EACH])
        if len(chosen) == PEOPLE:
            break
    return chosen


def fit(people: list[list[UInt8Image]]) -> FaceModel:
    """Fit the model on people with PHOTOS_EACH faces each, uint8 [120, 120, 3]."""
    vectors = [half_vectors(face) for faces in people for face in faces]
    weights = _weights()
    even = np.stack([vector[0] for vector in vectors])
    mean = even.mean(axis=0)
    even = (even - mean) * weights
    odd = np.stack([vector[1] for vector in vectors]) * weights
    grouped = even.reshape(len(people), PHOTOS_EACH, -1)
    means = grouped.mean(axis=1)
    deviations = (grouped - means[:, None]).reshape(even.shape) * np.float32(np.sqrt(PHOTOS_EACH / (PHOTOS_EACH - 1)))
    within = _principal(deviations, SUBSPACE)
    tint = np.ones_like(mean)
    tint[LUMA_SIDE * LUMA_SIDE // 2 :] = CHROMA_GAIN
    gain = np.interp(np.arange(PERSON_COMPONENTS), [0, UNAMPLIFIED], [1, PERSON_GAIN]).astype(np.float32)[:, None]
    return FaceModel(
        mean,
        gain * _between(means, within)[:PERSON_COMPONENTS] / weights * tint,
        PHOTO_GAIN * within[:PHOTO_COMPONENTS] / weights * tint,
        PHOTO_GAIN * _principal(odd, ODD_COMPONENTS) / weights * tint,
    )


def _decode(data: bytes) -> UInt8Image:
    face = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if face is None or face.shape != (FACE_SIDE, FACE_SIDE, 3):
        raise SystemExit(f"a pack holds something else than faces of {FACE_SIDE}x{FACE_SIDE} pixels")
    return np.asarray(face, np.uint8)


def _asymmetry(face: UInt8Image) -> float:
    """Mean difference of the face and its mirror image, coarse: small for frontal faces in even light."""
    grey = cv2.resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), (24, 24), interpolation=cv2.INTER_AREA)[4:, 3:-3]
    return float(np.abs(grey.astype(np.float32) - grey[:, ::-1]).mean())


def _weights() -> FloatVector:
    """Return the weight of each value of a half vector [P]: 1 in the ellipse of the face, less outside."""
    parts = []
    for side, factor in ((LUMA_SIDE, 1.0), (CHROMA_SIDE, CHROMA_WEIGHT), (CHROMA_SIDE, CHROMA_WEIGHT)):
        y, x = (np.mgrid[:side, : side // 2] + 0.5) / side
        radius = np.hypot((x - 0.5) / 0.37, (y - 0.57) / 0.46)
        inside = 1 / (1 + np.exp((radius - 1) * 12))
        parts.append(factor * (OUTSIDE_WEIGHT + (1 - OUTSIDE_WEIGHT) * inside).ravel())
    return np.concatenate(parts).astype(np.float32)


def _principal(rows: FloatMatrix, count: int) -> FloatMatrix:
    """Return the first principal components [count, P] of centred rows [n, P], each one standard deviation long."""
    _, singular, directions = torch.svd_lowrank(torch.from_numpy(np.ascontiguousarray(rows)), q=count + 20, niter=2)
    scaled = directions.T * (singular / np.sqrt(len(rows)))[:, None]
    components: FloatMatrix = scaled[:count].numpy()
    return components


def _between(means: FloatMatrix, within: FloatMatrix) -> FloatMatrix:
    """Return the components of Cov(means) - S_w / PHOTOS_EACH, largest first, one standard deviation long."""
    total = _principal(means - means.mean(axis=0), SUBSPACE)
    basis = np.linalg.svd(total, full_matrices=False)[2]
    covariance = _covariance(basis @ total.T) - _covariance(basis @ within.T) / PHOTOS_EACH
    variances, directions = np.linalg.eigh(covariance)
    deviations = np.sqrt(np.clip(variances[::-1], 0, None))
    components: FloatMatrix = ((directions[:, ::-1] * deviations).T @ basis).astype(np.float32)
    return components


def _covariance(columns: FloatMatrix) -> NDArray[np.float64]:
    wide = columns.astype(np.float64)
    return np.asarray(wide @ wide.T)


if __name__ == "__main__":
    main()
