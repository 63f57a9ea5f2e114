"""A gallery of drawn people and clips of them: somebody known who leaves and comes back, a cut, somebody unknown."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from faceid.engine import FaceEngine
from faceid.vision.images import UInt8Image
from faceid.vision.photo_list import PersonPhoto
from indexer.gallery import Gallery
from tests.faceid.video.clips import people, scene, write_video

ANN, BOB = 0, 1


@dataclass(frozen=True)
class Cast:
    """Photos of Ann, Bob (both enrolled from other photos of theirs) and a stranger, to make clips of."""

    gallery: Path
    photos: list[list[UInt8Image]]


@pytest.fixture(scope="session")
def cast(shipped_engine: FaceEngine, tmp_path_factory: pytest.TempPathFactory) -> Cast:
    folder = tmp_path_factory.mktemp("cast") / "gallery"
    drawn = [[photo.pixels for photo in photos] for photos in people(3, 7, seed=11)]
    with Gallery.open(folder, create=shipped_engine.binding) as gallery:
        for name, photos in (("Ann", drawn[ANN]), ("Bob", drawn[BOB])):
            shipped_engine.enroll(gallery, [PersonPhoto(photo, name) for photo in photos[:3]])
    return Cast(folder, [photos[3:] for photos in drawn])


@pytest.fixture
def gallery(cast: Cast, tmp_path: Path) -> Iterator[Gallery]:
    """A copy for this test alone, open for writing."""
    with Gallery.open(shutil.copytree(cast.gallery, tmp_path / "gallery"), writable=True) as opened:
        yield opened


@pytest.fixture(scope="session")
def film(cast: Cast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ann for two seconds, nobody for two, Ann and the stranger for two, and after a cut Bob for two."""
    ann, bob, stranger = cast.photos
    frames = [
        *scene([(ann[:2], lambda number: (20 + number // 2, 20))], 50),
        *[np.full((240, 320, 3), 90, np.uint8)] * 50,
        *scene([(ann[2:], lambda _: (-40, 20)), (stranger[:1], lambda _: (150, 20))], 50),
        *scene([(bob, lambda _: (60, 20))], 50, background=20),
    ]
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", frames)
