"""Frame folders and a list of pairs as YouTube Faces has them, of photos that there are: for `faceid benchmark ytf`.

    python -m benchmarks.measurements.video_pairs WORK --lfw DATA/lfw.tar --people 60
    faceid benchmark ytf WORK/frames --splits WORK/splits.txt --tracks --min-face-size 40 -o WORK/tracks
    faceid benchmark ytf WORK/frames --splits WORK/splits.txt --min-face-size 40 -o WORK/largest

People of LFW's half B with two photos, a video of each: the photo moves, and somebody else stands beside it, as large.
Whose video it is stands in NAME.labeled_faces.txt. Of the pairs half show the same person; ten splits.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.inputs.video_templates import LABELS
from benchmarks.measurements.lfw_engine import half_of, unpack
from faceid.vision.images import UInt8Image

FRAMES, HEIGHT, WIDTH = 6, 220, 420


def main() -> None:
    """Write the frames, the boxes and the pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--lfw", type=Path, required=True)
    parser.add_argument("--people", type=int, default=60)
    options = parser.parse_args()
    folders = [
        path for path in sorted(unpack(options.lfw, options.work / "photos").iterdir()) if half_of(path.name) == "B"
    ]
    photos = {path.name: sorted(path.glob("*.jpg"))[:2] for path in folders}
    random = np.random.default_rng(2011)
    several = [name for name in photos if len(photos[name]) == 2]
    names = [several[place] for place in random.permutation(len(several))[: options.people]]
    others = [photos[name][0] for name in photos if name not in names]
    root = options.work / "frames"
    for name in names:
        labels = []
        for video, photo in enumerate(photos[name]):
            beside = others[int(random.integers(len(others)))]
            labels += _write(root / name / str(video), _pixels(photo), _pixels(beside), random)
        (root / f"{name}{LABELS}").write_text("".join(f"{name}\\{line}\n" for line in labels))
    lines = ["split number, pair number, first name, second name, is same?, is same"]
    for number, name in enumerate(names):
        split, other = number % 10 + 1, names[(number + 1) % len(names)]
        lines.append(f"{split}, {2 * number + 1}, {name}/0, {name}/1, 1, 1")
        lines.append(f"{split}, {2 * number + 2}, {name}/0, {other}/1, 0, 0")
    (options.work / "splits.txt").write_text("\n".join(lines) + "\n")


def _write(folder: Path, person: UInt8Image, beside: UInt8Image, random: np.random.Generator) -> list[str]:
    """Write a video's frames; return the lines of its boxes, without the name."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    swapped = bool(random.integers(2))
    first = int(random.integers(1, 100))
    for number in range(first, first + FRAMES):
        picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        sway, y = 2 * (number - first), 14
        left, right = (beside, person) if swapped else (person, beside)
        picture[y : y + 192, sway : sway + 192] = left
        picture[y : y + 192, 212 + sway : 212 + sway + 192] = right
        Image.fromarray(picture).save(folder / f"0.{number}.jpg", quality=92)
        middle = sway + 96 + (212 if swapped else 0)
        lines.append(f"{folder.name}\\0.{number}.jpg,0,{middle},{y + 96},90,110,0,0")
    return lines


def _pixels(path: Path) -> UInt8Image:
    return np.asarray(Image.open(path).convert("RGB"), np.uint8)


if __name__ == "__main__":
    main()
