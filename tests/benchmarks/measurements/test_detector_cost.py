"""The other detector finds the faces that ours finds, its points in our order; the comparison runs whole."""

from pathlib import Path

import numpy as np
from click.testing import CliRunner

from benchmarks.measurements.detector_cost import main
from faceid.vision.detection import select_faces
from faceid.vision.images import read_photo
from faceid.vision.mtcnn import MtcnnDetector
from faceid.vision.yunet import YuNetDetector


def test_yunet_and_mtcnn_place_the_same_points(lfw_people: Path, shared: Path) -> None:
    photos = [read_photo(path).pixels for path in sorted(lfw_people.glob("*/*_0001.jpg"))[:4]]
    mtcnn, yunet = MtcnnDetector(), YuNetDetector(shared / "weights" / "yunet.onnx")
    for one, other in zip(mtcnn.detect(photos), yunet.detect(photos), strict=True):
        points = [select_faces(faces, "centre", (250, 250)).landmarks[0] for faces in (one, other)]
        assert np.abs(points[0] - points[1]).max() < 8  # pixels; the eyes are some 40 apart
    assert len(yunet.detect([np.zeros((80, 80, 3), np.uint8)])[0]) == 0


def test_each_detector_is_measured(lfw_people: Path, shared: Path, tmp_path: Path) -> None:
    ann, bob = sorted(folder.name for folder in lfw_people.iterdir())[:2]
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("2\t1\n" + f"{ann}\t1\t2\n{ann}\t1\t{bob}\t1\n{bob}\t1\t2\n{ann}\t2\t{bob}\t2\n")
    weights = shared / "weights" / "yunet.onnx"
    result = CliRunner().invoke(main, [str(lfw_people), str(pairs), str(weights), "sphereface"])
    assert result.output.splitlines() == [f"sphereface  {name}  100.00 +- 0.00 %" for name in ("MTCNN", "YuNet")]
