"""The commands of a gallery whose vectors are turned by a key."""

import json

import pytest
from click.testing import CliRunner

from faceid.cli import cli
from indexer.gallery import Gallery
from tests.indexer.made_up_people import MODEL, photo


@pytest.fixture
def keys(tmp_path, monkeypatch):
    """Two key files; the environment names none."""
    monkeypatch.delenv("FACEID_TURN_KEY", raising=False)
    found = []
    for number, name in enumerate(("one", "other"), start=1):
        path = tmp_path / name
        path.write_text(bytes([number] * 32).hex())
        path.chmod(0o600)
        found.append(f"file:{path}")
    return found


@pytest.fixture
def staff(tmp_path, keys, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setenv("FACEID_TURN_KEY", keys[0])
        with Gallery.create(tmp_path / "staff", MODEL) as gallery:
            gallery.add([photo("Ann Lee", "a"), photo("Bob Ray", "b")])
    return tmp_path / "staff"


def run(*arguments, code=0):
    result = CliRunner().invoke(cli, [str(one) for one in arguments])
    assert result.exit_code == code, (arguments, result.output, result.exception)
    return result


def test_create_makes_one_and_says_so(tmp_path, keys):
    said = run("gallery", "create", "--turn-key", keys[0], "--gallery", tmp_path / "new").stderr
    assert "is made, its vectors turned, bound to" in said
    assert "say where that key is" in run("gallery", "list", "--gallery", tmp_path / "new", code=7).stderr


def test_rotate_turns_the_vectors_by_another_key(staff, keys, monkeypatch):
    at = ("--gallery", staff)
    said = run("gallery", "rotate", "--turn-key", keys[0], "--turn-to", keys[1], *at).stderr
    assert "those copied before fit nothing here" in said
    monkeypatch.setenv("FACEID_TURN_KEY", keys[0])
    assert "the key at hand is" in run("gallery", "list", *at, code=8).stderr
    monkeypatch.setenv("FACEID_TURN_KEY", keys[1])
    assert "Ann Lee" in run("gallery", "list", *at).output
    assert json.loads(run("gallery", "stats", "--json", *at).output)["turned_by"]
    assert "turned by the key" in run("doctor", *at, "--json", code=1).output  # the model is made up
    assert "say which key is new" in run("gallery", "rotate", *at, code=2).stderr


def test_what_was_turned_by_another_key_is_merged_and_imported_with_that_key(tmp_path, staff, keys, monkeypatch):
    monkeypatch.setenv("FACEID_TURN_KEY", keys[0])
    run("gallery", "export", tmp_path / "e.parquet", "--gallery", staff)
    monkeypatch.setenv("FACEID_TURN_KEY", keys[1])
    Gallery.create(tmp_path / "elsewhere", MODEL).close()
    at = ("--gallery", tmp_path / "elsewhere")
    run("gallery", "merge-from", staff, *at, code=8)
    run("gallery", "import", tmp_path / "e.parquet", *at, code=8)
    run("gallery", "merge-from", staff, "--source-turn-key", keys[0], *at)
    assert (
        "2 already enrolled"
        in run("gallery", "import", tmp_path / "e.parquet", "--source-turn-key", keys[0], *at).stderr
    )
