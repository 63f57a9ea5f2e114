"""An encrypted gallery answers as a plain one; a thief of its files finds nothing; who lacks its key is told which."""

import json
import os
import shutil
from pathlib import Path

import pytest

from benchmarks.measurements.durability.encryption import write_key
from benchmarks.measurements.durability.scenario import needles, photos_of, prepare, state, traces
from indexer.crypto import envelope
from indexer.crypto.keys import KeyFile
from indexer.errors import GalleryError, KeyMissing, StoreDamaged, WrongKey
from indexer.gallery import Gallery
from tests.indexer.made_up_people import MODEL, photo

pytestmark = pytest.mark.plain
"""These name their keys themselves."""

PEOPLE = [photo(f"Person {i}", f"folder/{i}") for i in range(30)]


def key_in(folder, name="key", byte=1):
    return write_key(folder / name, byte)


@pytest.fixture
def key(tmp_path):
    return key_in(tmp_path)


@pytest.fixture
def other_key(tmp_path):
    return key_in(tmp_path, "other", 2)


@pytest.fixture
def made(tmp_path, key):
    with Gallery.create(tmp_path / "g", MODEL, key=key) as gallery:
        gallery.add(PEOPLE)
    return tmp_path / "g"


def test_it_opens_with_its_key_alone(made, key, other_key):
    with Gallery.open(made, key=key) as gallery:
        assert gallery.size == 30
        assert gallery.check(deep=True) == []
    with pytest.raises(KeyMissing, match=r"is encrypted under the key [0-9a-f]{16}: say where") as missing:
        Gallery.open(made)
    with pytest.raises(WrongKey, match=r"under the key ([0-9a-f]{16}), and the key at hand is (?!\1)") as wrong:
        Gallery.open(made, key=other_key)
    assert (missing.value.exit_code, wrong.value.exit_code) == (7, 8)


def test_its_folder_may_be_called_whatever_a_file_system_takes(made, tmp_path, key):
    folder = made.rename(tmp_path / os.fsdecode(b"st\xe4ff"))
    with Gallery.open(folder, key=key) as gallery:
        gallery.backup(tmp_path / os.fsdecode(b"b\xe4ck"))
    with Gallery.create(tmp_path / os.fsdecode(b"n\xe4"), MODEL, key=key) as gallery:
        assert gallery.merge_from(tmp_path / os.fsdecode(b"b\xe4ck"))
    Gallery.encrypt(folder, tmp_path / os.fsdecode(b"\xe4nother"), key, source_key=key)


def test_a_plain_gallery_is_not_taken_for_an_encrypted_one(tmp_path, key):
    Gallery.create(tmp_path / "plain", MODEL).close()
    with pytest.raises(GalleryError, match="is not encrypted"):
        Gallery.open(tmp_path / "plain", key=key)


def test_the_key_that_the_environment_names_makes_and_opens(tmp_path, monkeypatch, key):
    monkeypatch.setenv("FACEID_KEY", f"file:{key.path}")
    Gallery.create(tmp_path / "g", MODEL).close()
    Gallery.open(tmp_path / "g").close()
    monkeypatch.delenv("FACEID_KEY")
    with pytest.raises(KeyMissing):
        Gallery.open(tmp_path / "g")


def test_an_envelope_that_was_altered_is_told_from_a_wrong_key(made, key):
    sound = json.loads((made / envelope.FILE).read_text())
    flipped = {"wrapped": f"{int(sound['wrapped'][:2], 16) ^ 1:02x}{sound['wrapped'][2:]}"}
    for change in (flipped, {"salt": "00" * 16}, {"wrapped": "00"}, {"key_id": 5}, {"key_id": "xy"}, {"format": "y"}):
        (made / envelope.FILE).write_text(json.dumps(sound | change))
        with pytest.raises(StoreDamaged, match=r"gallery\.key.*(altered|damaged)") as told:
            Gallery.open(made, key=key)
        assert told.value.exit_code == 5
    for text in ("", "{", "[]", "[" * 4000, "null"):
        (made / envelope.FILE).write_text(text)
        with pytest.raises(StoreDamaged, match=r"gallery\.key"):
            Gallery.open(made, key=key)
    (made / envelope.FILE).write_text(json.dumps(sound | {"format": "faceid-envelope-9"}))
    with pytest.raises(StoreDamaged, match="newer version"):
        Gallery.open(made, key=key)


@pytest.mark.parametrize("put", ["folder", "pipe", "endless"])
def test_an_envelope_that_is_no_regular_file_is_damage_and_leaves_nothing_open(made, key, put):
    place = made / envelope.FILE
    place.unlink()
    if put == "folder":
        place.mkdir()
    elif put == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/zero")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for given in (key, None):
        with pytest.raises(StoreDamaged, match=r"gallery\.key cannot be read: not a regular file; put back") as told:
            Gallery.open(made, key=given)
        assert told.value.exit_code == 5
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_an_envelope_that_is_gone_is_told(made, key):
    (made / envelope.FILE).unlink()
    with pytest.raises(StoreDamaged, match=r"its gallery\.key is gone"):
        Gallery.open(made)
    with pytest.raises(GalleryError, match=r"has no gallery\.key"):
        Gallery.open(made, key=key)


@pytest.mark.parametrize("swapped", ["gallery.db", envelope.FILE])
def test_another_gallerys_database_or_envelope_under_the_same_key_is_told(tmp_path, made, key, swapped):
    with Gallery.create(tmp_path / "other", MODEL, key=key) as other:
        other.add(PEOPLE[:3])
    shutil.copy(tmp_path / "other" / swapped, made / swapped)
    with pytest.raises(WrongKey, match=r"not the database that gallery\.key beside it is of"):
        Gallery.open(made, key=key)


@pytest.mark.parametrize("place", [0, 15, 16, 5000, 16383])
def test_a_damaged_beginning_is_damage_and_no_wrong_key(made, key, place):
    content = bytearray((made / "gallery.db").read_bytes())
    content[place] ^= 4
    (made / "gallery.db").write_bytes(content)
    with pytest.raises(StoreDamaged, match="damaged"):
        Gallery.open(made, key=key)


def test_segments_of_another_gallery_under_the_same_key_are_not_believed(tmp_path, made, key):
    with Gallery.open(made, key=key) as gallery:
        expected = gallery.search(PEOPLE[3].vector[None], 5)
    shutil.copytree(made, tmp_path / "copy")
    with Gallery.create(tmp_path / "other", MODEL, key=key) as other:
        other.add(PEOPLE)
    for file in made.glob("index*"):
        file.unlink()
    for file in (tmp_path / "other").glob("index*"):
        shutil.copy(file, made / file.name)
    with Gallery.open(made, key=key) as gallery:
        assert gallery.search(PEOPLE[3].vector[None], 5) == expected
        assert [one.kind for one in gallery.check(deep=True)] == ["bad_cache"]


def test_files_of_one_gallery_that_changed_names_are_not_believed(made, key):
    one, other = sorted(made.glob("index-*"))
    contents = one.read_bytes(), other.read_bytes()
    other.write_bytes(contents[0])
    one.write_bytes(contents[1])
    with Gallery.open(made, key=key) as gallery:
        assert gallery.search(PEOPLE[3].vector[None], 1)[0].candidates[0].name == "Person 3"
        assert gallery.check(deep=True) != []


def test_an_encrypted_copy_holds_the_same_and_the_source_stays(tmp_path, key):
    place = prepare(tmp_path / "work")
    with Gallery.open(place.gallery, writable=True) as gallery:
        gallery.remove(3)
        gallery.rename(4, "Another")
        expected = state(gallery)
    Gallery.encrypt(place.gallery, tmp_path / "encrypted", key)
    with Gallery.open(tmp_path / "encrypted", writable=True, key=key) as copy:
        assert state(copy) == expected
        assert copy.check(deep=True) == []
    with Gallery.open(tmp_path / "encrypted", key=key) as copy:
        assert state(copy) == expected
        assert copy.check(deep=True) == []
    with Gallery.open(place.gallery) as source:
        assert state(source) == expected
    everybody = [one for person in range(1, 41) for one in photos_of(person)]
    assert traces(tmp_path / "encrypted", needles(everybody)) == []
    assert {file.name.split("-")[0] for file in (tmp_path / "encrypted").iterdir()} >= {"gallery.db", "index"}


def test_an_encrypted_copy_of_an_encrypted_gallery_has_keys_of_its_own(tmp_path, made, key, other_key):
    Gallery.encrypt(made, tmp_path / "copy", other_key, source_key=key)
    with Gallery.open(made, key=key) as one, Gallery.open(tmp_path / "copy", key=other_key) as copy:
        assert state(copy) == state(one)
    shutil.copy(made / envelope.FILE, tmp_path / "copy" / envelope.FILE)
    with pytest.raises(WrongKey):
        Gallery.open(tmp_path / "copy", key=key)


def test_after_a_rotation_the_new_key_opens_and_the_old_one_does_not(tmp_path, made, key, other_key):
    files = {file.name: file.read_bytes() for file in made.iterdir()}
    with Gallery.open(made, key=key) as gallery:
        gallery.backup(tmp_path / "old")
    Gallery.rotate(made, other_key, key=key)
    assert [name for name, content in files.items() if (made / name).read_bytes() != content] == [envelope.FILE]
    with Gallery.open(made, writable=True, key=other_key) as gallery:
        assert gallery.size == 30
    with pytest.raises(WrongKey):
        Gallery.open(made, key=key)
    with pytest.raises(WrongKey, match="a backup of before `rotate` keeps the key of then"):
        Gallery.open(tmp_path / "old", key=other_key)
    Gallery.open(tmp_path / "old", key=key).close()


def test_a_rotation_with_a_wrong_or_missing_key_changes_nothing(tmp_path, made, key, other_key):
    before = (made / envelope.FILE).read_bytes()
    with pytest.raises(WrongKey):
        Gallery.rotate(made, key, key=other_key)
    with pytest.raises(KeyMissing):
        Gallery.rotate(made, KeyFile(str(tmp_path / "nothing")), key=key)
    with pytest.raises(KeyMissing, match="present one"):
        Gallery.rotate(made, other_key)
    assert (made / envelope.FILE).read_bytes() == before
    Gallery.create(tmp_path / "plain", MODEL).close()
    with pytest.raises(GalleryError, match="is not encrypted"):
        Gallery.rotate(tmp_path / "plain", other_key, key=key)


def test_no_repr_and_no_message_shows_a_key(made, key):
    keys = envelope.unlock(made, key)
    assert keys.database.hex() not in repr(keys)
    assert repr(keys.database) not in repr(keys)
