"""A file that is replaced is the old one or the whole new one."""

import os
import socket
from pathlib import Path

import pytest

from indexer.durable_file import PRIVATE, replacing, writing
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


@pytest.mark.parametrize("letter", ["a", "\u4eba", "\U0001f642"])
def test_a_name_as_long_as_names_may_be_can_be_written(tmp_path: Path, letter: str) -> None:
    path = tmp_path / (letter * (255 // len(letter.encode())))
    with writing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


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


def test_a_link_stays_and_the_file_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(Path("far") / "target")

    with writing(link) as temporary:
        temporary.write_text("new")

    assert link.is_symlink()
    assert target.read_text() == "new"
    assert list((tmp_path / "far").iterdir()) == [target]


def test_a_link_that_leads_nowhere_yet_gets_its_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")

    with writing(tmp_path / "link") as temporary:
        temporary.write_text("new")

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_is_refused_before_anything_is_written(tmp_path: Path, linked: bool) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    path = tmp_path / "link" if linked else pipe
    if linked:
        path.symlink_to(pipe)
    before = sorted(tmp_path.iterdir())

    with pytest.raises(FileNotWritten, match="could not be written: it is a pipe; give the path"), writing(path):
        pytest.fail("no file may take its place")

    assert pipe.is_fifo()
    assert sorted(tmp_path.iterdir()) == before


def test_a_socket_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")

        with pytest.raises(FileNotWritten, match="it is a socket"), writing(Path("socket")):
            pytest.fail("no file may take its place")

    assert Path("socket").is_socket()


def test_links_in_a_ring_are_said(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")

    with pytest.raises(FileNotWritten, match="one could not be written"), writing(tmp_path / "one"):
        pytest.fail("there is nowhere to write to")


def test_a_link_in_a_folder_of_ours_leads_nowhere(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "index.json"
    target.write_text("somebody's")
    link.symlink_to(target)

    with replacing(link) as temporary:
        temporary.write_text("new")

    assert target.read_text() == "somebody's"
    assert not link.is_symlink()


@pytest.mark.parametrize("name", ["gallery.db", "gallery.key", "service.db"])
def test_an_output_never_takes_the_place_of_a_gallery(tmp_path: Path, name: str) -> None:
    truth, link = tmp_path / name, tmp_path / "staff.parquet"
    truth.write_text("everybody")
    link.symlink_to(truth)
    for place in (truth, link):
        with pytest.raises(FileNotWritten, match="own database or key"), writing(place):
            pytest.fail("it would be lost")
    assert truth.read_text() == "everybody"
