"""The calibration report of a gallery with several photos a person, on LFW, through the command line.

    python -m benchmarks.measurements.lfw_calibration LFW.tar MODEL

The people of half B (see `lfw_engine`) who have several photos are enrolled with the first three of them; those who
have one are the strangers. Of the people, one half sets what the other half reports.
"""

import argparse
import json
from pathlib import Path

from benchmarks.measurements.lfw_engine import faceid, first_photos, link, split, unpack

PHOTOS_EACH = 3


def main() -> None:
    """Enrol, calibrate, and print what the report says; everything is kept in the work folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lfw_tar", type=Path)
    parser.add_argument("model")
    parser.add_argument("--work", type=Path, default=Path("runs/lfw"), help="folder for photos, galleries and reports")
    options = parser.parse_args()

    half = split(unpack(options.lfw_tar, options.work / "photos"), "B")
    work = options.work / f"calibration-{Path(options.model).stem}"
    people = link((photo for person in half.several for photo in first_photos(person, PHOTOS_EACH)), work / "people")
    strangers = link((photo for person in half.single for photo in first_photos(person, 1)), work / "strangers")
    at = ("--gallery", work / "gallery", "--faces", "centre")
    faceid("enroll", people, *at, "--model", options.model)
    faceid("calibrate", *at, "--strangers", strangers, "--report", work / "report")
    report = json.loads((work / "report" / "calibration.json").read_text())
    print(f"Brier {report['brier']:.3f}, log loss {report['log_loss']:.3f}")
    for point in report["achieved"]:
        print(f"FPIR {point['fpir']:g} asked, {point['rate']:.4f} got ({point['alarms']} of {point['searches']})")


if __name__ == "__main__":
    main()
