"""Folders of frames as published: one template a video, of the person whose it is."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.inputs.video_templates import video_features
from faceid.engine import FaceEngine
from faceid.feature_set import FeatureError
from faceid.vision.images import UInt8Image
from tests.faceid.video.clips import people, scene


@pytest.fixture(scope="module")
def shipped_engine() -> FaceEngine:
    return FaceEngine(min_face_size=40)


@pytest.fixture(scope="module")
def faces() -> list[list[UInt8Image]]:
    return [[photo.pixels for photo in photos] for photos in people(3, 2, seed=11)]


def write_frames(folder: Path, frames: list[UInt8Image], first: int) -> None:
    folder.mkdir(parents=True)
    for number, pixels in enumerate(frames, start=first):
        Image.fromarray(pixels).save(folder / f"0.{number}.jpg")


@pytest.mark.slow
def test_a_videos_template_is_that_of_the_person_in_the_published_boxes(
    shipped_engine: FaceEngine, faces: list[list[UInt8Image]], tmp_path: Path
) -> None:
    ann, bob, other = faces
    # Somebody else is there all the time, Ann on the right in some of the frames.
    beside = scene(
        [([other[0]], lambda _: (-40, 20)), ([ann[0]], lambda number: (150, 20) if number >= 3 else None)], 7
    )
    write_frames(tmp_path / "Ann" / "0", beside, first=98)
    write_frames(tmp_path / "Ann" / "1", scene([([ann[1]], lambda _: (60, 20))], 4), first=1)
    write_frames(tmp_path / "Bob" / "0", scene([([bob[0]], lambda _: (60, 20))], 4), first=1)
    (tmp_path / "Bob" / "1").mkdir()
    lines = [f"Ann\\0\\0.{number}.jpg,0,246,116,90,110,0,0" for number in range(101, 105)]
    lines += [f"Ann\\1\\0.{number}.jpg,0,156,116,90,110,0,0" for number in range(1, 5)]
    (tmp_path / "Ann.labeled_faces.txt").write_text("\n".join(lines) + "\n")

    features = video_features(tmp_path, shipped_engine)
    assert features.paths.tolist() == ["Ann/0/track", "Ann/1/track", "Bob/0/track"]
    assert np.linalg.norm(features.features, axis=1) == pytest.approx(1, abs=1e-5)
    alike = features.features @ features.features.T
    assert alike[0, 1] > 0.5 > max(alike[0, 2], alike[1, 2])
    assert "1 of 4 folders gave none" in features.notes[-1]

    (tmp_path / "Ann.labeled_faces.txt").unlink()
    without = video_features(tmp_path, shipped_engine)
    assert (without.features @ features.features.T)[0, 0] < 0.5  # now it is the other, who is seen most

    (tmp_path / "Ann.labeled_faces.txt").write_text("Ann\\0\\0.98.jpg,0,left\n")
    with pytest.raises(FeatureError, match="line 1: not `frame"):
        video_features(tmp_path, shipped_engine)


def test_boxes_that_are_no_text_are_an_error(shipped_engine: FaceEngine, tmp_path: Path) -> None:
    write_frames(tmp_path / "Ann" / "0", [np.zeros((64, 64, 3), np.uint8)], first=1)
    (tmp_path / "Ann.labeled_faces.txt").write_bytes(b"Jos\xe9\\0\\0.1.jpg,0,1,1,1,1\n")
    with pytest.raises(FeatureError, match=r"labeled_faces\.txt: cannot be read as text"):
        video_features(tmp_path, shipped_engine)


def test_a_folder_without_videos_is_an_error(shipped_engine: FaceEngine, tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="no video with a face in it"):
        video_features(tmp_path, shipped_engine)
