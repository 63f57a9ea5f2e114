"""Memory while a camera is watched for a long time, with breaks of its stream.

    python -m benchmarks.measurements.video_memory [--minutes 30] [--break-every 5]

A loopback RTSP server sends two drawn people who come and go; its connections break every few minutes. Resident memory
is told each minute. Two frames a second are looked at.
"""

import argparse
import resource
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.demo.people import draw_people
from faceid.engine import FaceEngine
from faceid.video.heap import HeapKeeper
from faceid.video.reader import Sampling
from faceid.video.sources import open_source
from faceid.video.watcher import Watcher
from faceid.vision.images import UInt8Image
from faceid.vision.photo_list import PersonPhoto
from indexer.decision.decision import user_threshold
from indexer.gallery import Gallery
from tests.faceid.video.rtsp_server import RtspServer

MIB = 2**20


def main() -> None:
    """Watch, and print a line a minute."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--break-every", type=float, default=5, help="minutes")
    options = parser.parse_args()
    engine = FaceEngine(min_face_size=40)
    ann, stranger = ([photo.pixels for photo in photos] for photos in draw_people(2, 4, seed=11))
    events: Counter[str] = Counter()
    with (
        tempfile.TemporaryDirectory() as folder,
        Gallery.open(Path(folder) / "gallery", create=engine.binding) as gallery,
        RtspServer(_come_and_go(ann[3], stranger[3]), rate=10) as camera,
    ):
        engine.enroll(gallery, [PersonPhoto(photo, "Ann") for photo in ann[:3]])
        watcher = Watcher(
            engine, gallery, open_source(camera.url), user_threshold(0.45), sampling=Sampling(fps=2), keep_pictures=True
        )
        begin = told = broke = time.monotonic()
        heap = HeapKeeper()  # as `faceid watch` has one
        for look in watcher.looks():
            heap.look()
            events.update(event.event for event in look.events)
            now = time.monotonic()
            if now - told >= 60:
                told = now
                counts = watcher.source.counts
                print(
                    f"{(now - begin) / 60:.0f} min: {resident() / MIB:.0f} MiB, {threading.active_count()} threads,"
                    f" {counts.decoded} frames, {counts.dropped} dropped, {dict(events)}",
                    flush=True,
                )
            if now - broke >= options.break_every * 60:
                broke = now
                camera.drop()
            if now - begin >= options.minutes * 60:
                watcher.stop()


def resident() -> int:
    """Return the resident memory in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def _come_and_go(ann: UInt8Image, stranger: UInt8Image) -> list[UInt8Image]:
    """Return twelve seconds: Ann, nobody, both, nobody."""
    frames = []
    for number in range(120):
        picture = np.full((240, 400, 3), 90, np.uint8)
        if number < 40 or 60 <= number < 100:
            picture[20:212, 4:196] = ann
        if 60 <= number < 100:
            picture[20:212, 204:396] = stranger
        frames.append(picture)
    return frames


if __name__ == "__main__":
    main()
