"""Where a key comes from: what is no key, or lies where others read it, is refused in words, without its content."""

import base64
import os

import pytest

from indexer.crypto.keys import key_from, usual_key
from indexer.errors import GalleryError, KeyMissing
from indexer.store.person_keys import PERSON_VARIABLE, usual_person_keys

KEY = bytes(range(32))


def ask(text, gallery, key_id=None):
    return key_from(text).key(gallery, key_id)


def write(path, content, mode=0o600):
    path.write_bytes(content)
    path.chmod(mode)
    return f"file:{path}"


@pytest.mark.parametrize(
    "written",
    [
        KEY.hex().encode(),
        KEY.hex().upper().encode() + b"\n",
        base64.b64encode(KEY),
        b"\xef\xbb\xbf" + KEY.hex().encode() + b"\r\n",
    ],
)
def test_a_key_file_holds_hexadecimal_digits_or_base64(tmp_path, written):
    assert ask(write(tmp_path / "key", written), tmp_path / "gallery") == KEY


@pytest.mark.parametrize(
    "written",
    [b"", KEY.hex()[:62].encode(), KEY, base64.b64encode(KEY[:31]), b"correct horse battery staple", b"\xff" * 64],
)
def test_what_is_no_key_is_told_without_its_content(tmp_path, written):
    with pytest.raises(KeyMissing, match="holds no key: a key is 32 bytes") as told:
        ask(write(tmp_path / "key", written), tmp_path / "gallery")
    assert told.value.exit_code == 7
    assert "horse" not in str(told.value)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_key_file_that_others_may_touch_is_refused(tmp_path, mode):
    with pytest.raises(KeyMissing, match="chmod 600"):
        ask(write(tmp_path / "key", KEY.hex().encode(), mode), tmp_path / "gallery")


def test_a_key_file_inside_the_gallery_is_refused_also_through_a_link(tmp_path):
    (tmp_path / "gallery").mkdir()
    inside = write(tmp_path / "gallery" / "key", KEY.hex().encode())
    (tmp_path / "link").symlink_to(tmp_path / "gallery" / "key")
    for where in (inside, f"file:{tmp_path / 'link'}"):
        with pytest.raises(KeyMissing, match="lies in the gallery"):
            ask(where, tmp_path / "gallery")


def test_a_key_file_that_is_not_there_or_is_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(0o700)
    for name in ("nothing", "pipe", "folder"):
        with pytest.raises(KeyMissing, match=f"the key file .*{name} cannot be read"):
            ask(f"file:{tmp_path / name}", tmp_path / "gallery")


def test_a_path_that_leads_nowhere_and_a_variable_that_is_no_text_are_told(tmp_path, monkeypatch):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setitem(os.environb, b"ODD_KEY", b"\xff" * 32)
    for where, says in (
        ("file:~nobody-of-this-name/key", "nobody here has the home folder"),
        (f"file:{tmp_path / 'loop'}", "cannot be read"),
        ("env:ODD_KEY", "ODD_KEY holds no key"),
    ):
        with pytest.raises(KeyMissing, match=says):
            ask(where, tmp_path / "gallery")
    monkeypatch.setenv(PERSON_VARIABLE, "~nobody-of-this-name/keys")
    with pytest.raises(KeyMissing, match="nobody here has the home folder"):
        usual_person_keys()


def test_an_environment_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_KEY", KEY.hex())
    assert ask("env:SOME_KEY", tmp_path) == KEY
    with pytest.raises(KeyMissing, match="NO_KEY"):
        ask("env:NO_KEY", tmp_path)


def test_a_command_is_told_which_key_is_wanted_and_no_shell_reads_it(tmp_path, monkeypatch):
    monkeypatch.setenv("KEYS", KEY.hex())
    script = tmp_path / "vault.sh"
    script.write_text('#!/bin/sh\necho "$FACEID_KEY_ID" > "$(dirname "$0")/asked"\necho $KEYS\n')
    script.chmod(0o700)
    assert ask(f"command:{script} --key '$(touch {tmp_path}/shell)'", tmp_path, "0123456789abcdef") == KEY
    assert (tmp_path / "asked").read_text() == "0123456789abcdef\n"
    assert not (tmp_path / "shell").exists()


@pytest.mark.parametrize(
    ("command", "why"), [("false", "exit code 1"), ("no-such-command", "cannot be run"), ("'", "cannot be run")]
)
def test_a_command_that_fails_is_told(tmp_path, command, why):
    with pytest.raises(KeyMissing, match=why):
        ask(f"command:{command}", tmp_path)


def test_the_systems_keyring(tmp_path, monkeypatch):
    import keyring

    kept = {("faceid", "staff"): KEY.hex()}
    monkeypatch.setattr(keyring, "get_password", lambda service, name: kept.get((service, name)))
    assert ask("keyring:staff", tmp_path) == KEY
    with pytest.raises(KeyMissing, match="keyring set faceid other"):
        ask("keyring:other", tmp_path)


def test_a_system_without_a_keyring_says_so(tmp_path, monkeypatch):
    import keyring
    from keyring.backends.fail import Keyring

    monkeypatch.setattr(keyring, "get_password", Keyring().get_password)
    with pytest.raises(KeyMissing, match="cannot be asked"):
        ask("keyring:staff", tmp_path)


@pytest.mark.parametrize("text", [KEY.hex(), "file", "file:", "vault:x", ":x"])
def test_a_key_is_named_and_not_written_down(text):
    with pytest.raises(GalleryError, match="a key is named as") as told:
        key_from(text)
    assert KEY.hex() not in str(told.value)


def test_a_provider_shows_nothing_and_without_the_variable_there_is_none(monkeypatch):
    monkeypatch.delenv("FACEID_KEY", raising=False)
    assert usual_key() is None
    monkeypatch.setenv("FACEID_KEY", "env:SOME_KEY")
    monkeypatch.setenv("SOME_KEY", KEY.hex())
    assert KEY.hex() not in repr(usual_key())
