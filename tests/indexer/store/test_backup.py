"""A backup is the gallery as it was at one moment, complete, while others go on reading and writing."""

import errno
import threading

import pytest

from benchmarks.measurements.durability.scenario import state, traces
from indexer.errors import FileNotWritten, GalleryError, StoreDamaged
from indexer.gallery import Gallery
from tests.indexer.made_up_people import photo, unit_vectors
from tests.odd_files import put_odd_file

pytestmark = pytest.mark.folder


@pytest.mark.no_person_keys
def test_a_backup_is_the_gallery(gallery, tmp_path):
    gallery.add([photo(f"p{i}", str(i)) for i in range(50)])
    gallery.remove(3)
    gallery.backup(tmp_path / "backup")
    envelope = {file.name for file in gallery.path.iterdir()} & {"gallery.key"}
    assert {file.name for file in (tmp_path / "backup").iterdir()} == {"gallery.db"} | envelope
    with Gallery.open(tmp_path / "backup") as copy:
        assert state(copy) == state(gallery)
        assert copy.check(deep=True) == []
        assert copy.search(unit_vectors(2), 5) == gallery.search(unit_vectors(2), 5)
    with Gallery.open(tmp_path / "backup", writable=True) as copy:
        copy.undo()
        assert copy.size == 50


def test_it_is_of_one_revision_while_a_writer_goes_on(gallery, tmp_path):
    stop = threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            gallery.add([photo(f"w{number}", f"w{number}/{i}") for i in range(10)])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            with Gallery.open(gallery.path) as reader:
                reader.backup(tmp_path / f"backup{number}")
    finally:
        stop.set()
        writer.join()
    for number in range(3):
        with Gallery.open(tmp_path / f"backup{number}") as copy:
            assert copy.check(deep=True) == []
            assert {one.templates for one in copy.identities()} <= {10}, "half a batch"


@pytest.mark.no_person_keys
def test_a_reader_does_not_go_on_telling_of_a_gallery_whose_place_a_backup_took(gallery, tmp_path):
    gallery.add([photo("Ann", "1")])
    gallery.backup(tmp_path / "backup")
    path = gallery.path
    with Gallery.open(path) as reader:
        assert reader.size == 1
        gallery.close()
        path.rename(tmp_path / "damaged")
        (tmp_path / "backup").rename(path)
        with pytest.raises(GalleryError, match="was moved, or replaced by another, since it was opened"):
            reader.identities()
    with Gallery.open(path) as restored:
        assert restored.size == 1


def test_something_that_is_there_is_not_overwritten(gallery, tmp_path):
    gallery.backup(tmp_path / "backup")
    with pytest.raises(GalleryError, match="not empty"):
        gallery.backup(tmp_path / "backup")
    with pytest.raises(GalleryError, match="not empty"):
        gallery.backup(gallery.path)


def test_a_disk_that_takes_no_backup_keeps_nothing_that_looks_like_one(gallery, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "mine").mkdir()
    monkeypatch.setattr("indexer.store.backup._finish", full)
    for folder in (tmp_path / "backup", tmp_path / "mine"):
        with pytest.raises(FileNotWritten, match="No space left"):
            gallery.backup(folder)
    assert not (tmp_path / "backup").exists()
    assert (tmp_path / "mine").is_dir(), "that was there before"
    monkeypatch.undo()
    gallery.backup(tmp_path / "mine")


@pytest.mark.no_person_keys
def test_what_was_erased_while_a_reader_was_in_the_way_is_not_in_the_backup(gallery, tmp_path):
    gallery.add([photo("Ann Erased", "ann/1"), photo("Bob", "bob/1")])
    with Gallery.open(gallery.path) as reader, reader._database.read() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM template")
        assert gallery.erase(1) == "pending"
        gallery.backup(tmp_path / "backup")
    needles = {"name": b"Ann Erased", "path": b"ann/1", "vector": photo("", "ann/1").vector.tobytes()}
    assert traces(tmp_path / "backup", needles) == []
    with Gallery.open(tmp_path / "backup", writable=True) as copy:
        assert [one.name for one in copy.identities(include_removed=True)] == ["Bob"]


def test_a_database_that_lost_acknowledged_revisions_is_refused(gallery, tmp_path):
    gallery.add([photo("Ann", "a")])
    gallery.backup(tmp_path / "backup")
    gallery.add([photo("Bob", "b")])
    gallery.close()
    (gallery.path / "gallery.db").write_bytes((tmp_path / "backup" / "gallery.db").read_bytes())
    with pytest.raises(StoreDamaged, match=r"at revision 2, but 3 was acknowledged.*delete"):
        Gallery.open(gallery.path)
    (gallery.path / "gallery.revision").unlink()
    with Gallery.open(gallery.path) as reader:
        assert [one.name for one in reader.identities()] == ["Ann"]


@pytest.mark.folder
@pytest.mark.parametrize("put", ["pipe", "folder", "link", "endless", "huge"])
def test_a_note_of_the_revision_that_is_no_regular_file_is_neither_waited_for_nor_followed(gallery, tmp_path, put):
    gallery.add([photo("Ann", "a")])
    gallery.close()
    note, elsewhere = gallery.path / "gallery.revision", tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    note.unlink()
    if put == "link":
        note.symlink_to(elsewhere)
    else:
        put_odd_file(note, put)
    with Gallery.open(gallery.path, writable=True) as writer:
        writer.add([photo("Bob", "b")])
    with Gallery.open(gallery.path) as reader:
        assert [one.name for one in reader.identities()] == ["Ann", "Bob"]
    assert elsewhere.read_text() == "mine"
