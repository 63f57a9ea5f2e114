"""What the tests of training share."""

from pathlib import Path

import pytest

from tests.training.tiny_run import write_pack


@pytest.fixture(scope="session")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with training.tar, 12 people, and validation.tar, 14 other people, with six photos each."""
    folder = tmp_path_factory.mktemp("packs")
    write_pack(folder / "training.tar", range(12))
    write_pack(folder / "validation.tar", range(20, 34))
    return folder
