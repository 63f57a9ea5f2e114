"""A gallery each of whose people has a key: it answers as any other, and an erase reaches backups and copies."""

import itertools
import os
import shutil
import sqlite3
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.measurements.durability.kills import die_at
from benchmarks.measurements.durability.scenario import needles, prepare, state
from indexer.crypto import envelope
from indexer.crypto.keys import KeyVariable
from indexer.errors import GalleryError, GalleryLocked, KeyMissing, StoreDamaged, WrongKey
from indexer.gallery import Gallery
from indexer.search import codes
from indexer.store.driver import connect
from indexer.store.queries import vectors_of
from tests.indexer.made_up_people import MODEL, OTHER_MODEL, photo, unit_vectors

pytestmark = pytest.mark.plain
"""These name their keys themselves."""

JPEG = b"\xff\xd8\xff" + bytes(range(200))
KEY, NEW = KeyVariable("ONE_KEY"), KeyVariable("OTHER_KEY")


def with_crop(name, source, external_id=None):
    one = photo(name, source, external_id)
    return replace(one, crop=JPEG + source.encode())


PEOPLE = [with_crop(f"Person {i % 12}", f"folder/{i}", f"id-{i % 12}" if i % 12 > 8 else None) for i in range(48)]
PROBES = unit_vectors(9, seed=4)


@pytest.fixture(autouse=True)
def _keys(monkeypatch, tmp_path):
    monkeypatch.setenv("ONE_KEY", "01" * 32)
    monkeypatch.setenv("OTHER_KEY", "02" * 32)
    monkeypatch.setenv("FACEID_PERSON_KEYS", str(tmp_path / "elsewhere"))


@pytest.fixture
def gallery(tmp_path):
    with Gallery.create(tmp_path / "g", MODEL, key=KEY) as gallery:
        gallery.add(PEOPLE)
        yield gallery


@pytest.fixture
def without(tmp_path, monkeypatch):
    """The same people in a gallery that is encrypted, and no more."""
    with monkeypatch.context() as patched:
        patched.delenv("FACEID_PERSON_KEYS")
        with Gallery.create(tmp_path / "without", MODEL, key=KEY) as other:
            other.add(PEOPLE)
            yield other


def opened_pages(folder):
    """Every page of a folder's database as who has the gallery's key reads it."""
    keys = envelope.unlock(folder, KEY)
    source = connect(f"file:{folder / 'gallery.db'}?mode=ro", keys)
    try:
        source.execute("ATTACH DATABASE ? AS plain KEY ''", (str(folder.with_suffix(".opened")),))
        source.execute("SELECT sqlcipher_export('plain')")
    finally:
        source.close()
    content = folder.with_suffix(".opened").read_bytes()
    folder.with_suffix(".opened").unlink()
    return content


def found_in(content, people):
    wanted = needles(people) | {f"crop {n}": one.crop[-20:] for n, one in enumerate(people)}
    return sorted({name.split()[0] for name, needle in wanted.items() if needle in content})


def test_it_answers_as_one_without(gallery, without):
    assert gallery.search(PROBES, 5) == without.search(PROBES, 5)
    assert [one.name for one in gallery.identities()] == [one.name for one in without.identities()]
    assert [(one.source, one.source_digest, one.name) for one in gallery.templates()] == [
        (one.source, one.source_digest, one.name) for one in without.templates()
    ]
    assert gallery.crop(3) == PEOPLE[2].crop
    assert gallery.find("id-9")[0].name == gallery.find("Person 9")[0].name == "Person 9"
    assert gallery.add(PEOPLE)[0].status == "already_enrolled"
    assert gallery.enrolled([PEOPLE[0].source_digest])[PEOPLE[0].source_digest][0].name == "Person 0"
    assert gallery.check(deep=True) == without.check(deep=True) == []


def test_who_has_the_gallery_s_key_alone_reads_nobody_in_its_database(gallery, without):
    gallery.rename(1, "Former Name")
    assert found_in(opened_pages(gallery.path), PEOPLE) == []
    assert b"Former Name" not in opened_pages(gallery.path)
    assert len(found_in(opened_pages(without.path), PEOPLE)) == 5  # all but those of lower precision


@pytest.mark.parametrize("what", ["backup", "folder"])
def test_an_erase_reaches_a_backup_and_a_copy_of_before(tmp_path, gallery, monkeypatch, what):
    monkeypatch.setattr(codes, "CODED_FROM", 8)
    gallery.rename(3, "Renamed")
    gallery.remember_rejected({b"x" * 32: ["no_face"]}, "policy")
    gallery.flush()
    copy = tmp_path / "copy"
    if what == "backup":
        gallery.backup(copy)
    else:
        shutil.copytree(gallery.path, copy)
    with Gallery.open(copy, key=KEY) as before:
        assert len(before.identities()) == 12
    assert gallery.erase(3) == "done"
    assert found_in(opened_pages(copy), [PEOPLE[2]]) == []
    with Gallery.open(copy, key=KEY) as before:
        with pytest.raises(KeyMissing, match="the key of identity 3 is not in"):
            before.identities()
        with pytest.raises(KeyMissing, match="the key of identity 3 is not in"):
            before.embeddings()
        assert [one.name for one in before.find(2)] == ["Person 1"], "the others are there"
    keys = envelope.unlock(copy, KEY)
    assert gallery._database.sealing != keys.files


def test_no_file_here_holds_the_erased_person_s_key_any_more(tmp_path, gallery):
    people = gallery._database._people
    people.fetch([3])
    key, caches = people._key_of(3), people.cache_key
    gallery.erase(3)
    keys = envelope.unlock(gallery.path, KEY)
    raw = connect(f"file:{people.path}?mode=ro", replace(keys, database=keys.people))
    raw.execute("ATTACH DATABASE ? AS plain KEY ''", (str(tmp_path / "opened"),))
    raw.execute("SELECT sqlcipher_export('plain')")
    raw.close()
    content = (tmp_path / "opened").read_bytes()
    assert people._key_of(4) in content
    assert key not in content
    assert caches not in content
    assert sorted(file.name for file in people.path.parent.iterdir()) == sorted(
        [people.path.name, people.path.with_suffix(".lock").name]
    )


def test_a_merged_moved_or_renamed_template_goes_with_the_person_who_has_it(tmp_path, gallery):
    gallery.merge(5, 4)
    moved = [one.id for one in gallery.templates_of(6)]
    gallery.move_templates(moved[:2], 4)
    gallery.note_places({moved[0]: "photos/somewhere/else"})
    gallery.add_embeddings(OTHER_MODEL, moved, unit_vectors(4, 8))
    gallery.backup(tmp_path / "backup")
    gallery.erase(4)
    assert {one.name for one in gallery.identities()} == {f"Person {n}" for n in (0, 1, 2, 5, 6, 7, 8, 9, 10, 11)}
    with Gallery.open(tmp_path / "backup", key=KEY) as backup:
        for template in [*moved[:2], 4, 5]:
            with backup._database.read() as connection, pytest.raises(KeyMissing, match="the key of identity"):
                vectors_of(connection, np.array([template]))
            with pytest.raises(KeyMissing, match="the key of identity"):
                backup.crop(template)
        assert backup.crop(moved[2]) is not None
    gallery.undoable()
    assert gallery.check(deep=True) == []


def test_undoing_gives_everything_back(gallery):
    for act in (
        lambda: gallery.merge(5, 4),
        lambda: gallery.move_templates([one.id for one in gallery.templates_of(6)][:2], 4),
        lambda: gallery.rename(1, "Another"),
        lambda: gallery.remove(2),
        lambda: gallery.remove_templates([7, 8]),
    ):
        act()
        gallery.undo()
    assert gallery.check(deep=True) == []
    assert [one.name for one in gallery.identities()] == [f"Person {n}" for n in range(12)]


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda gallery, moved: (gallery.move_templates(moved[:3], 6), gallery.undo()),
        lambda gallery, moved: gallery.note_places({one: f"elsewhere/{one}" for one in moved}),
        lambda gallery, moved: gallery.add_embeddings(OTHER_MODEL, moved, unit_vectors(len(moved), 8)),
    ],
    ids=["a move undone", "another place", "another model"],
)
def test_what_a_merge_that_was_undone_gave_back_is_lost_with_nobody_else(gallery, meanwhile):
    (hidden,) = gallery.add([with_crop("Person 3", "twin")])
    gallery.remove_templates([hidden.template_id])
    (shown,) = gallery.add([with_crop("Person 4", "twin")])  # which a merge lets change places with the hidden one
    gallery.merge(5, 4)
    meanwhile(gallery, [one.id for one in gallery.templates_of(4)])
    gallery.undo()
    gallery.erase(4)
    assert len(gallery.templates_of(5)) == 5
    assert gallery.crop(shown.template_id).endswith(b"twin")
    assert len(gallery.embeddings().vectors) == 45
    assert gallery.check(deep=True) == []


def test_purging_destroys_former_names_in_backups_too(tmp_path, gallery):
    gallery.rename(1, "New Name")
    gallery.backup(tmp_path / "backup")
    gallery.purge()
    with Gallery.open(tmp_path / "backup", key=KEY) as backup, pytest.raises(KeyMissing, match="the key of identity"):
        backup.find("Person 0")


def test_without_the_folder_or_the_file_it_says_what_is_missing(tmp_path, gallery, monkeypatch):
    gallery.close()
    with monkeypatch.context() as patched:
        patched.delenv("FACEID_PERSON_KEYS")
        with pytest.raises(KeyMissing, match="FACEID_PERSON_KEYS=/path/to/folder"):
            Gallery.open(gallery.path, key=KEY)
        Gallery.open(gallery.path, key=KEY, person_keys=tmp_path / "elsewhere").close()
    with pytest.raises(KeyMissing, match="which is not there"):
        Gallery.open(gallery.path, key=KEY, person_keys=tmp_path / "nowhere")
    with pytest.raises(KeyMissing, match="lies in the gallery"):
        Gallery.create(tmp_path / "x", MODEL, key=KEY, person_keys=tmp_path / "x" / "keys")
    with pytest.raises(KeyMissing, match="for encrypted galleries"):
        Gallery.create(tmp_path / "y", MODEL)


def test_a_gallery_without_them_is_used_as_it_is_and_taken_in(tmp_path, gallery, without):
    without.close()
    with Gallery.open(without.path, key=KEY, person_keys=tmp_path / "elsewhere", writable=True) as other:
        other.add([photo("Later", "later")])
    with Gallery.create(tmp_path / "h", MODEL, key=KEY, person_keys=tmp_path / "elsewhere") as taking:
        taking.merge_from(without.path)
        assert taking.size == 13
        assert found_in(opened_pages(taking.path), PEOPLE) == []


def test_another_gallery_s_keys_and_damaged_ones_are_refused(tmp_path, gallery):
    with Gallery.create(tmp_path / "h", MODEL, key=KEY) as other:
        other.add(PEOPLE[:3])
    mine, theirs = gallery._database._people.path, other._database._people.path
    gallery.close()
    sound = mine.read_bytes()
    shutil.copy(theirs, mine)
    with pytest.raises(WrongKey, match="does not hold the keys of this gallery's people"):
        Gallery.open(gallery.path, key=KEY)
    for place in range(5, len(sound), 4099):
        mine.write_bytes(sound[:place] + bytes([sound[place] ^ 8]) + sound[place + 1 :])
        try:
            with Gallery.open(gallery.path, key=KEY) as opened:
                names = [one.name for one in opened.identities()]
        except GalleryError as error:
            names = mine.name in str(error)
        assert names in (True, [f"Person {n}" for n in range(12)])


def test_an_older_copy_may_be_read_and_not_written(tmp_path, gallery):
    gallery.backup(tmp_path / "backup")
    with pytest.raises(GalleryLocked, match="another copy of the gallery"):
        Gallery.open(tmp_path / "backup", writable=True, key=KEY)
    gallery.add([photo("Later", "later")])
    gallery.close()
    with pytest.raises(GalleryError, match="it is an older copy"):
        Gallery.open(tmp_path / "backup", writable=True, key=KEY)
    with Gallery.open(tmp_path / "backup", key=KEY) as backup:
        assert len(backup.identities()) == 12


def test_an_encrypted_copy_has_keys_of_its_own_and_lives_on(tmp_path, gallery):
    expected = state(gallery)
    Gallery.encrypt(gallery.path, tmp_path / "copy", NEW, source_key=KEY)
    gallery.erase(3)
    with Gallery.open(tmp_path / "copy", writable=True, key=NEW) as copy:
        assert state(copy) == expected
        assert copy.erase(4) == "done"
        copy.add([photo("Later", "later")])
        assert copy.check(deep=True) == []
    with Gallery.open(gallery.path, key=KEY) as reader:
        assert reader.find(4)[0].name == "Person 3"


def test_exports_and_merges_carry_the_people_over(tmp_path, gallery):
    gallery.export(tmp_path / "e.parquet")
    with Gallery.create(tmp_path / "h", MODEL, key=KEY) as other:
        other.import_(tmp_path / "e.parquet")
        assert other.search(PROBES, 5) == gallery.search(PROBES, 5)
    with Gallery.create(tmp_path / "i", MODEL, key=KEY) as other:
        other.merge_from(gallery.path)
        assert other.search(PROBES, 5) == gallery.search(PROBES, 5)


def test_its_vectors_may_be_turned_too(gallery, without):
    gallery.turn(NEW)
    before, after = without.search(PROBES, 5), gallery.search(PROBES, 5)
    assert [[c.name for c in one.candidates] for one in before] == [[c.name for c in one.candidates] for one in after]
    assert gallery.check(deep=True) == []


@pytest.mark.parametrize("step", ["renew_sealing", "scrub", "before the keys"])
def test_an_erase_that_was_stopped_is_finished_by_the_next_writer(tmp_path, gallery, monkeypatch, step):
    gallery.backup(tmp_path / "backup")

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if step == "before the keys":
            patched.setattr("indexer.store.person_keys.PersonKeys.keep_only", stop)
        else:
            patched.setattr(f"indexer.store.sqlite_store.SqliteStore.{step}", stop)
        with pytest.raises(KeyboardInterrupt):
            gallery.erase(3)
        gallery._database.close()
    with Gallery.open(tmp_path / "backup", key=KEY) as backup:
        assert len(backup.identities()) == 12
    with Gallery.open(gallery.path, writable=True, key=KEY) as again:
        assert not again.stats().erase_pending
        assert again.check(deep=True) == []
    with (
        Gallery.open(tmp_path / "backup", key=KEY) as backup,
        pytest.raises(KeyMissing, match="the key of identity 3"),
    ):
        backup.identities()


def test_people_whose_enrolment_failed_get_other_keys(gallery, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("indexer.store.adding.bump_revision", stop)
        with pytest.raises(KeyboardInterrupt):
            gallery.add([photo("Never", "never")])
    first = gallery._database._people._key_of(13)
    gallery.add([photo("Somebody", "some")])
    assert gallery._database._people._key_of(13) != first
    assert gallery.find("Somebody")[0].name == "Somebody"


def test_a_pending_erase_keeps_the_key_until_the_reader_has_left(tmp_path, gallery):
    gallery.flush()
    with Gallery.open(gallery.path, key=KEY) as reader:
        with reader._database.read() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM identity").scalar()
            assert gallery.erase(3) == "pending"
            gallery._database._people.fetch([3])
        assert len(reader.search(PROBES, 3)) == 9
    gallery.close()
    with Gallery.open(gallery.path, writable=True, key=KEY) as again:
        assert not again.stats().erase_pending


def test_the_scenario_of_all_commands_runs_on_it(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEID_KEY", "env:ONE_KEY")
    place = prepare(tmp_path / "work")
    with Gallery.open(place.gallery, writable=True) as opened:
        assert opened.check(deep=True) == []
        assert opened.size > 0


def test_one_cell_in_another_s_place_is_noticed(gallery):
    from indexer.store.checksum import checksum

    gallery.close()
    keys = envelope.unlock(gallery.path, KEY)
    raw = connect(f"file:{gallery.path / 'gallery.db'}?mode=rw", keys)
    (cell,) = raw.execute("SELECT vector FROM embedding WHERE template_id = 1").fetchone()
    raw.execute("UPDATE embedding SET vector = ?, checksum = ? WHERE template_id = 2", (cell, checksum(2, 1, cell)))
    raw.close()
    assert not isinstance(raw, sqlite3.Connection)
    with Gallery.open(gallery.path, key=KEY) as opened, pytest.raises(StoreDamaged, match="embedding 2 1 was changed"):
        opened.embeddings()


def test_of_a_backup_of_before_an_erase_the_others_are_made_a_gallery_again(tmp_path, gallery):
    gallery.merge(5, 4)
    gallery.rename(1, "Renamed")
    gallery.move_templates([one.id for one in gallery.templates_of(6)][:1], 3)
    gallery.undo()
    gallery.backup(tmp_path / "backup")
    gallery.erase(4)
    gallery.erase(1)
    Gallery.encrypt(tmp_path / "backup", tmp_path / "again", NEW, source_key=KEY)
    with Gallery.open(tmp_path / "again", writable=True, key=NEW) as again:
        assert [one.id for one in again.identities()] == [one.id for one in gallery.identities()]
        assert again.search(PROBES, 5)[0].candidates == gallery.search(PROBES, 5)[0].candidates
        again.add([photo("Later", "later")])
        assert again.check(deep=True) == []
        assert again.erase(2) == "done"


def test_templates_under_the_key_of_somebody_who_is_gone_are_dropped_alone(tmp_path, gallery):
    gallery.merge(5, 4)
    gallery.backup(tmp_path / "backup")
    gallery.undo()
    gallery.erase(5)
    Gallery.encrypt(tmp_path / "backup", tmp_path / "again", NEW, source_key=KEY)
    with Gallery.open(tmp_path / "again", writable=True, key=NEW) as again:
        assert len(again.templates_of(4)) == 4
        assert again.check(deep=True) == []


def test_a_template_that_another_model_embedded_while_its_people_were_one_goes_with_whose_it_is(tmp_path, gallery):
    gallery.merge(5, 4)
    ids = [one.id for one in gallery.templates()]
    gallery.add_embeddings(OTHER_MODEL, ids, unit_vectors(len(ids), 8))
    gallery.switch_model(OTHER_MODEL)
    gallery.backup(tmp_path / "backup")
    gallery.undo()
    gallery.erase(5)
    Gallery.encrypt(tmp_path / "backup", tmp_path / "again", NEW, source_key=KEY)
    with Gallery.open(tmp_path / "again", writable=True, key=NEW) as again:
        assert [one.id for one in again.templates()] == [one.id for one in gallery.templates()]
        assert again.check(deep=True) == []


def test_of_a_backup_the_others_are_those_too_who_were_merged_with_the_erased_one_then(tmp_path, gallery):
    (hidden,) = gallery.add([with_crop("Person 3", "twin")])
    gallery.remove_templates([hidden.template_id])
    gallery.add([with_crop("Person 4", "twin")])  # which a merge lets change places with the hidden one
    gallery.rename(5, "Renamed")
    gallery.merge(5, 4)
    gallery.backup(tmp_path / "backup")
    gallery.undo()
    gallery.erase(4)
    Gallery.encrypt(tmp_path / "backup", tmp_path / "again", NEW, source_key=KEY)
    with Gallery.open(tmp_path / "again", writable=True, key=NEW) as again:
        assert again.identities() == gallery.identities()
        assert again.templates_of(5) == gallery.templates_of(5)
        assert [one.id for one in again.find("Person 4")] == [5]
        assert again.search(PROBES, 5)[0].candidates == gallery.search(PROBES, 5)[0].candidates
        assert again.check(deep=True) == []


def test_whose_keys_an_old_file_of_them_lacks_is_not_taken_for_erased(tmp_path, gallery):
    (keys,) = (tmp_path / "elsewhere").glob("*.db")
    newest, old = tmp_path / "newest", keys.read_bytes()
    gallery.add([with_crop("Later", "later")])
    gallery.close()
    shutil.copy(keys, newest)
    keys.write_bytes(old)
    with pytest.raises(KeyMissing, match="put back the newest copy"):
        Gallery.encrypt(gallery.path, tmp_path / "again", NEW, source_key=KEY)
    assert not (tmp_path / "again").exists()
    shutil.copy(newest, keys)
    Gallery.encrypt(gallery.path, tmp_path / "again", NEW, source_key=KEY)
    with Gallery.open(tmp_path / "again", key=NEW) as again:
        assert again.size == 13


@pytest.mark.slow
def test_an_erase_or_an_enrolment_killed_at_a_write_happened_or_did_not(tmp_path, gallery):
    gallery.backup(tmp_path / "work" / "backup")
    gallery.close()
    shutil.move(gallery.path, tmp_path / "work" / "g")
    shutil.move(tmp_path / "elsewhere", tmp_path / "work" / "keys")
    for act in (lambda opened: opened.erase(3), lambda opened: opened.add([photo("Later", "later")])):
        outcomes = set()
        for step in itertools.count(1, 5):
            shutil.copytree(tmp_path / "work", tmp_path / "run")
            finished = killed_at(step, act, tmp_path / "run")
            outcomes.add(what_is_left(tmp_path / "run"))
            shutil.rmtree(tmp_path / "run")
            if finished:
                break
        assert len(outcomes) == 2, "before and after, and nothing between"


def killed_at(step, act, folder):
    """Do something in a process that dies at its `step`-th write; whether it ended before."""
    child = os.fork()
    if child == 0:
        try:
            die_at(step)
            with Gallery.open(folder / "g", writable=True, key=KEY, person_keys=folder / "keys") as opened:
                act(opened)
            os._exit(0)
        except BaseException:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or status == 0
    return status == 0


def what_is_left(folder):
    """The ids of who is there when the gallery was opened again; of all others the backup tells nothing."""
    with Gallery.open(folder / "g", writable=True, key=KEY, person_keys=folder / "keys") as opened:
        ids = tuple(one.id for one in opened.identities())
        assert opened.check(deep=True) == []
        assert len(opened.embeddings().vectors) == sum(4 if one <= 12 else 1 for one in ids)
    with Gallery.open(folder / "backup", key=KEY, person_keys=folder / "keys") as backup:
        for number in range(1, 13):
            if number in ids:
                assert backup.find(number)[0].name == f"Person {number - 1}"
            else:
                with pytest.raises(KeyMissing):
                    backup.find(number)
    return ids
