"""The report is a picture and the numbers in it."""

import json

import cv2
import pytest

from faceid.calibration_report import write_calibration_report
from indexer.calibration.held_out import AchievedRate, HeldOut, ReliabilityBin

ACHIEVED = (
    AchievedRate(0.1, "measured", 0.4, 21, 200, 0.105, (0.07, 0.155)),
    AchievedRate(0.01, "extrapolated", 0.5, 0, 200, 0.0, (0.0, 0.019)),
    AchievedRate(0.0001, "refused", None, None, 200, None, None),
)


@pytest.mark.parametrize(
    "check",
    [
        HeldOut(
            ACHIEVED,
            (ReliabilityBin(0.05, 0.04, (0.01, 0.1), 150), ReliabilityBin(0.9, 0.95, (0.8, 0.99), 50)),
            0.01,
            0.1,
        ),
        HeldOut(ACHIEVED[2:], remark="0 mated and 200 non-mated searches are too few for a probability"),
    ],
)
def test_the_report_is_a_picture_and_its_numbers(check, tmp_path):
    picture, numbers = write_calibration_report(check, tmp_path / "report")
    assert cv2.imread(str(picture)).shape[1] > 1000
    record = json.loads(numbers.read_text())
    assert record["schema_version"] == 1
    assert [one["basis"] for one in record["achieved"]] == [one.basis for one in check.achieved]
    assert len(record["reliability"]) == len(check.reliability)
