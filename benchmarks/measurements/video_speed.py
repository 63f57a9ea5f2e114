"""What watching a video costs, by step, beside decoding alone and beside the same pictures through `identify`.

    python -m benchmarks.measurements.video_speed [--faces 1 5] [--seconds 8]

Clips of drawn people who sway, 25 frames a second, H.264; 5 frames a second are looked at. Costs are processor time of
all threads, so that other work on the machine does not count; `by the clock` is for an idle machine. `found within`:
how soon after the last person came in all faces were found; `coverage`: the share of the true faces, in the frames that
were looked at, that have a track.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from tabulate import tabulate

from benchmarks.demo.people import draw_people
from faceid.engine import FaceEngine
from faceid.video.reader import FrameReader, Sampling
from faceid.video.sources import VideoFile
from faceid.video.watcher import Look, Watcher
from faceid.vision.images import UInt8Image
from faceid.vision.photo_list import PersonPhoto
from faceid.vision.picture import Picture
from indexer.decision.decision import user_threshold
from indexer.gallery import Gallery

SIZES = (640, 480), (1280, 720), (1920, 1080)
RATE = 25
ENTER = 1.1  # seconds: when the last person comes in
_STEPS = ("detect", "quality", "align", "embed", "track", "search")

Row = dict[str, object]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--min-face-size", type=int, default=40)
    options = parser.parse_args()
    engine = FaceEngine(min_face_size=options.min_face_size)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        people = [[photo.pixels for photo in photos] for photos in draw_people(max(options.faces), 3, seed=25)]
        with Gallery.open(Path(folder) / "gallery", create=engine.binding) as gallery:
            engine.enroll(gallery, [PersonPhoto(photos[0], f"p{who}") for who, photos in enumerate(people)])
            for size in SIZES:
                for faces in options.faces:
                    clip = Path(folder) / f"{size[1]}-{faces}.mp4"
                    write(clip, [photos[1] for photos in people[:faces]], size, options.seconds)
                    rows += measure(engine, gallery, clip, size, faces, options.seconds)
    print(tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True))


def measure(
    engine: FaceEngine, gallery: Gallery, clip: Path, size: tuple[int, int], faces: int, seconds: int
) -> Iterator[Row]:
    """Yield a row for all frames searched everywhere, and for every fifth."""
    decoding = _seconds_of(lambda: sum(1 for frame in VideoFile(clip).frames() if frame.sketch() is not None))
    threshold = user_threshold(0.45)
    pictures = []
    with FrameReader(VideoFile(clip), Sampling()) as reader:
        while items := reader.take(8):
            pictures += [Picture(item.pixels) for item in items if hasattr(item, "pixels")]
    photos = _seconds_of(lambda: engine.identify(gallery, pictures, threshold))
    for every in (1, 5):
        engine.pipeline.seconds.clear()
        watcher = Watcher(engine, gallery, VideoFile(clip), threshold, full_scan_every=every)
        looks: list[Look] = []
        begin = time.perf_counter()
        spent = _seconds_of(partial(_watch, watcher, looks))
        waited = time.perf_counter() - begin
        found = [(look.frame.seconds, len(look.faces)) for look in looks if look.frame is not None]
        tracks = {face.track for look in looks for face in look.faces}
        true = [(at, faces - 1 + (at >= ENTER)) for at, _ in found]
        covered = sum(min(count, there) for (_, count), (_, there) in zip(found, true, strict=True))
        late = [at - ENTER for at, count in found if at >= ENTER and count >= faces]
        whole = sum(engine.pipeline.seconds[step] for step in _STEPS)
        steps = ", ".join(f"{step} {engine.pipeline.seconds[step] / whole:.0%}" for step in _STEPS)
        yield {
            "picture": f"{size[0]}x{size[1]}",
            "faces": faces,
            "full scan": f"every {every}",
            "a second of video": f"{1000 * spent / seconds:.0f} ms",
            "frames/s and core": f"{seconds * RATE / spent:.0f}",
            "by the clock": f"{1000 * waited / seconds:.0f} ms",
            "to decoding alone": f"{spent / decoding:.1f} x",
            "to identify on the same": f"{spent / photos:.2f} x",
            "last one found within": f"{min(late, default=float('nan')):.2f} s",
            "coverage": f"{covered / max(1, sum(there for _, there in true)):.1%}",
            "tracks": len(tracks),
            "steps": steps,
        }


def write(file: Path, photos: list[UInt8Image], size: tuple[int, int], seconds: int) -> None:
    """Write a clip of people side by side who sway; the last one comes in at ENTER."""
    width, height = size
    random = np.random.default_rng(height)
    ground = np.repeat(np.repeat(random.integers(60, 160, (9, 16, 3)), -(-height // 9), 0), -(-width // 16), 1)
    scene = ground[:height, :width].astype(np.uint8)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE), options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(seconds * RATE):
            picture = scene.copy()
            for place, photo in enumerate(photos):
                if place == len(photos) - 1 and number < ENTER * RATE:
                    continue
                across = width * (place + 0.5) / len(photos) + 12 * np.sin(number / 12 + place)
                step = max(1, -(-photo.shape[1] * len(photos) // width))  # smaller where many stand beside each other
                shown = photo[::step, ::step]
                left = int(np.clip(across - shown.shape[1] / 2, 0, width - shown.shape[1]))
                top = height // 2 - shown.shape[0] // 2
                picture[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _watch(watcher: Watcher, looks: list[Look]) -> None:
    looks += watcher.looks()


def _seconds_of(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


if __name__ == "__main__":
    main()
