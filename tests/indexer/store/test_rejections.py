"""Rejected photos are remembered by digest and policy, can be forgotten, and no damage in them goes unnoticed."""

from datetime import timedelta

import pytest

from indexer.errors import GalleryError, StoreDamaged
from indexer.gallery import Gallery
from indexer.store.sqlite_store import DATABASE
from tests.indexer.made_up_people import digest_of, photo
from tests.indexer.raw_database import raw_database

ONE, OTHER = digest_of("one"), digest_of("other")


def test_they_are_known_under_their_own_policy_only(gallery):
    gallery.remember_rejected({ONE: ["no_face"], OTHER: ["blurred", "extreme_pose"]}, "strict")
    assert gallery.rejected([OTHER, ONE, digest_of("third")], "strict") == {
        ONE: ("no_face",),
        OTHER: ("blurred", "extreme_pose"),
    }
    assert gallery.rejected([ONE, OTHER], "lenient") == {}
    assert gallery.check(deep=True) == []


def test_the_last_policy_is_the_one_that_counts(gallery):
    gallery.remember_rejected({ONE: ["no_face"]}, "strict")
    gallery.remember_rejected({ONE: ["blurred"]}, "lenient")
    assert gallery.rejected([ONE], "strict") == {}
    assert gallery.rejected([ONE], "lenient") == {ONE: ("blurred",)}
    assert gallery.check() == []


def test_a_search_or_listing_sees_no_change(gallery):
    before = gallery.revision
    gallery.remember_rejected({ONE: ["no_face"]}, "strict")
    assert gallery.revision == before


def test_what_is_no_digest_is_refused(gallery):
    with pytest.raises(GalleryError, match="SHA-256"):
        gallery.remember_rejected({b"short": ["no_face"]}, "strict")


def test_erasing_anybody_leaves_no_byte_of_them(gallery):
    gallery.add([photo("Ann", "a1"), photo("Bob", "b1")])
    gallery.remember_rejected({ONE: ["no_face"]}, "strict")
    gallery.erase(1)
    gallery.close()
    assert all(ONE not in file.read_bytes() for file in gallery.path.iterdir() if file.is_file())
    with Gallery.open(gallery.path) as reader:
        assert reader.rejected([ONE], "strict") == {}
        assert reader.check(deep=True) == []


def test_purging_forgets_those_that_are_old_enough(gallery):
    gallery.remember_rejected({ONE: ["no_face"]}, "strict")
    gallery.purge(timedelta(days=1))
    assert gallery.rejected([ONE], "strict")
    assert gallery.purge() == 0, "no undo record went"
    assert gallery.rejected([ONE], "strict") == {}
    assert not gallery.stats().erase_pending


@pytest.mark.parametrize("column", ["policy = 'lenient'", "reasons = '[]'", "at = ''"])
def test_a_flipped_bit_in_one_is_refused_and_found(gallery, column):
    gallery.remember_rejected({ONE: ["no_face"]}, "strict")
    gallery.close()
    with raw_database(gallery.path / DATABASE) as raw:
        raw.execute(f"UPDATE rejection SET {column}")
    with Gallery.open(gallery.path) as reader:
        with pytest.raises(StoreDamaged):
            reader.rejected([ONE], "lenient")
        assert "bad_row" in [one.kind for one in reader.check()]
