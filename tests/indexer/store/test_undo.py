"""remove, merge, rename and remove_templates can be taken back until they are purged, and not past what came later."""

from datetime import timedelta

import pytest

from benchmarks.measurements.durability.scenario import traces
from indexer.errors import GalleryError
from tests.indexer.made_up_people import photo


@pytest.fixture
def people(gallery):
    gallery.add([photo("Ann", "a1"), photo("Ann", "a2"), photo("Bob", "b1"), photo("Cleo", "c1")])
    return gallery


def seen(gallery):
    return (
        [(one.id, one.name, one.templates, one.removed) for one in gallery.identities(include_removed=True)],
        [(one.id, one.identity_id, one.removed) for one in gallery.templates(include_removed=True)],
    )


ACTS = {
    "rename": lambda gallery: gallery.rename(1, "Anna"),
    "remove": lambda gallery: gallery.remove(2),
    "merge": lambda gallery: gallery.merge(3, 1),
    "remove_photos": lambda gallery: gallery.remove_templates([1, 3]),
}


@pytest.mark.parametrize("action", ACTS)
def test_each_is_taken_back_to_what_was_before(people, action):
    before = seen(people)
    ACTS[action](people)
    assert seen(people) != before
    assert people.undo().action == action
    assert seen(people) == before
    assert people.undoable() == []
    assert people.check(deep=True) == []
    ACTS[action](people)  # and may be done again
    assert [one.action for one in people.undoable()] == [action]


def test_all_of_them_are_taken_back_one_after_the_other(people):
    states = [seen(people)]
    for act in ACTS.values():
        act(people)
        states.append(seen(people))
    while people.undoable():
        assert seen(people) == states.pop()
        people.undo()
    assert seen(people) == states.pop()


def test_an_older_entry_is_taken_back_unless_a_later_one_is_about_the_same_people(people):
    people.rename(1, "Anna")
    people.remove(2)
    people.merge(3, 1)
    (merge, remove, rename) = people.undoable()
    with pytest.raises(GalleryError, match=rf"entry {merge.id} \(merge\) came later"):
        people.undo(rename.id)
    assert people.undo(remove.id).identity_ids == (2,)
    people.undo(merge.id)
    people.undo(rename.id)
    with pytest.raises(GalleryError, match="cannot be undone"):
        people.undo(rename.id)
    with pytest.raises(GalleryError, match="nothing to undo"):
        people.undo()


def test_two_copies_of_one_photo_are_as_they_were_after_a_merge_was_undone(people):
    people.remove_templates([1])
    people.add([photo("Bob", "a1")])
    people.purge()
    before = seen(people)
    people.merge(2, 1)
    assert [row.identity_id for row in people.templates() if row.source == "photos/a1"] == [1]
    assert people.check(deep=True) == []
    people.undo()
    assert seen(people) == before


def test_photos_enrolled_since_a_merge_stay_with_the_person_they_went_to(people):
    people.merge(3, 1)
    people.add([photo("Cleo", "c2")])
    people.undo()
    assert {row.source: row.name for row in people.templates() if row.source.startswith("photos/c")} == {
        "photos/c1": "Cleo",
        "photos/c2": "Ann",
    }


def test_a_merge_of_merged_people_keeps_their_aliases_apart(people):
    people.merge(3, 2)
    people.merge(2, 1)
    people.undo()
    assert people.find("Cleo")[0].name == "Bob"
    people.undo()
    assert people.find("Cleo")[0].name == "Cleo"


def test_a_former_name_is_given_to_nobody_else_meanwhile(people):
    people.rename(1, "Anna")
    assert people.add([photo("Ann", "another")])[0].identity_id == 1
    with pytest.raises(GalleryError, match="already the name of identity"):
        people.rename(2, "Ann")
    people.undo()
    assert people.find("Ann")[0].id == 1


def test_after_a_purge_nothing_can_be_undone_and_the_former_name_is_gone(people):
    people.rename(1, "Different Person")
    people.remove_templates([3])
    assert people.purge(timedelta(days=1)) == 0
    assert len(people.undoable()) == 2
    people.rename(2, "Robert Renamed")
    people.rename(2, "Roberto")
    assert people.purge() == 4
    assert people.undoable() == []
    assert traces(people.path, {"former name": b"Robert Renamed"}) == []
    assert people.check(deep=True) == []


def test_an_erase_takes_the_undo_records_along(people):
    people.rename(1, "Interim Name")
    people.rename(1, "Anna")
    people.remove(2)
    assert people.erase(1) == "done"
    assert [one.action for one in people.undoable()] == ["remove"]
    assert traces(people.path, {"name": b"Anna", "former name": b"Interim Name"}) == []
    people.undo()
    assert people.find("Bob")[0].removed is False


def test_a_former_name_leads_to_the_person_until_the_rename_is_taken_back_or_purged(people):
    people.rename(1, "Anna")
    assert [one.name for one in people.find("Ann")] == ["Anna"], "enrolling the old folder reaches her"
    assert [one.name for one in people.identities()].count("Anna") == 1
    people.undo()
    assert [one.name for one in people.find("Ann")] == ["Ann"]
    assert people.find("Anna") == []
    people.rename(1, "Anna")
    people.purge()
    assert people.find("Ann") == [], "no former name is left"
    assert people.check(deep=True) == []


def test_a_person_may_take_a_former_name_again_and_nobody_else(people):
    people.rename(1, "Anna")
    people.rename(1, "Ann")
    assert [one.name for one in people.find("Anna")] == ["Ann"], "the two names changed places"
    with pytest.raises(GalleryError, match="already the name of identity"):
        people.rename(2, "Anna")
    people.undo()
    assert [one.name for one in people.find("Ann")] == ["Anna"]
    people.erase(1)
    assert people.find("Ann") == people.find("Anna") == []
    assert people.check(deep=True) == []


def test_a_photo_enrolled_anew_since_it_was_moved_stays_where_it_is_when_the_move_is_taken_back(people):
    people.move_templates([1], 2)
    moved, *_ = people.undoable()
    people.remove(2)
    assert people.add([photo("Ann", "a1")])[0].status == "enrolled"  # nobody shows it
    people.undo()
    people.undo(moved.id)
    assert [(row.name, row.source) for row in people.templates()] == [
        ("Ann", "photos/a2"),
        ("Bob", "photos/b1"),
        ("Cleo", "photos/c1"),
        ("Ann", "photos/a1"),
    ]
    assert people.check(deep=True) == []


def test_photos_that_are_brought_back_hide_no_other_of_a_person_who_was_removed_since(people):
    people.remove_templates([1])
    hidden, *_ = people.undoable()
    people.remove(1)
    people.add([photo("Bob", "a2")])  # whose photo it is by now, nobody else shows it
    people.undo(hidden.id)
    people.remove(2)
    people.restore(1)
    assert [row.source for row in people.templates_of(1)] == ["photos/a1", "photos/a2"]


def test_a_move_to_somebody_who_was_erased_stands_in_no_undos_way(people):
    people.rename(3, "Clea")
    people.move_templates([1], 2)
    people.erase(2)
    assert [one.action for one in people.undoable()] == ["rename"]
    assert people.undo().action == "rename"
    assert people.purge() == 1, "what is left of the move goes, too"


def test_a_move_to_somebody_who_was_erased_stands_not_in_the_way_of_what_was_done_to_its_owner_before(people):
    before = seen(people)
    people.rename(1, "Anna")
    people.move_templates([1], 3)
    people.erase(3)
    assert people.undo().action == "rename"
    assert [one[1] for one in seen(people)[0]] == [one[1] for one in before[0][:2]]
    assert people.undoable() == []


def test_a_restore_takes_the_removal_back_and_stands_in_no_undos_way(people):
    before = seen(people)
    people.rename(2, "Robert")
    people.remove(2)
    people.restore(2)
    assert [one.action for one in people.undoable()] == ["rename"]
    assert people.undo().action == "rename"
    assert seen(people) == before


def test_a_photo_that_was_hidden_again_is_not_shown_by_undoing_that_it_was_hidden_before(people):
    people.remove_templates([1, 3])
    people.add([photo("Ann", "a1")], restore=True)
    people.remove_templates([1])
    newest, first = people.undoable()
    with pytest.raises(GalleryError, match=f"entry {newest.id} came later and is about the same photos"):
        people.undo(first.id)
    assert [one.id for one in people.templates()] == [2, 4]
    people.undo()
    people.undo(first.id)
    assert [one.id for one in people.templates()] == [1, 2, 3, 4]
