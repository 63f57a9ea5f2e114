"""SQLite under the gallery's seam, and what it does beside: a backup, scrubbing, no trace where there is no gallery."""

import pytest

from indexer.crypto.keys import usual_key
from indexer.errors import GalleryError
from indexer.store.sqlite_store import create_store, has_store, open_store
from tests.indexer.made_up_people import digest_of
from tests.indexer.store.store_contract import MODEL, enrol, keeps_the_contract, people

pytestmark = pytest.mark.folder


@pytest.mark.slow
def test_sqlite_keeps_the_contract(tmp_path):
    folder = tmp_path / "g"
    keeps_the_contract(
        lambda: create_store(folder, MODEL, "max", usual_key()),
        lambda *, writable: open_store(folder, usual_key(), writable=writable),
    )


def test_a_backup_is_a_store_of_the_same_content(tmp_path):
    create_store(tmp_path / "g", MODEL, "max", usual_key())
    store = open_store(tmp_path / "g", usual_key(), writable=True)
    enrol(store, "Ann")
    store.backup(tmp_path / "copy")
    enrol(store, "Bob")
    copy = open_store(tmp_path / "copy", usual_key(), writable=True)
    assert (people(copy), people(store)) == ({"Ann"}, {"Ann", "Bob"})
    store.close()
    copy.close()


def test_scrubbing_waits_for_readers_and_then_leaves_no_byte(tmp_path):
    create_store(tmp_path / "g", MODEL, "max", usual_key())
    store, reader = (
        open_store(tmp_path / "g", usual_key(), writable=True),
        open_store(tmp_path / "g", usual_key(), writable=False),
    )
    enrol(store, "Ann")
    with reader.read() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM template").scalar()
        with store.write() as writing:
            for table in ("embedding", "template", "identity"):
                writing.exec_driver_sql(f"DELETE FROM {table}")
        assert not store.scrub().done
    assert store.scrub().done
    left = b"".join(file.read_bytes() for file in (tmp_path / "g").iterdir())
    assert digest_of("Ann") not in left
    store.close()
    reader.close()


def test_opening_where_there_is_none_leaves_nothing_behind(tmp_path):
    for writable in (False, True):
        with pytest.raises(GalleryError, match="no gallery in"):
            open_store(tmp_path, usual_key(), writable=writable)
    assert not has_store(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_left_as_it_was(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(GalleryError, match=r"not empty \(photo.jpg\)"):
        create_store(tmp_path, MODEL, "max", usual_key())
    assert [file.name for file in tmp_path.iterdir()] == ["photo.jpg"], "not even a lock's file is laid into it"
