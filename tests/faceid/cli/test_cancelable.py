"""The commands of a gallery whose vectors are turned by a key."""

import json

import pytest

from indexer.gallery import Gallery
from tests.faceid.cli.invoked import invoke, key_file
from tests.indexer.made_up_people import MODEL, photo


@pytest.fixture
def keys(tmp_path, monkeypatch):
    """Two key files; the environment names none."""
    monkeypatch.delenv("FACEID_TURN_KEY", raising=False)
    return [key_file(tmp_path / name, number) for number, name in enumerate(("one", "other"), start=1)]


@pytest.fixture
def staff(tmp_path, keys, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setenv("FACEID_TURN_KEY", keys[0])
        with Gallery.create(tmp_path / "staff", MODEL) as gallery:
            gallery.add([photo("Ann Lee", "a"), photo("Bob Ray", "b")])
    return tmp_path / "staff"


def test_create_makes_one_and_says_so(tmp_path, keys):
    said = invoke("gallery", "create", "--turn-key", keys[0], "--gallery", tmp_path / "new").stderr
    assert "is made, its vectors turned, bound to" in said
    assert "say where that key is" in invoke("gallery", "list", "--gallery", tmp_path / "new", code=7).stderr


def test_rotate_turns_the_vectors_by_another_key(staff, keys, monkeypatch):
    at = ("--gallery", staff)
    said = invoke("gallery", "rotate", "--turn-key", keys[0], "--turn-to", keys[1], *at).stderr
    assert "those copied before fit nothing here" in said
    monkeypatch.setenv("FACEID_TURN_KEY", keys[0])
    assert "the key at hand is" in invoke("gallery", "list", *at, code=8).stderr
    monkeypatch.setenv("FACEID_TURN_KEY", keys[1])
    assert "Ann Lee" in invoke("gallery", "list", *at).output
    assert json.loads(invoke("gallery", "stats", "--json", *at).output)["turned_by"]
    assert "turned by the key" in invoke("doctor", *at, "--json", code=1).output  # the model is made up
    assert "say which key is new" in invoke("gallery", "rotate", *at, code=2).stderr


def test_what_was_turned_by_another_key_is_merged_and_imported_with_that_key(tmp_path, staff, keys, monkeypatch):
    monkeypatch.setenv("FACEID_TURN_KEY", keys[0])
    invoke("gallery", "export", tmp_path / "e.parquet", "--gallery", staff)
    monkeypatch.setenv("FACEID_TURN_KEY", keys[1])
    Gallery.create(tmp_path / "elsewhere", MODEL).close()
    at = ("--gallery", tmp_path / "elsewhere")
    invoke("gallery", "merge-from", staff, *at, code=8)
    invoke("gallery", "import", tmp_path / "e.parquet", *at, code=8)
    invoke("gallery", "merge-from", staff, "--source-turn-key", keys[0], *at)
    assert (
        "2 already enrolled"
        in invoke("gallery", "import", tmp_path / "e.parquet", "--source-turn-key", keys[0], *at).stderr
    )
