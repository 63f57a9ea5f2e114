"""faceid.toml: under flags and environment, nothing misspelt, nothing that decides from where one happens to stand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from faceid.cli.config import settings_in
from tests.faceid.cli.conftest import Run


@pytest.fixture
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings file in the user's configuration folder, not written yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "faceid").mkdir(parents=True)
    return tmp_path / "config" / "faceid" / "faceid.toml"


@pytest.fixture
def photo(lfw_people: Path) -> Path:
    person = min(lfw_people.iterdir())
    return person / f"{person.name}_0002.jpg"


def test_flags_beat_the_environment_which_beats_the_file(
    run: Run, own_file: Path, gallery: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_file.write_text(
        f"gallery = {json.dumps(str(gallery))}\nfaces = 'centre'\n[identify]\nthreshold = 0.999\ntop-k = 1\n"
    )
    (from_file,) = run("identify", photo, "--json").records
    assert (from_file["threshold"], len(from_file["candidates"])) == (0.999, 1)
    assert from_file["threshold_source"]["data"] == str(own_file), "the record names the file"
    (from_flag,) = run("identify", photo, "--threshold", "0.2", "--json").records
    assert (from_flag["threshold"], from_flag["threshold_source"]["data"]) == (0.2, None)
    assert run("identify", photo, "--fpir", "0.1").code != 2, "the file's threshold excludes no rate that was typed"
    monkeypatch.setenv("FACEID_GALLERY", str(tmp_path / "nowhere"))
    assert run("identify", photo).code == 1


def test_an_output_that_was_typed_beats_the_files(run: Run, own_file: Path, gallery: Path) -> None:
    own_file.write_text("[gallery.list]\njson = true\n")
    assert run("gallery", "list", "--gallery", gallery).records
    assert run("gallery", "list", "--gallery", gallery, "--csv").stdout.startswith("schema_version,")
    own_file.write_text("[gallery.list]\njson = true\ncsv = true\n")
    assert "give --json or --csv, not both" in run("gallery", "list", "--gallery", gallery).stderr


@pytest.mark.parametrize(
    "setting",
    ["threshold = -1", "[identify]\nthreshold = -1", "fpir = 0.9", "[verify]\nfar = 0.9", "[verify]\nwcmmpmr = 0.9"],
)
def test_what_decides_is_not_taken_from_the_current_folder(
    run: Run, tmp_path: Path, gallery: Path, photo: Path, setting: str
) -> None:
    (tmp_path / "faceid.toml").write_text(setting)
    command = ("verify", photo, photo) if "verify" in setting else ("identify", photo)
    outcome = run(*command, "--gallery", gallery)
    assert outcome.code == 2
    assert "is not taken from the current folder" in outcome.stderr
    assert str(tmp_path / "faceid.toml") in outcome.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("galery = 'x'", "galery is no setting"),
        ("top_k = 3", "top_k is no setting that commands share"),
        ("[identfy]\ntop_k = 1", "[identfy] is no command"),
        ("[identify]\ntopk = 1", "topk in [identify] is no option of `faceid identify`"),
        ("[identify]\ntop_k = 'many'", "'many' is not a valid integer"),
        ("min_face_size = inf", "min_face_size = inf is not a finite number"),
        ("[identify]\ntop_k = 1e400", "identify.top_k = inf is not a finite number"),
        ("min_face_size = [1, 2]", "min_face_size = [1, 2] is no value of that option"),
        ("[identify]\ntop_k = 1979-05-27", "is no value of that option"),
        ("gallery = 'a' \n[identify]\nmodel = \"a\\u0000b\"", "identify.model has a NUL in it"),
        ("gallery = ''", "gallery is empty"),
        ("[identify]\ntop_k = 2.7", "'2.7' is not a valid integer"),
        ("[identify]\ntop_k = true", "top_k = True is no value of that option"),
        ("[identify]\njson = 2", "'2' is not a valid boolean"),
        (f"min_face_size = 0x{'f' * 5000}", "min_face_size is too large a number"),
        ("gallery = ", "not a readable TOML file"),
        ("gallery = '\xff'", "not a readable TOML file"),
    ],
)
def test_a_misspelt_setting_is_named_with_its_file(
    run: Run, tmp_path: Path, gallery: Path, photo: Path, content: str, says: str
) -> None:
    (tmp_path / "faceid.toml").write_bytes(content.encode("latin-1"))
    outcome = run("identify", photo, "--gallery", gallery, "--threshold", "0.3")
    assert outcome.code == 2
    assert says in outcome.stderr


@pytest.mark.parametrize("put", ["pipe", "endless", "huge", "folder"])
def test_a_settings_file_that_is_no_small_regular_file_is_refused_at_once(run: Run, tmp_path: Path, put: str) -> None:
    place = tmp_path / "faceid.toml"
    if put == "pipe":
        os.mkfifo(place)
    elif put == "endless":
        place.symlink_to("/dev/zero")
    elif put == "huge":
        place.write_text("a." * 50_000 + "b = 1")
    else:
        place.mkdir()
    says = "larger than 32,768 bytes" if put == "huge" else "not a regular file"
    outcome = run("gallery", "list")
    assert outcome.code == 2
    assert "faceid.toml: not a readable TOML file" in outcome.stderr
    assert says in outcome.stderr
    place.rename(tmp_path / "other.toml")
    outcome = run("serve", "--config", tmp_path / "other.toml")
    assert outcome.code == 2
    assert "other.toml" in outcome.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[gallery.lst]\nall = true", "[gallery.lst] is no command"),
        ("[gallery]\nnonesuch = 1", "nonesuch in [gallery] is no option of its commands"),
        ("[gallery.erase]\nyes = true", "yes in [gallery.erase] is no option of `faceid gallery erase`"),
    ],
)
def test_tables_of_groups_are_checked_too_and_no_question_is_answered_by_a_file(
    run: Run, tmp_path: Path, gallery: Path, content: str, says: str
) -> None:
    (tmp_path / "faceid.toml").write_text(content)
    outcome = run("gallery", "list", "--gallery", gallery)
    assert outcome.code == 2
    assert says in outcome.stderr


def test_a_value_is_taken_as_if_it_was_typed_and_a_byte_order_mark_is_none(run: Run, own_file: Path) -> None:
    own_file.write_text("gallery = 5\r\n", encoding="utf-8-sig")
    assert "there is no gallery in 5" in run("gallery", "list").stderr


@pytest.mark.parametrize(
    "arguments", [("identify", ""), ("embed", "-o", "x.npz", ""), ("gallery", "list", "--gallery=")]
)
def test_an_argument_that_is_empty_does_not_mean_the_current_folder(run: Run, arguments: tuple[str, ...]) -> None:
    outcome = run(*arguments)
    assert (outcome.code, "an argument is empty" in outcome.stderr) == (2, True)


@pytest.mark.parametrize(
    ("home", "options", "variables"),
    [
        ("home", ("--gallery=~/staff",), {}),
        ("home", (), {"FACEID_GALLERY": "~/staff"}),
        (None, ("--gallery=~/staff",), {}),
        (None, (), {}),
    ],
)
def test_no_folder_is_called_tilde(
    tmp_path: Path, home: str | None, options: tuple[str, ...], variables: dict[str, str]
) -> None:
    """Where no shell has put the home folder in its place, and where there is none: a user whom the system lacks."""
    program = "import pwd; pwd.getpwuid = {}.__getitem__; from faceid.cli import main; main()"
    environment = {key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_DATA_HOME")}
    environment |= variables | ({"HOME": str(tmp_path / home)} if home else {})
    command = [sys.executable, "-c", program, "gallery", "list", *options]
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False).stderr
    assert said.startswith(f"Error: there is no gallery in {tmp_path / home if home else ''}/")


def test_a_tilde_is_the_home_folder_in_a_servers_table_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    (tmp_path / "faceid.toml").write_text("[serve]\ndata = '~/data'\ngalleries.staff = '~/staff'\nport = 1\n")
    table = settings_in(tmp_path / "faceid.toml", here=True).own_table("serve", ())
    assert table == {"data": "/home/ann/data", "galleries": {"staff": "/home/ann/staff"}, "port": 1}


def test_a_tilde_is_the_home_folder(run: Run, tmp_path: Path, gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(gallery.parent))
    (tmp_path / "faceid.toml").write_text(f"[gallery.list]\ngallery = '~/{gallery.name}'\njson = true\n")
    assert len(run("gallery", "list").records) == 12
    assert not (tmp_path / "~").exists()
