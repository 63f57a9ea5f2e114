"""A server to look at: people who do not exist, drawn and enrolled, in a folder that is gone afterwards."""

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from faceid.engine import FaceEngine
from faceid.vision.photo_list import photos_of_people
from indexer.errors import FaceIdError
from indexer.gallery import Gallery

_PEOPLE = 12
_PHOTOS = 3
_SEED = 11


class NoDrawnPeople(FaceIdError):
    """Nothing that is installed draws people."""


def drawn_gallery(folder: Path) -> dict[str, Any]:
    """Draw people into FOLDER/people and enrol all but their last photos; returns the settings of a server.

    Those last photos, and two strangers, stay in FOLDER/visitors to be tried.
    """
    write_people = _write_people()
    people, visitors = folder / "people", folder / "visitors"
    visitors.mkdir(parents=True)
    write_people(people, _PEOPLE, _PHOTOS, _SEED, prefix="person")
    for photo in people.glob(f"*/{_PHOTOS}.jpg"):
        photo.rename(visitors / f"{photo.parent.name}.jpg")
    for photo in write_people(folder / "strangers", 2, 1, _SEED + 1, prefix="stranger"):
        photo.rename(visitors / f"{photo.parent.name}.jpg")
    engine = FaceEngine()
    with Gallery.open(folder / "gallery", create=engine.binding) as gallery:
        engine.enroll(gallery, photos_of_people(people))
    return {"galleries": {"default": folder / "gallery"}, "data": folder / "data"}


def _write_people() -> Callable[..., list[Path]]:
    for entry in entry_points(group="faceid.demo", name="write_people"):
        drawing: Callable[..., list[Path]] = entry.load()
        return drawing
    raise NoDrawnPeople("no installed package draws people (entry point `write_people` of the group `faceid.demo`)")
