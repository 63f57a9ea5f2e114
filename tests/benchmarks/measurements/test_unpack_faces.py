"""Faces of a pack become files in a folder for each person; walls and broken pictures do not."""

from pathlib import Path

import numpy as np

from benchmarks.measurements.unpack_faces import unpack_faces
from tests.training.data.test_pack import encoded, png, write


def test_crops_that_show_no_face_and_pictures_that_are_broken_are_left_out(tmp_path: Path) -> None:
    face = png(np.random.default_rng(0).integers(0, 256, (120, 120, 3)).astype(np.uint8))
    wall = encoded((90, 90, 90), side=120)
    files = {"ann/0.png": face, "ann/1.webp": wall, "bob/0.webp": wall, "bob/1.png": face[:90]}
    pack = write(tmp_path / "a.tar", files)
    assert unpack_faces(pack, tmp_path / "faces") == (1, 3)
    assert [path for path in (tmp_path / "faces").rglob("*") if path.is_file()] == [tmp_path / "faces/ann/0.png"]
    assert (tmp_path / "faces/ann/0.png").read_bytes() == face
