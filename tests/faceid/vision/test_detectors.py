"""Detectors by name, of ours and plugged in; each keeps the contract."""

import os
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import pytest

from benchmarks.demo.people import draw_people
from faceid.engine import FaceEngine
from faceid.vision import detectors
from faceid.vision.detection import DetectorError, Faces
from faceid.vision.detectors import detector_names, make_detector
from faceid.vision.images import UInt8Image
from faceid.vision.mtcnn import MtcnnDetector
from faceid.vision.yunet import YuNetDetector
from tests.faceid.vision.detector_contract import check_detector


@pytest.fixture(scope="module")
def photos() -> list[UInt8Image]:
    return [photo.pixels for photos in draw_people(3, 1, seed=12) for photo in photos]


def test_mtcnn_keeps_the_contract(photos: list[UInt8Image]) -> None:
    check_detector(MtcnnDetector(), photos)


def test_yunet_keeps_the_contract(shared: Path, photos: list[UInt8Image]) -> None:
    check_detector(YuNetDetector(shared / "weights" / "yunet.onnx"), photos)


def test_yunet_finds_a_face_that_fills_a_large_photo_and_small_ones_in_it(
    shared: Path, photos: list[UInt8Image]
) -> None:
    yunet = YuNetDetector(shared / "weights" / "yunet.onnx")
    large = photos[0].repeat(8, axis=0).repeat(8, axis=1)
    (near,) = yunet.detect([large])
    (own,) = yunet.detect([photos[0]])
    assert np.allclose(near.landmarks[0], own.landmarks[0] * 8, atol=0.05 * near.boxes[0, 2])
    small = np.full((1200, 1600, 3), 128, np.uint8)
    small[700 : 700 + photos[0].shape[0], 1300 : 1300 + photos[0].shape[1]] = photos[0]
    (far,) = yunet.detect([small])
    assert np.allclose(far.landmarks[0], own.landmarks[0] + (1300, 700), atol=0.2 * own.boxes[0, 2])


def test_faces_below_the_smallest_size_are_left_out(shared: Path, photos: list[UInt8Image]) -> None:
    weights = shared / "weights" / "yunet.onnx"
    (all_of_them,) = YuNetDetector(weights, 1).detect(photos[:1])
    width, height = all_of_them.boxes[0, 2:]
    assert len(YuNetDetector(weights, int(min(width, height)) + 2).detect(photos[:1])[0]) == 0


def test_an_engine_answers_with_the_detector_that_it_is_given(
    shared: Path, drawn_people: Path, shipped_engine: FaceEngine
) -> None:
    weights = shared / "weights" / "yunet.onnx"
    engine = FaceEngine(detector="yunet", detector_weights=weights)
    assert engine.detector_digest == YuNetDetector(weights).digest != shipped_engine.detector_digest
    photo = drawn_people / "person-0001" / "1.jpg"
    (theirs,), (ours,) = engine.analyse(photo), shipped_engine.analyse(photo)
    assert float(theirs.faces[0].vector @ ours.faces[0].vector) > 0.8, "the same face, aligned a little differently"


class Blind:
    """A detector of somebody else's that finds nobody."""

    digest = "0" * 64

    def detect(self, images: list[UInt8Image]) -> list[Faces]:
        return [Faces.none() for _ in images]


def make_blind(**_: object) -> Blind:
    return Blind()


def test_a_package_plugs_a_detector_in(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged = EntryPoints(
        [
            EntryPoint("blind", "tests.faceid.vision.test_detectors:make_blind", detectors.GROUP),
            EntryPoint("broken", "tests.faceid.vision.test_detectors:nonesuch", detectors.GROUP),
        ]
    )
    monkeypatch.setattr(detectors, "entry_points", lambda **chosen: plugged.select(**chosen))
    assert detector_names() == ["mtcnn", "yunet", "blind", "broken"]
    assert isinstance(make_detector("blind", device="cpu", min_face_size=20, weights=None), Blind)
    with pytest.raises(DetectorError, match=r"'broken' of tests.* cannot be loaded"):
        make_detector("broken", device="cpu", min_face_size=20, weights=None)


def test_what_a_detector_of_somebody_elses_raises_is_told_with_its_name() -> None:
    class Broken(Blind):
        def detect(self, images: list[UInt8Image]) -> list[Faces]:
            raise KeyError("weights")

    engine = FaceEngine(detector=Broken())
    with pytest.raises(DetectorError, match="the detector Broken failed on 1 photos: KeyError"):
        engine.analyse(np.zeros((30, 30, 3), np.uint8))


def test_a_detector_that_gives_another_number_of_answers_is_told_with_its_name() -> None:
    class Short(Blind):
        def detect(self, images: list[UInt8Image]) -> list[Faces]:
            return []

    with pytest.raises(DetectorError, match=r"the detector Short failed on 1 photos: .*0 answers"):
        FaceEngine(detector=Short()).analyse(np.zeros((30, 30, 3), np.uint8))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"name": "nonesuch"}, "no detector 'nonesuch'; choose one of mtcnn, yunet"),
        ({"name": "yunet"}, "name the file with --detector-weights"),
        ({"name": "yunet", "weights": Path("nowhere.onnx")}, "nowhere.onnx: the detector's weights cannot be read"),
        ({"name": "yunet", "device": "cuda"}, "YuNet runs on the processor"),
        ({"name": "mtcnn", "weights": Path("x")}, "MTCNN runs with the published weights"),
    ],
)
def test_a_detector_that_cannot_be_had_says_what_to_do(settings: dict[str, object], says: str) -> None:
    with pytest.raises(DetectorError, match=says):
        make_detector(**({"device": "cpu", "min_face_size": 20, "weights": None} | settings))


def test_a_file_that_is_no_yunet_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no network")
    with pytest.raises(DetectorError, match=r"x\.onnx: not a YuNet"):
        YuNetDetector(tmp_path / "x.onnx")


def test_a_pipe_in_the_place_of_weights_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.onnx")
    with pytest.raises(DetectorError, match=r"x\.onnx: the detector's weights cannot be read .*not a regular file"):
        YuNetDetector(tmp_path / "x.onnx")
