"""Photos of a set as the engine sees them: a feature file, and which photos enrolment would refuse.

    python -m benchmarks.measurements.photos_seen FOLDER --model NAME -o FEATURES.npz --refused REFUSED.txt

The face in the centre of each photo, by the default detector; each photo is a person of its own, named by its path. Who
is in the set twice, `each_once` finds. Photos that enrolment refuses (faces turned away, blurred, small) are no
templates in `asked_and_got --refused REFUSED.txt`, but strangers may come so.
"""

import argparse
from pathlib import Path

import numpy as np

from faceid.engine import DEFAULT_LIMITS, FaceEngine
from faceid.feature_file import write_features
from faceid.vision.photo_list import photos_in


def main() -> None:
    """Write both files; print how many photos there are of each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--refused", type=Path, required=True)
    options = parser.parse_args()
    engine = FaceEngine(options.model)
    photos = list(photos_in(options.folder))
    found = [(one.picture.source, face) for one in engine.analyse(photos, "centre") for face in one.faces]
    paths = [path for path, _ in found]
    write_features(options.output, np.stack([face.vector for _, face in found]), paths, paths, engine.binding)
    refused = [path for path, face in found if face.quality.reason_codes(DEFAULT_LIMITS)]
    options.refused.write_text("".join(f"{path}\n" for path in refused), encoding="utf-8")
    print(f"{len(photos)} photos, {len(found)} with a face, {len(refused)} of them refused by enrolment")


if __name__ == "__main__":
    main()
