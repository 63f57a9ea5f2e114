"""A copy is the same gallery to the last row, and one of its own from then on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from indexer.errors import GalleryError, StoreDamaged
from indexer.gallery import Gallery
from indexer.store.copying import contents_digest
from indexer.store.place import place_of
from indexer.store.stores import has_store, open_store
from tests.indexer.made_up_people import MODEL, OTHER_MODEL, photo, unit_vectors
from tests.indexer.raw_database import raw_database
from tests.postgres_server import url_of

pytestmark = [pytest.mark.folder, pytest.mark.plain]


@pytest.fixture
def places(request, tmp_path, monkeypatch):
    """Where a gallery with a past is, and where its copy goes: folder or server."""
    monkeypatch.setenv("FACEID_CACHES", str(tmp_path / "caches"))
    kinds = getattr(request, "param", ("folder", "folder"))
    made = [_place(kind, number, request, tmp_path) for number, kind in enumerate(kinds)]
    with Gallery.create(made[0], MODEL, "mean") as gallery:
        gallery.add([photo("Ann", "a"), photo("Bob", "b1"), photo("Bob", "b2", "7"), photo("Zoë", "z")])
        gallery.rename(1, "Anna")
        gallery.merge(2, 1)
        gallery.remove(4)
        gallery.erase(3)
        gallery.keep_strangers(unit_vectors(3), unit_vectors(3)[:, 0].astype(int))
        gallery.remember_rejected({b"d" * 32: ["no_face"]}, "p")
        gallery.add_embeddings(OTHER_MODEL, [1], unit_vectors(1, OTHER_MODEL.dimension))
    return made


def _place(kind, number, request, tmp_path):
    if kind == "folder":
        return str(tmp_path / f"g{number}")
    return url_of(request.getfixturevalue("postgres"), f"copy{os.getpid()}_{number}_{tmp_path.name[-12:].lower()}")


WAYS = [("folder", "folder"), ("folder", "server"), ("server", "folder"), ("server", "server")]


@pytest.mark.parametrize("places", WAYS, indirect=True, ids=" to ".join)
def test_a_copy_holds_what_the_gallery_holds(places):
    source, target = places
    assert Gallery.copy(source, target) > 20
    assert digest(source) == digest(target)
    with Gallery.open(source) as one, Gallery.open(target, writable=True) as other:
        assert other.check(deep=True) == []
        assert (one.revision, one.fusion, one.model) == (other.revision, other.fusion, other.model)
        asked = photo("", "b1").vector[None]
        assert one.search(asked, 3) == other.search(asked, 3)
        assert [entry.action for entry in other.undoable()] == ["remove", "merge", "rename"]
        other.undo()
        assert [added.template_id for added in other.add([photo("Eve", "e")])] == [5], "no id is given twice"


def digest(where):
    store = open_store(place_of(where), None, writable=False)
    try:
        with store.read() as connection:
            return contents_digest(connection)
    finally:
        store.close()


def test_a_copy_is_a_gallery_of_its_own(places):
    source, target = places
    Gallery.copy(source, target)
    with raw_database(Path(source) / "gallery.db") as one, raw_database(Path(target) / "gallery.db") as other:
        uuids = [raw.execute("SELECT uuid FROM gallery").fetchone() for raw in (one, other)]
    assert uuids[0] != uuids[1]


@pytest.mark.parametrize("places", [("folder", "folder"), ("server", "folder")], indirect=True, ids=" to ".join)
def test_a_copy_is_sound_though_the_last_rows_were_deleted(places):
    source, target = places
    with Gallery.open(source, writable=True) as gallery:
        (last,) = gallery.add([photo("Last", "last")])
        gallery.erase(last.identity_id)
    Gallery.copy(source, target)
    with Gallery.open(target, writable=True) as copy:
        assert copy.check(deep=True) == []
        assert copy.add([photo("Next", "next")])[0].identity_id == last.identity_id + 1


@pytest.mark.parametrize("places", [("folder", "folder"), ("folder", "server")], indirect=True, ids=" to ".join)
def test_of_a_damaged_gallery_nothing_is_left_at_the_target(places):
    source, target = places
    with raw_database(Path(source) / "gallery.db") as raw:
        raw.execute("UPDATE embedding SET vector = zeroblob(64) WHERE template_id = 1")
    with pytest.raises(StoreDamaged):
        Gallery.copy(source, target)
    assert not has_store(place_of(target))


def test_nothing_that_is_there_is_written_over(places):
    source, target = places
    Gallery.copy(source, target)
    with pytest.raises(GalleryError):
        Gallery.copy(source, target)
    assert digest(source) == digest(target)


@pytest.mark.slow
@pytest.mark.parametrize("places", [("folder", "server")], indirect=True, ids=" to ".join)
def test_the_command_copies_and_says_so(places):
    source, target = places
    copied, listed = (faceid("gallery", *its) for its in (["copy", source, target], ["list", "--gallery", target]))
    assert "read back and the same" in copied.stderr
    assert "Anna" in listed.stdout, listed.stderr


def faceid(*arguments):
    command = [sys.executable, "-m", "faceid", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
