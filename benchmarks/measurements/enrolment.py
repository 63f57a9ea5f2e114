"""How fast and how steadily `faceid enroll` works.

    python -m benchmarks.measurements.enrolment speed|soak LFW.tar MODEL

`speed` enrols photos of 192x192 and of 640x480 pixels and prints photos per second, seconds by step and peak memory.
`soak` enrols all of LFW (13,233 photos) in one run that is killed half-way and started again, and prints the memory
over the run, what the second run had to do, and what `gallery check` finds.
"""

import argparse
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image, ImageFilter

from benchmarks.measurements.lfw_engine import first_photos, link, unpack
from indexer.errors import GalleryError
from indexer.gallery import Gallery

PHOTOS_OF_EACH_SIZE = {"192x192": 1000, "640x480": 250}


def main() -> None:
    """Run one of the two measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurement", choices=["speed", "soak"])
    parser.add_argument("lfw_tar", type=Path)
    parser.add_argument("model")
    parser.add_argument("--work", type=Path, default=Path("runs/lfw"), help="folder for photos and galleries")
    options = parser.parse_args()
    photos = unpack(options.lfw_tar, options.work / "photos")
    if options.measurement == "speed":
        for size, count in PHOTOS_OF_EACH_SIZE.items():
            measure_speed(size, people_of_size(photos, size, count, options.work / size), options.model)
    else:
        soak(photos, options.work / "soak", options.model)


def people_of_size(photos: Path, size: str, count: int, folder: Path) -> Path:
    """Make a folder of people with one photo each: LFW's own, or the same enlarged in a 640x480 picture."""
    chosen = [photo for person in sorted(photos.iterdir())[:count] for photo in first_photos(person, 1)]
    if size == "192x192":
        return link(chosen, folder)
    for photo in chosen:
        target = folder / photo.parent.name / photo.name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            enlarge(Image.open(photo)).save(target, quality=92)
    return folder


def enlarge(photo: Image.Image) -> Image.Image:
    """Return a 640x480 picture: the photo at twice its size before a blurred copy of itself."""
    picture = photo.resize((640, 640), Image.Resampling.BICUBIC).crop((0, 80, 640, 560))
    picture = picture.filter(ImageFilter.GaussianBlur(12))
    picture.paste(photo.resize((384, 384), Image.Resampling.BICUBIC), (128, 48))
    return picture


def measure_speed(size: str, people: Path, model: str) -> None:
    """Print how fast one folder is enrolled by the wall clock, the seconds by step, and the peak memory."""
    shutil.rmtree(people.parent / f"{size}-gallery", ignore_errors=True)
    start = time.perf_counter()
    process = start_enrolment(people, people.parent / f"{size}-gallery", model)
    summary = process.communicate()[1].splitlines()[-1]
    seconds = time.perf_counter() - start
    photos = sum(1 for _ in people.glob("*/*"))
    print(f"{size}: {photos} photos in {seconds:.1f} s = {photos / seconds:.1f} photos/s, start included")
    print(f"  {summary}")


def soak(photos: Path, work: Path, model: str) -> None:
    """Enrol all of LFW, killed half-way and started again; print memory over the run and what was found afterwards."""
    gallery = work / "gallery"
    shutil.rmtree(gallery, ignore_errors=True)
    total = sum(1 for _ in photos.glob("*/*"))
    first = start_enrolment(photos, gallery, model)
    watch(first, gallery, until=total // 2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    stored = templates_in(gallery)
    print(f"killed with {stored} templates stored; check: {check(gallery)}")
    second = start_enrolment(photos, gallery, model)
    watch(second, gallery, until=None)
    print(second.communicate()[1].splitlines()[-1])
    print(f"{templates_in(gallery)} templates of {total} photos; check: {check(gallery)}")


def start_enrolment(people: Path, gallery: Path, model: str) -> subprocess.Popen[str]:
    """Start `faceid enroll` on a folder; its records are thrown away, its messages kept."""
    command = [sys.executable, "-m", "faceid", "enroll", str(people), "--gallery", str(gallery), "--model", model]
    command += ["--faces", "centre", "--json"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def watch(process: subprocess.Popen[str], gallery: Path, until: int | None) -> None:
    """Print the process's memory every 15 s until it ends, or until so many templates are stored."""
    while process.poll() is None:
        time.sleep(15)
        stored = templates_in(gallery)
        print(f"  {stored:6} templates, {resident_mebibytes(process.pid):5.0f} MiB resident", flush=True)
        if until is not None and stored >= until:
            return


def templates_in(gallery: Path) -> int:
    """Return how many templates are stored by now, as another process sees it."""
    try:
        with Gallery.open(gallery) as opened:
            return opened.stats().templates
    except GalleryError:  # not made yet
        return 0


def check(gallery: Path) -> str:
    """Return what `faceid gallery check` says."""
    with Gallery.open(gallery) as opened:
        return "; ".join(problem.text for problem in opened.check()) or "no problem"


def resident_mebibytes(process: int) -> float:
    """Return a process's resident memory; 0 if it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    main()
