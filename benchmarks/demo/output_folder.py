"""The demo's output folder: made anew at each run, and never anybody else's."""

import shutil
from pathlib import Path

from benchmarks.demo.cast import DemoError
from indexer.text import printable

MARK = ".faceid-demo"


def fresh_folder(folder: Path, photos: Path | None) -> Path:
    """Make the folder, empty but for the mark by which a later run knows it as the demo's.

    Raises DemoError for a folder that holds something else, or that lies among the photos to be shown.
    """
    if photos and folder.resolve().is_relative_to(photos.resolve()):
        raise DemoError(f"{printable(folder)} lies in the folder of photos; choose another place with --output")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / MARK).is_file():
            raise DemoError(
                f"{printable(folder)} holds something that the demo did not write; choose another with --output"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    return folder
