"""What every test may lean on: people, from the given material where it is there, drawn where it is not."""

import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from benchmarks.demo.people import write_people
from indexer.store import database, postgres_store
from tests.migrated_once import migrated_once

SHARED = Path(__file__).resolve().parents[2] / "shared"
PEOPLE, PHOTOS = 12, 3


@pytest.fixture(scope="session", autouse=True)
def _migrated_once() -> Iterator[None]:
    """Tests make some three thousand galleries; running every migration for each would take minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "run_migrations", migrated_once(database.run_migrations))
        patch.setattr(postgres_store, "migrate", migrated_once(postgres_store.migrate))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of given faces and weights; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the given faces and weights (../shared) are not here")
    return SHARED


@pytest.fixture(scope="session")
def lfw_people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve people with three photos each, laid out as LFW: NAME/NAME_0001.jpg .. NAME_0003.jpg.

    They are people of LFW where that was given, and drawn ones otherwise.
    """
    folder = tmp_path_factory.mktemp("lfw")
    if SHARED.is_dir():
        _photos_of_lfw(SHARED / "data" / "lfw.tar", folder)
    else:
        _drawn_photos(folder)
    return folder


def _photos_of_lfw(tar: Path, folder: Path) -> None:
    photos: dict[str, list[tarfile.TarInfo]] = defaultdict(list)
    with tarfile.open(tar) as archive:
        for member in archive:
            name = PurePosixPath(member.name).parent.name
            if member.isfile() and len(photos[name]) < PHOTOS:
                photos[name].append(member)
            if sum(len(found) == PHOTOS for found in photos.values()) == PEOPLE:
                break
        for name, found in photos.items():
            if len(found) == PHOTOS:
                (folder / name).mkdir()
                for member in found:
                    content = archive.extractfile(member)
                    assert content is not None
                    (folder / name / PurePosixPath(member.name).name).write_bytes(content.read())


def _drawn_photos(folder: Path) -> None:
    for photo in write_people(folder, PEOPLE, PHOTOS, seed=7, prefix="Person"):
        photo.rename(photo.with_name(f"{photo.parent.name}_{int(photo.stem):04d}.jpg"))
