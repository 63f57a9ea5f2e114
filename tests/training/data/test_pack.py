"""Packs become one array, in an order of their own, or the reader says which face is wrong."""

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from faceid.vision.broken_crops import shows_a_face
from training.data.pack import read_packs
from training.errors import DataError


def encoded(colour: tuple[int, int, int], side: int = 16) -> bytes:
    rgb = np.full((side, side, 3), colour, np.uint8)
    return bytes(cv2.imencode(".webp", rgb[:, :, ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101])[1])


def png(face: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", face)[1])


def write(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, payload in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(payload)
            tar.addfile(member, io.BytesIO(payload))
    return path


def test_faces_of_several_packs_are_read_as_rgb_with_labels_by_person(tmp_path: Path) -> None:
    first = write(tmp_path / "1.tar", {"zoe/1.webp": encoded((255, 0, 0)), "ann/1.webp": encoded((0, 255, 0))})
    second = write(tmp_path / "2.tar", {"ann/0.webp": encoded((0, 0, 255))})
    pack = read_packs([first, second], side=16)
    assert pack.identities == ("ann", "zoe")
    assert pack.labels.tolist() == [0, 0, 1]
    assert pack.images.shape == (3, 16, 16, 3)
    assert pack.images[:, 0, 0].tolist() == [[0, 0, 255], [0, 255, 0], [255, 0, 0]]


def test_the_order_of_packs_and_of_files_does_not_matter(tmp_path: Path) -> None:
    faces = {f"p{index % 3}/{index}.webp": encoded((index * 20, 0, 0)) for index in range(9)}
    whole = write(tmp_path / "whole.tar", faces)
    back = write(tmp_path / "back.tar", dict(reversed(faces.items())))
    one, other = read_packs([whole], side=16), read_packs([back], side=16)
    assert np.array_equal(one.images, other.images)
    assert np.array_equal(one.labels, other.labels)


def test_a_pack_that_does_not_fit_the_memory_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    pack = write(tmp_path / "a.tar", {f"ann/{index}.webp": b"never decoded" for index in range(10)})
    with pytest.raises(DataError, match="10 faces of 16x16 take"):
        read_packs([pack], side=16, memory_limit=9 * 16 * 16 * 3)


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    pack = write(tmp_path / "a.tar", {"ann/0.webp": encoded((1, 2, 3)), "ann/1.webp": b"not an image"})
    with pytest.raises(DataError, match=r"ann/1\.webp .* is not an image"):
        read_packs([pack], side=16)


def test_a_face_of_another_size_is_named(tmp_path: Path) -> None:
    pack = write(tmp_path / "a.tar", {"ann/0.webp": encoded((1, 2, 3), side=20)})
    with pytest.raises(DataError, match=r"ann/0\.webp is 20x20 pixels, the config says 16x16"):
        read_packs([pack], side=16)


def test_a_face_of_nobody_is_named(tmp_path: Path) -> None:
    pack = write(tmp_path / "a.tar", {"0.webp": encoded((1, 2, 3))})
    with pytest.raises(DataError, match=r"0\.webp in .*a\.tar has no identity"):
        read_packs([pack], side=16)


def test_a_missing_and_a_torn_and_an_empty_pack_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.tar"):
        read_packs([tmp_path / "none.tar"], side=16)
    torn = write(tmp_path / "torn.tar", {"ann/0.webp": encoded((1, 2, 3)) * 100})
    torn.write_bytes(torn.read_bytes()[:700])
    with pytest.raises(DataError, match=r"torn\.tar"):
        read_packs([torn], side=16)
    with pytest.raises(DataError, match="no faces in"):
        read_packs([write(tmp_path / "empty.tar", {})], side=16)


def test_crops_that_show_no_face_are_left_out_with_those_who_have_no_other(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    busy, flat = random.integers(0, 256, (16, 16, 3)).astype(np.uint8), np.full((16, 16, 3), 90, np.uint8)
    half = np.where(np.arange(16)[:, None, None] < 8, busy, flat)  # the lower half is a wall
    files = {"ann/0.png": png(busy), "ann/1.png": png(half), "bob/0.png": png(flat), "zoe/0.png": png(busy)}
    pack = write(tmp_path / "a.tar", files)
    faces = read_packs([pack], side=16, only_faces=True)
    assert (faces.identities, faces.labels.tolist(), faces.left_out) == (("ann", "zoe"), [0, 1], 2)
    assert faces.names == ("ann/0.png", "zoe/0.png")
    assert np.array_equal(faces.images[0], busy[:, :, ::-1])
    whole = read_packs([pack], side=16)
    assert len(whole.labels) == 4
    assert whole.digest != faces.digest
    with pytest.raises(DataError, match="shows a face"):
        read_packs([write(tmp_path / "b.tar", {"bob/0.png": png(flat)})], side=16, only_faces=True)


def test_a_face_is_told_from_a_wall_by_its_flattest_quarter() -> None:
    """Grey levels a +- d have standard deviation d: 8 is the limit."""
    for difference, expected in ((7, False), (9, True)):
        checks = 128 + difference * (2 * (np.indices((120, 120)).sum(0) % 2) - 1)
        face = np.repeat(checks[:, :, None], 3, 2).astype(np.uint8)
        assert shows_a_face(face) is expected
    face[75:, 60:] = 128
    assert not shows_a_face(face)


@pytest.mark.slow
def test_the_validation_pack_holds_300_people(shared: Path) -> None:
    pack = read_packs([shared / "data" / "faces-003.tar"], side=120)
    assert len(pack.identities) == 300
    assert pack.images.shape == (6572, 120, 120, 3)
