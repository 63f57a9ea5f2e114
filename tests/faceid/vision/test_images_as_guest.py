"""Reading photos in somebody else's program: nothing of the program is changed, and nothing of it disturbs us."""

import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from faceid.vision.images import ImageError, decode, read_photo
from tests.faceid.vision.zoo import ODD, PICTURE, saved, stored_turned


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One photo of each format and some with odd metadata."""
    folder = tmp_path_factory.mktemp("photos")
    for number, (data, turned) in enumerate(ODD.values()):
        stored = stored_turned(PICTURE, turned)
        (folder / f"{number}.png").write_bytes(saved(stored, "PNG", exif=data))
        (folder / f"{number}.jpg").write_bytes(saved(stored, "JPEG", quality=95, subsampling=0, exif=data))
    for kind in ("WEBP", "BMP", "PPM", "TIFF", "GIF"):
        (folder / f"photo.{kind.lower()}").write_bytes(saved(PICTURE, kind))
    return folder


def test_importing_and_reading_leave_pillow_and_the_warnings_as_they_were(folder: Path) -> None:
    program = (
        "import sys, warnings\nfrom pathlib import Path\nimport numpy\nfrom PIL import Image, ImageFile\n"
        "Image.init()\n"
        "warnings.simplefilter('error')\n"
        "def state(): return Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters), "
        "warnings.showwarning, sorted(Image.OPEN), list(Image.ID)\n"
        "before = state()\n"
        "from faceid.vision.images import read_photo\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()): read_photo(path)\n"
        "assert state() == before, (before, state())\n"
    )
    run = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""


def test_a_warning_filter_that_raises_costs_no_photo(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in sorted(folder.iterdir()):
            assert read_photo(path).pixels.shape == PICTURE.shape, path


@pytest.mark.parametrize("limit", [1, 1000])
def test_the_programs_own_limit_on_pixels_costs_no_photo(
    folder: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    for path in sorted(folder.iterdir()):
        assert read_photo(path).pixels.shape == PICTURE.shape, path
    assert limit == Image.MAX_IMAGE_PIXELS


def test_a_program_that_takes_torn_photos_gets_none_from_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    png = saved(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), "PNG")
    with pytest.raises(ImageError):
        decode(png[: len(png) // 2], Path("photo.png"))


def test_forty_threads_read_the_same_as_one_and_change_nothing(folder: Path) -> None:
    def state() -> tuple[object, ...]:
        return Image.MAX_IMAGE_PIXELS, list(warnings.filters), threading.active_count()

    paths = sorted(folder.iterdir())
    alone = [read_photo(path).pixels for path in paths]
    before = state()
    with ThreadPoolExecutor(40) as pool:
        together = list(pool.map(lambda path: read_photo(path).pixels, paths * 4))
    assert state() == before
    for number, pixels in enumerate(together):
        np.testing.assert_array_equal(pixels, alone[number % len(paths)])


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_reads_photos_while_its_parent_is_at_it(folder: Path) -> None:
    stop = threading.Event()

    def read_on() -> None:
        while not stop.is_set():
            read_photo(folder / "0.jpg")

    readers = [threading.Thread(target=read_on) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                os._exit(0 if read_photo(folder / "0.jpg").pixels.shape == PICTURE.shape else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        for reader in readers:
            reader.join()
