"""A file that is replaced is the old one or the whole new one."""

from pathlib import Path

import pytest

from indexer.durable_file import PRIVATE, replacing
from indexer.errors import FileNotWritten


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail_half_way() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half of the ne")
            raise OSError("disk full")

    with pytest.raises(FileNotWritten, match=r"file could not be written: disk full"):
        fail_half_way()

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_another_error_passes_as_it_is_and_leaves_the_old_file_too(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    with pytest.raises(KeyError, match="missing"), replacing(path):
        raise KeyError("missing")

    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "old")]


def test_a_folder_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()

    with pytest.raises(FileNotWritten, match="place could not be written"), replacing(tmp_path / "place") as temporary:
        temporary.write_text("new")

    assert [file.name for file in tmp_path.iterdir()] == ["place"]


def test_peoples_data_is_for_their_owner_alone(tmp_path: Path) -> None:
    with replacing(tmp_path / "gallery", PRIVATE) as temporary:
        temporary.write_text("new")

    assert (tmp_path / "gallery").stat().st_mode & 0o777 == 0o600


def test_a_file_where_the_folder_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("")

    with pytest.raises(FileNotWritten, match="could not be written"), replacing(tmp_path / "folder" / "file"):
        pytest.fail("there is nowhere to write to")
