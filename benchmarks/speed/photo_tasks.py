"""The tasks that begin with photos: finding faces, embedding them, enrolling people."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.speed.bounds import product_bound
from benchmarks.speed.peers import BATCH, package_detector
from benchmarks.speed.rows import SpeedRow
from benchmarks.speed.timing import Contestant, race
from faceid.engine import FaceEngine
from faceid.models.embedding import Embedder
from faceid.models.model_file import ONNX
from faceid.vision.alignment import align
from faceid.vision.images import UInt8Image, read_photo
from faceid.vision.mtcnn import MtcnnDetector
from faceid.vision.mtcnn_torch import TorchNetworks
from faceid.vision.mtcnn_weights import load_weights
from faceid.vision.photo_list import PersonPhoto
from indexer.errors import FaceIdError
from indexer.gallery import Gallery

IN_PYTORCH = "the same networks in PyTorch"


class NothingToTime(FaceIdError):
    """No photo, or none with a face."""


def photo_rows(engine: FaceEngine, photos: Sequence[Path]) -> list[SpeedRow]:
    """Time detection, embedding and enrolment on the photos.

    Raises ImageError for a file that is no photo, NothingToTime where no face is found.
    """
    images = [read_photo(path).pixels for path in photos]
    crops = find_and_cut(engine, images)
    if not len(crops):
        raise NothingToTime(f"no face was found in {len(photos)} photos: give photos of people, or none at all")
    return [*detection_rows(engine, images), *embedding_rows(engine, crops), *enrolment_rows(engine, photos, images)]


def detection_rows(engine: FaceEngine, images: Sequence[UInt8Image]) -> list[SpeedRow]:
    """Time finding the faces of all images in one call, beside PyTorch and the package `mtcnn` (with TensorFlow)."""
    detector = engine.pipeline.detector

    def ours() -> object:
        return detector.detect(images)

    contestants = [Contestant("faceid", "ours", ours)]
    if isinstance(detector, MtcnnDetector):
        reference = MtcnnDetector(detector.min_face_size, networks=TorchNetworks(load_weights(), "cpu"))

        def in_pytorch() -> object:
            with one_thread_an_operation():
                return reference.detect(images)

        contestants += [product_bound(in_pytorch), Contestant(IN_PYTORCH, "peer", in_pytorch)]
    contestants += _mtcnn_package(images)
    return race("detection", _sizes(images), len(images), "photos", contestants)


def embedding_rows(engine: FaceEngine, crops: NDArray[np.uint8]) -> list[SpeedRow]:
    """Time embedding aligned crops uint8 [N, H, W, 3] in one call."""
    embedder = engine.pipeline.embedder

    def ours() -> object:
        return embedder.embed(crops)

    size = f"{len(crops)} crops, {embedder.backend}, {embedder.precision}"
    contestants = [Contestant("faceid", "ours", ours)]
    if engine.model.spec.architecture == ONNX:
        contestants.append(product_bound(ours, embedder.precision))
    else:
        reference = Embedder(engine.model, backend="torch", precision=embedder.precision)

        def in_pytorch() -> object:
            return reference.embed(crops)

        contestants += [product_bound(in_pytorch, embedder.precision), Contestant(IN_PYTORCH, "peer", in_pytorch)]
    return race("embedding", size, len(crops), "crops", contestants)


def enrolment_rows(engine: FaceEngine, photos: Sequence[Path], images: Sequence[UInt8Image]) -> list[SpeedRow]:
    """Time enrolling the photos into a new gallery; the bound is finding and embedding their faces, and no more."""
    people = [PersonPhoto(path, f"person {number}", None) for number, path in enumerate(photos)]

    def alone() -> object:
        return engine.pipeline.embedder.embed(find_and_cut(engine, images))

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "gallery"

        def ours() -> None:
            shutil.rmtree(place, ignore_errors=True)
            with Gallery.create(place, engine.binding) as gallery:
                engine.enroll(gallery, people, faces="largest", limits=None)

        contestants = [
            Contestant("faceid", "ours", ours),
            Contestant("detection, alignment and embedding alone", "bound", alone),
        ]
        return race("enrolment", _sizes(images), len(photos), "photos", contestants)


def find_and_cut(engine: FaceEngine, images: Sequence[UInt8Image]) -> NDArray[np.uint8]:
    """Return the aligned crops uint8 [n, H, W, 3] of the first face of each image that has one."""
    spec = engine.pipeline.embedder.spec
    found = engine.pipeline.detector.detect(images)
    crops = [
        align(image, faces.landmarks[:1], spec.reference_points, spec.input_size)
        for image, faces in zip(images, found, strict=True)
        if len(faces)
    ]
    return np.concatenate([np.empty((0, *spec.input_size, 3), np.uint8), *crops])


@contextmanager
def one_thread_an_operation() -> Iterator[None]:
    """Keep each of PyTorch's operations in one thread: the detector shares its small batches out among threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _mtcnn_package(images: Sequence[UInt8Image]) -> list[Contestant]:
    """Return the package as it is mostly used, one photo a call, and as it is fastest."""
    if find_spec("tensorflow") is None:
        return [Contestant("mtcnn on TensorFlow", "peer", None, note="TensorFlow is not installed")]
    theirs, name = package_detector(), f"mtcnn {version('mtcnn')} on TensorFlow"

    def run(batch: int) -> None:
        for start in range(0, len(images), batch):
            theirs(images[start : start + batch])

    return [
        Contestant(f"{name}, one by one", "peer", partial(run, 1)),
        Contestant(f"{name}, {BATCH} at a time", "peer", partial(run, BATCH)),
    ]


def _sizes(images: Sequence[UInt8Image]) -> str:
    sizes = {f"{image.shape[1]}x{image.shape[0]}" for image in images}
    return f"{len(images)} photos of {sizes.pop() if len(sizes) == 1 else 'several sizes'}"
