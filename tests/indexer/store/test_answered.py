"""What was answered to a review stays answered; photos move to whose they are, and back."""

import pytest

from indexer.errors import GalleryError
from indexer.gallery import Gallery
from tests.indexer.made_up_people import photo


def owners(gallery):
    return {row.source: row.identity_id for row in gallery.templates()}


@pytest.fixture
def people(gallery):
    """Ada (1) with templates 1 and 2, Bob (2) with 3."""
    gallery.add([photo("Ada", "a1"), photo("Ada", "a2"), photo("Bob", "b1")])
    return gallery


def test_a_rejected_finding_is_remembered_by_the_next_process_until_it_is_asked_again(people):
    people.reject_findings(["duplicate:1-2", "broken:3"])
    people.reject_findings(["duplicate:1-2"])
    people.close()
    with Gallery.open(people.path, writable=True) as again:
        assert again.rejected_findings() == {"duplicate:1-2", "broken:3"}
        again.ask_again(["broken:3", "broken:4"])
        assert again.rejected_findings() == {"duplicate:1-2"}
        assert not again.check(deep=True)


@pytest.mark.parametrize(
    "key", ["", "duplicate", "duplicate:", "duplicate:Ada", "Ada Lovelace", "x:1;2", "a:" + "1" * 300]
)
def test_nothing_but_a_key_gets_into_the_trail(people, key):
    with pytest.raises(GalleryError, match="no finding"):
        people.reject_findings([key])


def test_a_moved_template_is_found_as_its_new_owners_and_undo_brings_it_back(people):
    assert people.move_templates([2], 2) == 1
    vector = photo("Ada", "a2").vector
    assert people.search(vector[None], 1)[0].candidates[0].name == "Bob"
    assert owners(people) == {"photos/a1": 1, "photos/a2": 2, "photos/b1": 2}
    entry = people.undo()
    assert entry.action == "reassign"
    assert entry.identity_ids == (1, 2)
    assert owners(people) == {"photos/a1": 1, "photos/a2": 1, "photos/b1": 2}
    assert people.search(vector[None], 1)[0].candidates[0].name == "Ada"
    assert not people.check(deep=True)


def test_a_moved_photo_does_not_come_back_when_its_folder_is_enrolled_again(people):
    people.move_templates([2], 2)
    assert people.add([photo("Ada", "a2")])[0].reason_codes == ("enrolled_as_someone_else",)


def test_moving_to_oneself_changes_nothing(people):
    before = people.revision
    assert people.move_templates([1], 1) == 0
    assert people.revision == before


def test_what_cannot_move_is_refused_and_nothing_moves(people):
    people.add([photo("Cid", "c1")])
    people.remove(3)
    for templates, into, why in (
        ([1, 99], 2, "no template 99"),
        ([1, 3], 3, "2 people"),
        ([1], 3, "removed"),
        ([4], 2, "removed"),
        ([1], 77, "no identity"),
    ):
        with pytest.raises(GalleryError, match=why):
            people.move_templates(templates, into)
    people.remove_templates([3])
    with pytest.raises(GalleryError, match="no template 3"):
        people.move_templates([3], 1)
    assert owners(people) == {"photos/a1": 1, "photos/a2": 1}


def test_a_merge_of_the_two_must_be_undone_before_the_move(people):
    people.move_templates([2], 2)
    people.merge(1, 2)
    move = next(entry for entry in people.undoable() if entry.action == "reassign")
    with pytest.raises(GalleryError, match="came later"):
        people.undo(move.id)
