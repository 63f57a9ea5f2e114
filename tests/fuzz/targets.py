"""What is fuzzed: readers of files from outside, the kind of error that each may raise, good files to begin with.

The seeds are made here; nothing is stored.
"""

import io
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from PIL import Image

from benchmarks.formats.insightface_bin import BinError, read_bin
from benchmarks.formats.megaface_devkit import DevkitError, read_devkit_results, read_feature, read_photo_list
from benchmarks.protocols.errors import ProtocolError
from benchmarks.protocols.lfw import read_pairs
from faceid.cli import cli as faceid_command
from faceid.cli.config import read_settings
from faceid.feature_set import FeatureError
from faceid.models.model_file import ONNX, ModelError, ModelSpec, read_model, verify_weights, write_model
from faceid.models.onnx_import import read_onnx
from faceid.vision.alignment import centre_points
from faceid.vision.images import ImageError, decode
from faceid.vision.photo_list import PhotoListError, photos_of_manifest
from indexer.errors import GalleryError
from indexer.gallery import Gallery
from indexer.records import ModelBinding, NewTemplate
from indexer.store.transfer import read_export
from tests.faceid.hand_made_network import corner_network
from training.config import read_yaml
from training.data.pack import read_packs
from training.data.recordio import open_records
from training.data.shards import open_shards
from training.errors import ConfigError, DataError

SIDE = 8


@dataclass(frozen=True)
class Target:
    """A reader of bytes, the errors it may raise, and sound input."""

    read: Callable[[bytes], None]
    expected: type[Exception] | tuple[type[Exception], ...]
    seeds: Callable[[], list[bytes]]

    def run(self, data: bytes) -> bool:
        """Read the data; return whether it was taken. Whatever else than the expected errors comes out is a fault."""
        try:
            self.read(data)
        except self.expected:
            return False
        return True


def in_a_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], None]:
    """Let a reader of files read bytes."""

    def reader(data: bytes) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            read(path)

    return reader


def read_photo_bytes(data: bytes) -> None:
    """Decode; what comes out must be a picture."""
    pixels = decode(data, "photo").rgb
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.size


def read_records(data: bytes) -> None:
    """Read a .rec and its .idx: two bytes of the index's length, the index, the records."""
    length = int.from_bytes(data[:2], "little")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "train.rec"
        path.with_suffix(".idx").write_bytes(data[2 : 2 + length])
        path.write_bytes(data[2 + length :])
        faces = open_records([path], side=SIDE)
        try:
            for index in range(min(len(faces.keys), 8)):
                faces.read(np.array([index]))
        finally:
            for descriptor in faces.descriptors:
                os.close(descriptor)


def read_tars(path: Path) -> None:
    """Read a tar as shards and as a pack: it is at most one of them."""
    with suppress(DataError):
        faces = open_shards([path], side=SIDE)
        try:
            faces.read(np.arange(min(len(faces.labels), 8)))
        finally:
            for descriptor in faces.descriptors:
                os.close(descriptor)
    read_packs([path], side=SIDE)


def read_tree_files(path: Path) -> None:
    """Read a file of a devkit tree as each of what it may be."""
    for read in (read_feature, read_photo_list, read_devkit_results):
        with suppress(FeatureError, DevkitError):
            read(path)


def read_settings_file(path: Path) -> None:
    """Read a settings file, and fit it to commands."""
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        settings = read_settings()
    finally:
        os.chdir(here)
    assert settings is not None
    context = click.Context(faceid_command)
    settings.check_tables(faceid_command.list_commands(context))
    for name in ("enroll", "identify", "gallery"):
        command = faceid_command.get_command(context, name)
        assert command is not None
        settings.of(name, command)


def rich_photos() -> list[bytes]:
    """Photos that a process of its own decodes."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 16, 3), np.uint8))
    deep = Image.fromarray(np.arange(384, dtype=np.uint16).reshape(24, 16) * 100)
    written = [(picture, "TIFF", {"compression": kind}) for kind in ("raw", "tiff_lzw", "jpeg", "tiff_adobe_deflate")]
    written += [(picture, kind, {}) for kind in ("GIF", "JPEG2000", "AVIF")]
    return [_saved(image, kind, **settings) for image, kind, settings in [*written, (deep, "TIFF", {})]]


def usual_photos() -> list[bytes]:
    """Photos that are decoded here."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 16, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    jpegs: list[dict[str, object]] = [
        {"exif": exif},
        {"progressive": True},
        {"subsampling": 0, "restart_marker_blocks": 1},
    ]
    photos = [_saved(picture, "JPEG", quality=85, **settings) for settings in jpegs]
    photos += [_saved(picture, "PNG", exif=exif), _saved(picture.convert("P"), "PNG", transparency=3)]
    photos += [_saved(picture, "WEBP", lossless=True, exif=exif), _saved(picture, "WEBP", quality=50)]
    return [*photos, _saved(picture, "BMP"), _saved(picture, "PPM"), _saved(picture.convert("L"), "PPM")]


def _saved(image: Image.Image, kind: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.copy().save(buffer, kind, **settings)
    return buffer.getvalue()


def _face() -> bytes:
    return _saved(Image.fromarray(np.full((SIDE, SIDE, 3), 90, np.uint8)), "PNG")


def _written(name: str, write: Callable[[Path], object]) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path)
        return path.read_bytes()


def _records() -> list[bytes]:
    payload = struct.pack("<IfQQ", 0, 1, 0, 0) + _face()
    whole = struct.pack("<II", 0xCED7230A, len(payload)) + payload + bytes(-len(payload) % 4)
    index = f"1\t0\n2\t{len(whole)}\n".encode()
    return [len(index).to_bytes(2, "little") + index + whole + whole]


def _tars() -> list[bytes]:
    made = []
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        for files in ({"ann/1.png": _face()}, {"a/1.png": _face(), "a/1.cls": b"ann"}):
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
                for name, data in files.items():
                    member = tarfile.TarInfo(name)
                    member.size, member.mtime = len(data), 0.5 if form == tarfile.PAX_FORMAT else 0
                    tar.addfile(member, io.BytesIO(data))
            made.append(buffer.getvalue()[:4096])
    return made


def _exports() -> list[bytes]:
    vector = np.zeros(4, np.float32)
    vector[0] = 1
    template = NewTemplate("Ann", None, vector, "a.jpg", bytes(32), (0, 0, 9, 9), 0.9, 0.5, "float32")
    with TemporaryDirectory() as folder, Gallery.create(Path(folder) / "g", ModelBinding("m", "0" * 64, 4)) as gallery:
        gallery.add([template])
        gallery.export(Path(folder) / "export.parquet")
        return [(Path(folder) / "export.parquet").read_bytes()]


def _model_files() -> list[bytes]:
    network = _networks()[0]
    spec = ModelSpec(
        "m", ONNX, {"batch": None}, (SIDE, SIDE), "rgb", 0.0, 1.0, centre_points(SIDE, SIDE), "none", 2, "t", "l"
    )
    return [_written("m.safetensors", lambda p: write_model(p, spec, {ONNX: np.frombuffer(network, np.uint8)}))]


def _networks() -> list[bytes]:
    return [_written("n.onnx", corner_network)]


def _check_model(path: Path) -> None:
    verify_weights(read_model(path))


def _import_network(path: Path) -> None:
    read_onnx(path, "mine", input_size=(SIDE, SIDE))


TARGETS = {
    "photos": Target(read_photo_bytes, ImageError, usual_photos),
    "rich-photos": Target(read_photo_bytes, ImageError, rich_photos),
    "models": Target(in_a_file("m.safetensors", _check_model), ModelError, _model_files),
    "networks": Target(in_a_file("n.onnx", _import_network), ModelError, _networks),
    "bin": Target(
        in_a_file("lfw.bin", read_bin),
        BinError,
        lambda: [pickle.dumps(([b"one", b"two"], [True]), protocol) for protocol in (3, 4, 5)],
    ),
    "records": Target(read_records, DataError, _records),
    "tars": Target(in_a_file("faces.tar", read_tars), DataError, _tars),
    "devkit": Target(
        in_a_file("list.json", read_tree_files),
        (),
        lambda: [
            struct.pack("<4i2f", 2, 1, 4, 5, 1, 0),
            b'{"path": ["a/b.jpg"], "id": ["a"]}',
            b'{"cmc": [[0, 1], [0.5, 1]]}',
        ],
    ),
    "parquet": Target(in_a_file("export.parquet", lambda path: read_export(path, None)), GalleryError, _exports),
    "settings": Target(
        in_a_file("faceid.toml", read_settings_file),
        click.UsageError,
        lambda: [b'gallery = "~/g"\n[identify]\ntop-k = 3\n[models.list]\njson = true\n'],
    ),
    "manifests": Target(
        in_a_file("people.csv", photos_of_manifest),
        PhotoListError,
        lambda: [b'path,name,external_id\n"a,b.jpg",Ann,7\nc.jpg,"B ""C""",\n', b"\xef\xbb\xbfpath,name\na,b\n"],
    ),
    "pairs": Target(
        in_a_file("pairs.txt", read_pairs), ProtocolError, lambda: [b"2\t1\nAnn\t1\t2\nAnn\t1\tBob\t1\n" * 2]
    ),
    "configs": Target(
        in_a_file("config.yaml", read_yaml), ConfigError, lambda: [b"a: {b: [1, 2.5, x], c: &d 2026-11-26}\ne: *d\n"]
    ),
}
