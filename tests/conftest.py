"""What every test may lean on: the given material, where it is there."""

import tarfile
from collections import defaultdict
from pathlib import Path, PurePosixPath

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of given faces and weights; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the given faces and weights (../shared) are not here")
    return SHARED


@pytest.fixture(scope="session")
def lfw_people(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve people from LFW with three photos each: NAME/NAME_0001.jpg .. NAME_0003.jpg."""
    folder = tmp_path_factory.mktemp("lfw")
    photos: dict[str, list[tarfile.TarInfo]] = defaultdict(list)
    with tarfile.open(shared / "data" / "lfw.tar") as archive:
        for member in archive:
            name = PurePosixPath(member.name).parent.name
            if member.isfile() and len(photos[name]) < 3:
                photos[name].append(member)
            if sum(len(found) == 3 for found in photos.values()) == 12:
                break
        for name, found in photos.items():
            if len(found) == 3:
                (folder / name).mkdir()
                for member in found:
                    content = archive.extractfile(member)
                    assert content is not None
                    (folder / name / PurePosixPath(member.name).name).write_bytes(content.read())
    return folder
