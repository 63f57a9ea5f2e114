"""A config's faces encoded anew, in parts that travel one by one, as small as a network that knows faces lets them be.

A face keeps its name, by which its target is found (`training.targets`), unless the name does not begin with whom it
shows, as in .rec files and shards: a pack has people by that. What a config leaves out stays behind.
"""

import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from faceid.models.embedding import Embedder
from faceid.models.model_zoo import find_model
from faceid.vision.opencv import cv2
from training.augment import centre_crops
from training.config import DataConfig
from training.data.faces import UNKNOWN, FaceSource, Ints, UInt8Images, decode
from training.data.opening import open_faces, open_training
from training.errors import DataError

JUDGED = 256  # faces on which a quality is tried
SEED = 1
TAR_BYTES = 160  # of a face's header in a tar, compressed; it takes 60 to 90
BATCH = 1024
PART_NAME = re.compile(r"\d{3,}\.tar\.xz")


@dataclass(frozen=True)
class Repacked:
    """What was written.

    Attributes:
        quality: of WebP, 1 to 100.
        cosine: mean over `JUDGED` faces of the cosine between what the judge makes of them before and after.
        faces: how many, of training, unlabelled and validation.
        parts: the files.
        face_bytes: mean length of an encoded face.
    """

    quality: int
    cosine: float
    faces: tuple[int, int, int]
    parts: tuple[Path, ...]
    face_bytes: float


def repack(data: DataConfig, output: Path, judge: str, *, cosine: float, part_bytes: int) -> Repacked:
    """Write `training`, `unlabelled` and `validation` under `output`: folders of packs, `000.tar.xz` and so on.

    Args:
        data: the faces.
        output: folder; parts of an earlier call there are overwritten, and those that are too many removed.
        judge: name or file of the model that sees faces before and after.
        cosine: lowest mean cosine between the two.
        part_bytes: no file is longer.

    Raises:
        ModelError: no such model.
        DataError: as `open_training`; or no quality keeps that cosine.
    """
    training = open_training(data)
    strangers = open_faces(data.validation, side=data.side, only_faces=data.only_faces)
    quality, reached = lowest_quality(Embedder(find_model(judge)), training, cosine)
    known = training.labels != UNKNOWN
    parts: list[Path] = []
    lengths: list[int] = []
    everything = {
        "training": (training, np.flatnonzero(known)),
        "unlabelled": (training, np.flatnonzero(~known)),
        "validation": (strangers, np.arange(len(strangers.labels))),
    }
    for name, (faces, chosen) in everything.items():
        for number, members in enumerate(_cut(_encoded(faces, chosen, quality), part_bytes)):
            lengths += [len(payload) for _, payload in members]
            parts.append(_write(output / name / f"{number:03}.tar.xz", members, part_bytes))
        for file in sorted((output / name).glob("*.tar.xz")):
            if PART_NAME.fullmatch(file.name) and file not in parts:
                file.unlink()  # whoever opens the folder would take its faces in, too
    counts = (int(known.sum()), int((~known).sum()), len(strangers.labels))
    return Repacked(quality, reached, counts, tuple(parts), float(np.mean(lengths)))


def lowest_quality(embedder: Embedder, faces: FaceSource, cosine: float) -> tuple[int, float]:
    """Find the lowest quality of WebP whose mean cosine reaches `cosine`, and that mean. Raises DataError for none."""
    count = len(faces.labels)
    images = faces.read(np.sort(np.random.default_rng(SEED).permutation(count)[:JUDGED]))
    before = embedder.embed(centre_crops(images, embedder.spec.input_size))

    def mean_cosine(quality: int) -> float:
        worse = decode([encode(image, quality) for image in images], [""] * len(images), images.shape[1])
        return float((before * embedder.embed(centre_crops(worse, embedder.spec.input_size))).sum(1).mean())

    low, high = 1, 100
    if (reached := mean_cosine(high)) < cosine:
        raise DataError(f"no quality of WebP keeps a mean cosine of {cosine}: {high} reaches {reached:.4f}")
    while low < high:
        middle = (low + high) // 2
        if (tried := mean_cosine(middle)) >= cosine:
            high, reached = middle, tried
        else:
            low = middle + 1
    return high, reached


def encode(face: UInt8Images, quality: int) -> bytes:
    """Encode a face, RGB [side, side, 3], as WebP."""
    return cv2.imencode(".webp", face[:, :, ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()


def _encoded(faces: FaceSource, chosen: Ints, quality: int) -> Iterator[tuple[str, bytes]]:
    for start in range(0, len(chosen), BATCH):
        some = chosen[start : start + BATCH]
        for index, image in zip(some, faces.read(some), strict=True):
            yield _member_name(faces, int(index)), encode(image, quality)


def _member_name(faces: FaceSource, index: int) -> str:
    """Return the face's name as a pack has it: whom it shows stands before it."""
    name, label = faces.name(index), int(faces.labels[index])
    folder, _, file = name.rpartition("/")
    if label == UNKNOWN:
        return f"{folder.replace('/', '-')}/{file}"
    person = faces.identities[label]
    return name if folder == person else f"{person.replace('/', '-')}/{name.replace('/', '-')}"


def _cut(members: Iterator[tuple[str, bytes]], part_bytes: int) -> Iterator[list[tuple[str, bytes]]]:
    """Collect members until another one might make a file too long."""
    part: list[tuple[str, bytes]] = []
    length = 0
    for name, payload in members:
        more = len(payload) + TAR_BYTES
        if part and length + more > part_bytes:
            yield part
            part, length = [], 0
        part.append((name, payload))
        length += more
    if part:
        yield part


def _write(path: Path, members: Sequence[tuple[str, bytes]], part_bytes: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:xz", preset=1) as tar:  # the headers shrink to a tenth; the faces cannot
        for name, payload in members:
            member = tarfile.TarInfo(name)
            member.size = len(payload)
            tar.addfile(member, BytesIO(payload))
    if (length := path.stat().st_size) > part_bytes:
        raise DataError(f"{path} has {length:,} bytes, more than {part_bytes:,}; allow longer parts")
    return path
