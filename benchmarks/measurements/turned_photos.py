"""What the detector makes of photos that are turned without saying so, and what trying four directions costs and mends.

python -m benchmarks.measurements.turned_photos FOLDER [--photos 200]
"""

import argparse
import random
import time
from pathlib import Path

import numpy as np

from faceid.vision.images import ImageError, UInt8Image, read_photo
from faceid.vision.mtcnn import MtcnnDetector
from faceid.vision.photo_list import photos_in
from faceid.vision.turning import Turned, look_in_all_directions

BATCH = 20


def main() -> None:
    """Print a line for each direction: found as stored, and with all directions tried."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=200)
    arguments = parser.parse_args()
    images = _images(arguments.folder, arguments.photos)
    detector = MtcnnDetector()
    print(f"{len(images)} photos; a face is right if it is found with the photo's direction and a score that is sure")
    for quarters in range(4):
        turned = [np.ascontiguousarray(np.rot90(image, -quarters)) for image in images]
        start = time.process_time()
        found = [faces for i in range(0, len(turned), BATCH) for faces in detector.detect(turned[i : i + BATCH])]
        alone = time.process_time() - start
        results = look_in_all_directions(detector.detect, turned, found, detector.sure_score)
        spent = time.process_time() - start
        best = np.array([faces.scores.max(initial=0) for faces in found])
        quantiles = np.quantile(best, [0.01, 0.05, 0.5, 0.95, 0.99]).round(3).tolist()
        print(
            f"turned {90 * quarters:3}: best scores at 1, 5, 50, 95, 99 % {quantiles}, none {np.mean(best == 0):.1%}; "
            f"with all directions right {_right(results, quarters):.1%}, other {_other(results, quarters):.1%}; "
            f"CPU {spent / alone:.2f} times"
        )


def _images(folder: Path, most: int) -> list[UInt8Image]:
    paths = [picture.path for picture in photos_in(folder) if picture.path is not None]
    images = []
    for path in random.Random(0).sample(paths, min(most, len(paths))):
        try:
            images.append(read_photo(path).pixels)
        except ImageError as error:
            print(error)
    return images


def _right(results: list[Turned], quarters: int) -> float:
    return float(np.mean([len(each.faces) > 0 and each.quarters == quarters for each in results]))


def _other(results: list[Turned], quarters: int) -> float:
    return float(np.mean([len(each.faces) > 0 and each.quarters != quarters for each in results]))


if __name__ == "__main__":
    main()
