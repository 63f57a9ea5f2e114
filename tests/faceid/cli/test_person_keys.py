"""The commands of a gallery each of whose people has a key."""

import pytest

from indexer.gallery import Gallery
from tests.faceid.cli.invoked import invoke, key_file
from tests.indexer.made_up_people import MODEL, photo


@pytest.fixture
def staff(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEID_KEY", key_file(tmp_path / "key", 1))
    monkeypatch.setenv("FACEID_PERSON_KEYS", str(tmp_path / "people"))
    with Gallery.create(tmp_path / "staff", MODEL) as gallery:
        gallery.add([photo("Ann Lee", "a"), photo("Bob Ray", "b")])
    return tmp_path / "staff"


def test_create_makes_the_keys_and_insists_on_an_encrypted_gallery(tmp_path, monkeypatch):
    monkeypatch.delenv("FACEID_KEY", raising=False)
    at = ("--person-keys", tmp_path / "people", "--gallery", tmp_path / "new")
    assert "say where the key is" in invoke("gallery", "create", *at, code=7).stderr
    said = invoke("gallery", "create", "--key", key_file(tmp_path / "key", 1), *at).stderr
    assert "is made, encrypted, a key for each person, bound to" in said
    assert [file.suffix for file in sorted((tmp_path / "people").iterdir())] == [".db", ".lock"]


def test_erase_reaches_a_backup_and_says_so(tmp_path, staff):
    at = ("--gallery", staff)
    invoke("gallery", "backup", tmp_path / "backup", *at)
    assert "Ann Lee" in invoke("gallery", "list", "--gallery", tmp_path / "backup").output
    said = invoke("gallery", "erase", "Ann Lee", "--yes", *at).stderr
    assert "Id 1 is erased, and with its key what backups hold." in said
    assert "Bob Ray" in invoke("gallery", "list", *at).output
    lost = invoke("gallery", "show", "1", "--gallery", tmp_path / "backup", code=7)
    assert "the key of identity 1 is not in" in lost.stderr
    assert "Bob Ray" in invoke("gallery", "show", "2", "--gallery", tmp_path / "backup", "--json").output


def test_doctor_says_it_and_a_missing_folder_is_told(staff, monkeypatch):
    assert "each person under a key of its own" in invoke("doctor", "--gallery", staff, "--json", code=1).output
    monkeypatch.delenv("FACEID_PERSON_KEYS")
    assert "FACEID_PERSON_KEYS=/path/to/folder" in invoke("gallery", "list", "--gallery", staff, code=7).stderr
