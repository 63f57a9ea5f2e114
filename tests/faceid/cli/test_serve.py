"""`faceid serve`: what it refuses before it listens, its settings, its keys."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from filelock import FileLock

from faceid.service import run as service_run
from faceid.service.app import create_app
from faceid.service.settings import Settings
from indexer import durable_file
from tests.faceid.cli.conftest import Run


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that a server would have been started with."""
    started: list[Settings] = []

    def serve(settings: Settings) -> None:
        service_run.require_keys_beyond_loopback(settings)
        started.append(settings)

    monkeypatch.setattr(service_run, "serve", serve)
    return started


def settings_file(folder: Path, text: str) -> Path:
    path = folder / "server.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[serve]\nprot = 1", "prot"),
        ("[serve]\nport = 70000", "port"),
        ("[serve]\nfpir = 0", "fpir"),
        ('[serve.galleries]\n"a/b" = "x"', "a/b"),
        ('[serve]\ntls_key = "k"', "tls_certificate"),
        ("[serve", "TOML"),
    ],
)
def test_settings_that_are_unknown_or_out_of_range_are_named(
    run: Run, served: list[Settings], tmp_path: Path, text: str, words: str
) -> None:
    outcome = run("serve", "--config", settings_file(tmp_path, text), "--data", tmp_path / "d")
    assert (outcome.code, served) == (2, [])
    assert words in outcome.stderr


def test_flags_beat_the_file(run: Run, served: list[Settings], tmp_path: Path) -> None:
    file = settings_file(tmp_path, 'fpir = 0.1\n[serve]\nport = 1000\nqueue = 7\n[serve.galleries]\nstaff = "s"')
    assert run("serve", "--config", file, "--data", tmp_path / "d", "--port", "2000").code == 0
    (settings,) = served
    assert (settings.port, settings.queue, settings.fpir) == (2000, 7, 0.1)
    assert settings.galleries == {"staff": Path("s")}


def test_the_current_folders_file_may_not_decide_who_is_let_in(
    run: Run, served: list[Settings], tmp_path: Path
) -> None:
    (tmp_path / "faceid.toml").write_text("[serve]\nfpir = 0.5", encoding="utf-8")
    assert run("serve", "--data", tmp_path / "d").code == 2
    assert served == []


@pytest.mark.parametrize("reach", [["--host", "0.0.0.0"], ["--host", "10.1.2.3"]])
def test_an_address_that_others_reach_takes_a_key_that_is_good(
    run: Run, served: list[Settings], tmp_path: Path, reach: list[str]
) -> None:
    data = ["--data", tmp_path / "d"]
    assert "there is no key" in run("serve", *data, *reach).stderr
    made = run("serve", "keys", "make", "desk", "--role", "admin", *data, "--json")
    assert run("serve", *data, *reach).code == 0
    assert run("serve", "keys", "revoke", str(made.records[0]["id"]), *data).code == 0
    assert "revoked or expired" in run("serve", *data, *reach).stderr
    assert len(served) == 1


def test_a_key_is_shown_once_and_never_kept(run: Run, tmp_path: Path) -> None:
    data = ["--data", tmp_path / "d"]
    key = run("serve", "keys", "make", "door", "--role", "staff=identify", *data).stdout.strip()
    assert len(key) == len("faceid_") + 43
    listed = run("serve", "keys", "list", *data, "--json")
    (row,) = listed.records
    assert (row["label"], row["roles"], row["prefix"]) == ("door", "staff=identify", key[7:15])
    for file in (tmp_path / "d").iterdir():
        assert key.encode()[7:] not in file.read_bytes()
    assert run("serve", "keys", "make", "x", "--role", "boss", *data).code == 2
    assert "no key is called" in run("serve", "keys", "revoke", "9", *data).stderr


@pytest.mark.parametrize(
    ("roles", "words"),
    [(["=admin"], "names no gallery"), (["desk=identify", "desk=admin"], "two roles for one gallery")],
)
def test_a_role_that_is_not_clear_makes_no_key(run: Run, tmp_path: Path, roles: list[str], words: str) -> None:
    data = ("--data", tmp_path / "d")
    outcome = run("serve", "keys", "make", "x", *(part for role in roles for part in ("--role", role)), *data)
    assert (outcome.code, words in outcome.stderr) == (2, True)
    assert run("serve", "keys", "list", "--json", *data).records == []


def test_an_audit_log_of_nobodys_gallery_is_not_empty_without_a_word(run: Run, tmp_path: Path) -> None:
    outcome = run("serve", "audit", "export", "--gallery", "stafff", "--data", tmp_path / "d")
    assert (outcome.stdout, outcome.stderr) == ("", "No entry is about a gallery called 'stafff'.\n")


def test_the_data_folder_is_nobody_elses(run: Run, tmp_path: Path) -> None:
    run("serve", "keys", "list", "--data", tmp_path / "d")
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "d" / "service.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("option", ["--data", "--config", "--gallery"])
def test_an_option_before_a_subcommand_is_refused_instead_of_going_unheeded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "usual"))
    given = settings_file(tmp_path, "") if option == "--config" else tmp_path / "d"
    for command in (["keys", "make", "desk", "--role", "admin"], ["keys", "list"], ["audit", "verify"]):
        outcome = run("serve", option, given, *command)
        assert outcome.code == 2
        assert f"{option} before '{command[0]}'" in " ".join(outcome.stderr.split())
    assert not (tmp_path / "usual").exists()


@pytest.mark.parametrize(
    ("left", "words"), [("service.db", "is empty"), ("uploads", "is gone"), ("service.db-wal", "is gone")]
)
def test_a_database_that_was_lost_is_not_begun_anew_without_keys(
    run: Run, served: list[Settings], tmp_path: Path, left: str, words: str
) -> None:
    data = ["--data", tmp_path / "d"]
    assert run("serve", "keys", "make", "desk", "--role", "admin", *data).code == 0
    for file in (tmp_path / "d").iterdir():
        file.unlink()
    (tmp_path / "d" / left).touch()
    for command in (["serve"], ["serve", "keys", "list"]):
        outcome = run(*command, *data)
        assert outcome.code == 5
        assert words in " ".join(outcome.stderr.split())
    assert served == []
    assert [file.name for file in (tmp_path / "d").iterdir() if file.stat().st_size] == []


def _flip(path: Path, at: int, mask: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= mask
    path.write_bytes(data)


def _replace_by(path: Path, make: Callable[[Path], None]) -> None:
    path.unlink()
    make(path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "junk": lambda path: path.write_bytes(b"junk" * 5000),
    "cut": lambda path: os.truncate(path, 8192),
    "a folder": lambda path: _replace_by(path, Path.mkdir),
    "a pipe": lambda path: _replace_by(path, os.mkfifo),
    "no version": lambda path: _flip(path, 63, 2),
    "another version": lambda path: _flip(path, 63, 1),
    "an older version": lambda path: _flip(path, 63, 3),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_database_is_told_in_a_sentence_with_its_file_and_remedy(
    run: Run, served: list[Settings], tmp_path: Path, damage: str
) -> None:
    data = ["--data", tmp_path / "d"]
    assert run("serve", "keys", "make", "desk", "--role", "admin", *data).code == 0
    DAMAGES[damage](tmp_path / "d" / "service.db")
    for command in (["serve"], ["serve", "keys", "list"], ["serve", "audit", "verify"]):
        outcome = run(*command, *data)
        words = " ".join(outcome.stderr.split())
        assert (outcome.code, served) == (5, []), words
        assert words.startswith(f"Error: {tmp_path / 'd' / 'service.db'} ")
        assert "backup" in words
        assert "sqlalche" not in words


def test_a_creation_that_was_killed_is_no_obstacle(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ["--data", tmp_path / "d"]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(durable_file, "replace_durably", killed)
    assert run("serve", "keys", "list", *data).code == 130
    assert not (tmp_path / "d" / "service.db").exists()
    monkeypatch.undo()
    assert run("serve", "keys", "list", *data).code == 0


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a server begin in this process, as far as it comes without listening."""
    monkeypatch.setattr(service_run, "log_to_stderr", lambda: None)
    monkeypatch.setattr(service_run, "_keep_uploads_in", lambda _: None)


@pytest.mark.usefixtures("started")
def test_what_is_wrong_with_a_gallery_ends_a_start_as_it_ends_any_command(run: Run, tmp_path: Path) -> None:
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "gallery.db").write_bytes(b"no database" * 1000)
    outcome = run("serve", "--gallery", tmp_path / "g", "--data", tmp_path / "d", "--port", "0")
    assert (outcome.code, "restore the folder from a backup" in " ".join(outcome.stderr.split())) == (5, True)
    assert "Traceback" not in outcome.stderr


@pytest.mark.usefixtures("started")
def test_a_second_server_in_the_folder_of_a_running_one_is_refused(run: Run, tmp_path: Path) -> None:
    data = tmp_path / "d"
    data.mkdir()
    with FileLock(data / "running.lock"):
        outcome = run("serve", "--gallery", tmp_path / "g", "--data", data, "--port", "0")
    assert (outcome.code, "another server is running with" in outcome.stderr) == (6, True)
    assert not (tmp_path / "g").exists()


@pytest.mark.usefixtures("started")
def test_a_certificate_that_cannot_be_used_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("no key")
    file = settings_file(tmp_path, f'[serve]\ntls_certificate = "gone.pem"\ntls_key = "{tmp_path}/key.pem"')
    outcome = run("serve", "--gallery", tmp_path / "g", "--data", tmp_path / "d", "--port", "0", "--config", file)
    assert (outcome.code, "tls_certificate and tls_key cannot be used" in outcome.stderr) == (2, True)


@pytest.mark.slow
def test_the_demo_draws_people_serves_them_on_its_page_and_leaves_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[tuple[Path, list[str], str]] = []

    def serve(settings: Settings) -> None:
        """Ask as a browser does, where the server would listen."""
        with TestClient(create_app(settings), "http://localhost:8321", client=("127.0.0.1", 1)) as client:
            people = client.get("/v1/galleries/default/people").json()["people"]
            folder = settings.galleries["default"].parent
            photo = ("photos", ("visitor.jpg", (folder / "visitors" / "person-0001.jpg").read_bytes()))
            page = client.post("/galleries/default", files=[photo]).text
            seen.append((folder, [one["name"] for one in people], page))

    monkeypatch.setattr(service_run, "serve", serve)
    outcome = run("serve", "--demo", "--data", tmp_path / "unused")
    assert outcome.code == 0
    assert "http://127.0.0.1:8321/" in outcome.stderr
    ((folder, names, page),) = seen
    assert len(names) == 12
    assert 'class="verdict"' in page
    assert "person-0001" in page
    assert not folder.exists()
