"""Whatever is done in whatever order, the gallery holds what a plain dictionary says it holds."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from indexer.errors import GalleryError
from indexer.gallery import Gallery
from tests.indexer.made_up_people import MODEL, digest_of, photo, unit_vectors

NAMES = st.sampled_from(["Ann", "Bob", "Cleo"])
EXTERNAL = st.sampled_from([None, None, "7"])
PHOTOS = st.lists(st.sampled_from([f"photo{i}" for i in range(6)]), min_size=1, max_size=3)
IDS = st.integers(1, 8)


class Person:
    def __init__(self, name, external_id):
        self.name, self.external_id = name, external_id
        self.removed, self.into, self.photos = False, None, {}  # photos: source -> removed

    def shows(self, source):
        return not self.removed and self.photos.get(source) is False


class GalleryAgainstDict(RuleBasedStateMachine):
    @initialize(fusion=st.sampled_from(["max", "mean"]))
    def create(self, fusion):
        self.folder = Path(tempfile.mkdtemp())
        self.gallery = Gallery.create(self.folder / "g", MODEL, fusion)
        self.reader = Gallery.open(self.folder / "g")
        self.people, self.last_id = {}, 0

    def teardown(self):
        self.reader.close()
        self.gallery.close()
        with Gallery.open(self.gallery.path) as reader:
            assert reader.check(deep=True) == []
        shutil.rmtree(self.folder)

    def key(self, name, external_id):
        """The person a key means, merged ones resolved; None if nobody."""
        for key, person in self.people.items():
            same = (
                person.external_id == external_id if external_id else person.external_id is None and person.name == name
            )
            if same:
                return person.into or key
        return None

    def usable(self, key):
        return key in self.people and self.people[key].into is None

    def hide_photos_of_others(self, key):
        for source, removed in self.people[key].photos.items():
            others = (person for other, person in self.people.items() if other != key)
            if not removed and any(person.shows(source) for person in others):
                self.people[key].photos[source] = True

    @rule(name=NAMES, external_id=EXTERNAL, sources=PHOTOS, restore=st.booleans())
    def add(self, name, external_id, sources, restore):
        added = self.gallery.add([photo(name, source, external_id) for source in sources], restore=restore)
        came_back = False
        for source, one in zip(sources, added, strict=True):
            key = self.key(name, external_id)
            person = self.people.get(key) or Person(name, external_id)
            if not restore and (person.removed or person.photos.get(source)):
                expected = "removed"
            elif any(other.shows(source) for other in self.people.values() if other is not person):
                expected = "enrolled_as_someone_else"
            else:
                expected = ""
                if key is None:
                    self.last_id += 1
                    key, self.people[self.last_id] = self.last_id, person
                came_back |= person.removed
                person.removed = False
                person.photos[source] = False
            assert (one.status == "rejected", "".join(one.reason_codes)) in (
                (expected != "", expected),
                (False, "restored"),
            )
        key = self.key(name, external_id)
        assert {one.identity_id for one in added} == {key}
        if came_back:
            self.hide_photos_of_others(key)

    @rule(key=IDS)
    def remove(self, key):
        if self.attempt(self.gallery.remove, key):
            self.people[key].removed = True

    @rule(key=IDS)
    def restore(self, key):
        was_removed = self.usable(key) and self.people[key].removed
        if self.attempt(self.gallery.restore, key) and was_removed:
            self.people[key].removed = False
            self.hide_photos_of_others(key)

    @rule(key=IDS)
    def erase(self, key):
        if self.attempt(self.gallery.erase, key):
            self.people = {
                other: person for other, person in self.people.items() if other != key and person.into != key
            }

    @rule(source=IDS, into=IDS)
    def merge(self, source, into):
        possible = source != into and all(self.usable(key) and not self.people[key].removed for key in (source, into))
        try:
            self.gallery.merge(source, into)
        except GalleryError:
            assert not possible
            return
        assert possible
        gone, stays = self.people[source], self.people[into]
        for photo_, removed in gone.photos.items():
            stays.photos[photo_] = stays.photos.get(photo_, True) and removed
        gone.photos, gone.removed, gone.into = {}, True, into
        for person in self.people.values():
            if person.into == source:
                person.into = into

    @rule(key=IDS, name=NAMES)
    def rename(self, key, name):
        by_name = self.usable(key) and self.people[key].external_id is None
        bearers = [
            person
            for other, person in self.people.items()
            if other != key and person.external_id is None and person.name == name
        ]
        taken = by_name and any(person.into != key for person in bearers)
        try:
            self.gallery.rename(key, name)
        except GalleryError:
            assert taken or not self.usable(key)
        else:
            assert self.usable(key)
            assert not taken
            former, self.people[key].name = self.people[key].name, name
            if by_name and bearers:  # an alias of this very person: the two change names
                bearers[0].name = former
            elif by_name and former != name:
                self.last_id += 1
                alias = self.people[self.last_id] = Person(former, None)
                alias.removed, alias.into = True, key

    @rule(data=st.data())
    def remove_photo(self, data):
        rows = list(self.gallery.templates(include_removed=True))
        if rows:
            row = data.draw(st.sampled_from(rows))
            self.gallery.remove_templates([row.id])
            self.people[row.identity_id].photos[row.source.removeprefix("photos/")] = True

    @rule(key=IDS, source=IDS, into=IDS)
    def do_and_undo(self, key, source, into):
        """What is taken back at once never was."""
        for act in (lambda: self.gallery.remove(key), lambda: self.gallery.merge(source, into)):
            before = len(self.gallery.undoable())
            try:
                act()
            except GalleryError:
                continue
            if len(self.gallery.undoable()) > before:
                self.gallery.undo()

    @rule()
    def flush(self):
        self.gallery.flush()

    @rule()
    def reopen(self):
        self.gallery.close()
        self.gallery = Gallery.open(self.gallery.path, writable=True)

    def similarity(self, query, sources):
        vectors = np.stack([photo("", source).vector for source in sources]).astype(float)
        if self.gallery.fusion == "max":
            return float((vectors @ query).max())
        mean = vectors.mean(axis=0)
        return float(mean @ query / np.linalg.norm(mean))

    def attempt(self, act, key):
        try:
            act(key)
        except GalleryError:
            assert not self.usable(key)
            return False
        assert self.usable(key)
        return True

    @invariant()
    def holds_what_the_dictionary_says(self):
        people = {key: person for key, person in self.people.items() if person.into is None}
        assert {
            one.id: (one.name, one.external_id, one.removed, one.templates)
            for one in self.gallery.identities(include_removed=True)
        } == {
            key: (one.name, one.external_id, one.removed, list(one.photos.values()).count(False))
            for key, one in people.items()
        }
        shown = {(source, key) for key, one in people.items() for source in one.photos if one.shows(source)}
        assert {(row.source.removeprefix("photos/"), row.identity_id) for row in self.gallery.templates()} == shown
        for source, key in shown:
            found = self.gallery.enrolled([digest_of(source)])[digest_of(source)]
            assert [one.identity_id for one in found if not one.removed] == [key]
        (query,) = unit_vectors(1)
        answers = self.gallery.search(query[None], 99)
        assert self.reader.search(query[None], 99) == answers
        found = {one.id: one.similarity for one in answers[0].candidates}
        assert found == pytest.approx(
            {key: self.similarity(query, [source for source, its in shown if its == key]) for _, key in shown}, abs=1e-6
        )
        if self.gallery.fusion == "max":
            for source, key in shown:
                best = self.gallery.search(photo("", source).vector[None], 1)[0].candidates[0]
                assert (best.id, best.similarity > 0.9999) == (key, True)


TestGalleryAgainstDict = pytest.mark.slow(GalleryAgainstDict.TestCase)
TestGalleryAgainstDict.settings = settings(
    max_examples=15,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would take minutes: every step is on the disk
)
