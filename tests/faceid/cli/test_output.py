"""What is shown: valid, plain, in UTF-8, and one sentence where it cannot be written."""

import csv
import fcntl
import io
import json
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from numpy import float32

from faceid.cli import cli
from faceid.cli.cluster import _COLUMNS as PLACED
from faceid.cli.output import write_facts, write_records
from faceid.cli.review import _ANSWERED as ANSWERED
from faceid.cli.review import _FINDING as FINDING
from faceid.cli.review import _answered
from faceid.clustering import SortedFace
from faceid.engine import FaceEngine
from faceid.gallery_review import Answered, Suggestion
from faceid.records import PersonRecord, TemplateRecord, UndoableRecord, template_record
from faceid.results import threshold_source
from indexer.decision.decision import Threshold
from indexer.gallery import Gallery
from indexer.hygiene.review import Finding
from indexer.records import ModelBinding, TemplateRow
from indexer.text import counted
from tests.faceid.cli.conftest import Run
from tests.interrupts import heard

FACEID = (sys.executable, "-m", "faceid")
HOSTILE = {
    "name": "=1+1\x1b[31m",
    "path": "a\u202egpj.exe",
    "n": float("nan"),
    "few": [1.5, float("inf")],
    "none": None,
}


def test_json_is_valid_and_means_what_it_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    write_records([HOSTILE], "json", dict, dict)
    line = capsys.readouterr().out

    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    record = json.loads(line, parse_constant=no_constant)
    assert (record["name"], record["path"]) == (HOSTILE["name"], HOSTILE["path"])
    assert (record["n"], record["few"]) == (None, [1.5, None])
    assert not set(line) & set("\x1b\u202e"), "and yet nothing that a terminal would obey"


def test_csv_holds_no_formula_and_no_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    write_records([HOSTILE, {**HOSTILE, "name": "-1", "n": -1.5}], "csv", dict, dict)
    first, second = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (first["name"], first["path"], first["n"]) == ("'=1+1\\x1b[31m", "a\\u202egpj.exe", "")
    assert (second["name"], second["n"]) == ("'-1", "-1.5"), "a number is a number"


def test_a_list_in_a_cell_can_be_taken_apart_again(capsys: pytest.CaptureFixture[str]) -> None:
    candidates = [{"label": "Bob;Eve:0.99", "similarity": 0.5}, {"label": "Ann", "similarity": 0.25}]
    write_records([{"candidates": candidates}], "csv", dict, dict)
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert [one.rsplit(":", 1) for one in row["candidates"].split(";")] == [
        ["Bob\\x3bEve:0.99", "0.5"],
        ["Ann", "0.25"],
    ]


def test_things_in_a_cell_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    record = {"accuracies": [{"measure": "LFW", "ci95": (0.9, 1.0)}], "box": [1, 2], "in": {"name": "Jürgen"}}
    write_records([record], "csv", dict, dict)
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert json.loads(row["accuracies"]) == [{"measure": "LFW", "ci95": [0.9, 1.0]}]
    assert (row["box"], row["in"]) == ("1 2", '{"name": "Jürgen"}')


def test_facts_are_read_in_lines_of_bearable_length(capsys: pytest.CaptureFixture[str]) -> None:
    write_facts({"size": (112, 96), "by kind": {"a": 1, "b": None}, "many": [{"n": i} for i in range(99)]}, ("f", "v"))
    shown = capsys.readouterr().out
    assert max(len(line) for line in shown.splitlines()) < 120
    assert "112; 96" in shown
    assert "a: 1, b:" in shown


def test_facts_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    write_facts({"erase_pending": False, "name": "False", "count": 7, "none": None}, ("what", "value"))
    assert [line.split() for line in capsys.readouterr().out.splitlines()[2:]] == [
        ["erase_pending", "False"],
        ["name", "False"],
        ["count", "7"],
        ["none"],
    ]


def test_one_person_and_two_people() -> None:
    assert [counted(n, "person", "people") for n in (0, 1, 2000)] == ["0 people", "1 person", "2,000 people"]


def test_several_things_in_a_cell_are_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    write_records([{"conflicts": {"removed": 1}, "ids": (1, 2)}], None, dict, dict)
    assert capsys.readouterr().out.splitlines()[2].split("   ") == ["removed: 1", "1; 2"]


@pytest.mark.slow
def test_messages_break_between_words_on_a_terminal_and_stay_one_line_in_a_file(tmp_path: Path) -> None:
    asked = [*FACEID, "gallery", "undo", "99", "--gallery", str(tmp_path / ("folder" * 9))]
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    subprocess.run(asked, stderr=slave, check=False)
    os.close(slave)
    shown = os.read(master, 10_000).decode().split("\r\n")
    piped = subprocess.run(asked, stderr=subprocess.PIPE, text=True, check=False).stderr
    assert len(shown) > 2
    assert all(len(line) <= 80 or " " not in line for line in shown)
    assert piped.count("\n") == 1
    assert " ".join("\n".join(shown).split()) == piped.strip()


def test_messages_show_what_a_path_contains(run: Run, gallery: Path, tmp_path: Path) -> None:
    name = "a\x1b[31m\u202eb.jpg"
    (tmp_path / name).write_text("no photo")
    outcome = run("identify", tmp_path / name, "--gallery", gallery, "--threshold", "0.3")
    usage = run("enroll", tmp_path / f"{name}x")
    assert "a\\x1b[31m\\u202eb.jpg" in outcome.stderr
    assert "\\x1b[31m" in usage.stderr
    assert not set(outcome.stderr + outcome.stdout + usage.stderr) & set("\x1b\u202e")


def test_json_and_csv_together_are_a_usage_error(run: Run, gallery: Path) -> None:
    assert run("gallery", "list", "--gallery", gallery, "--json", "--csv").code == 2
    assert run("gallery", "list", "--gallery", gallery, "--csv").stdout.startswith("schema_version,id,name")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("identify", "x.jpg", "--threshold"),
        ("identify", "x.jpg", "--fpir"),
        ("verify", "x", "y", "--far"),
        ("gallery", "purge", "--yes", "--older-than"),
        ("models", "import", "/dev/null", "--mean"),
    ],
)
def test_a_number_from_outside_is_finite(run: Run, arguments: tuple[str, ...], value: str) -> None:
    assert run(*arguments, value).code == 2


@pytest.mark.parametrize(("device", "code"), [("cuda:1", 1), ("cuda:", 2), ("gpu", 2), ("cuda:x", 2), ("CPU", 2)])
def test_a_device_is_spelt_as_in_python(run: Run, tmp_path: Path, device: str, code: int) -> None:
    outcome = run("embed", tmp_path, "-o", tmp_path / "f.npz", "--device", device, "--model", "mobilefacenet")
    assert outcome.code == code
    assert "Traceback" not in outcome.stderr


@pytest.fixture(scope="module")
def two_people(drawn_people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    for number, name in enumerate(("Jürgen Ökçe", "田中"), start=1):
        (folder / name).mkdir()
        shutil.copy(drawn_people / f"person-000{number}" / "1.jpg", folder / name / "ä.jpg")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("locale", [{"LC_ALL": "POSIX"}, {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}])
def test_names_survive_a_locale_that_is_not_utf8(two_people: Path, tmp_path: Path, locale: dict[str, str]) -> None:
    manifest = tmp_path / "people.csv"
    rows = [f"{photo},{photo.parent.name} II" for photo in sorted(two_people.glob("*/*.jpg"))]
    manifest.write_text("path,name\n" + "\n".join(rows) + "\n", encoding="utf-8")
    plain = {**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", **locale}
    for number, people in enumerate(([two_people], ["--manifest", manifest])):
        gallery = tmp_path / f"g{number}"
        arguments = [*FACEID, "enroll", *people, "--gallery", gallery, "--json"]
        ended = subprocess.run(arguments, capture_output=True, env=plain)
        records = [json.loads(line) for line in ended.stdout.decode("utf-8").splitlines()]
        assert {record["status"] for record in records} == {"enrolled"}, ended.stderr
        with Gallery.open(gallery) as opened:
            names = {person.name for person in opened.identities()}
        assert names == ({"Jürgen Ökçe", "田中"} if number == 0 else {"Jürgen Ökçe II", "田中 II"})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_output_is_one_sentence(gallery: Path) -> None:
    with Path("/dev/full").open("w") as full:
        arguments = [*FACEID, "gallery", "list", "--gallery", str(gallery), "--json"]
        ended = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[0] == "Error: the output cannot be written: No space left on device"


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_program_without_standard_streams_does_its_work(gallery: Path, tmp_path: Path, closed: str) -> None:
    arguments = [*FACEID, "gallery", "rename", "1", "Ann Lee", "--gallery", str(gallery)]
    assert subprocess.run(["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *arguments], check=False).returncode == 0
    with Gallery.open(gallery) as opened:
        assert opened.find(1)[0].name == "Ann Lee"
        assert opened.check(deep=True) == []


def test_an_output_that_cannot_be_made_is_one_sentence(run: Run, gallery: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = run(
        "identify", "x.jpg", "--gallery", gallery, "--threshold", "0.3", "--annotate", tmp_path / "file" / "x"
    )
    assert outcome.code == 1
    assert outcome.stderr.splitlines()[-1].startswith(f"Error: {tmp_path / 'file' / 'x'}: ")


@pytest.mark.slow
def test_enrolling_shows_progress_and_an_interrupt_says_what_is_stored(
    shipped_engine: FaceEngine, drawn_people: Path, tmp_path: Path
) -> None:
    """As at a terminal: a counter from the start, then Ctrl-C; exit code 130, what was stored, and on it goes."""
    people = tmp_path / "people"
    for number in range(40):  # many small batches of the same face, told apart by a byte behind the photo's end
        (people / f"p{number:02d}").mkdir(parents=True)
        data = (drawn_people / "person-0001" / "1.jpg").read_bytes()
        for place in range(4):
            (people / f"p{number:02d}" / f"{place}.jpg").write_bytes(data + bytes([number, place]))
    master, slave = pty.openpty()
    arguments = [*FACEID, "enroll", str(people), "--gallery", str(tmp_path / "g")]
    with heard():
        child = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=slave, start_new_session=True)
    os.close(slave)
    shown = b""
    while not any(f"{count} photos".encode() in shown for count in range(1, 160)):
        shown += os.read(master, 1000)
    assert b"0 photos" in shown, "the counter stood there before the first batch was done"
    child.send_signal(signal.SIGINT)
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            piece = os.read(master, 1000)
        except OSError:
            break
        shown += piece
    assert child.wait() == 130
    said = " ".join(shown.decode().split())
    assert "the same command goes on where this one stopped" in said
    with Gallery.open(tmp_path / "g") as gallery:
        stored = gallery.size
        assert gallery.check() == []
    assert 0 < stored < 40
    assert f"now holds {counted(stored, 'person', 'people')}" in said


@pytest.mark.parametrize("command", ["enroll", "embed"])
def test_what_is_passed_over_is_listed_on_request(
    command: str, two_people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = Path(shutil.copytree(two_people, tmp_path / "people"))
    (people / "Thumbs.db").touch()
    where = {"enroll": ["--gallery", str(tmp_path / "g")], "embed": ["-o", str(tmp_path / "f.npz")]}[command]
    told = [
        CliRunner().invoke(cli, [command, str(people), *where, *wish]).stderr.count("Thumbs.db: passed over")
        for wish in ([], ["--verbose"], [])
    ]
    assert told == [0, 1, 0]


def test_a_csv_without_a_record_has_its_head(tmp_path: Path) -> None:
    """What reads CSV takes no empty file; the head is that of the records there could have been."""
    with Gallery.create(tmp_path / "nobody", ModelBinding("sphereface", "0" * 64, 256)):
        pass
    heads = {
        ("list",): PersonRecord.__annotations__,
        ("undo", "--list"): UndoableRecord.__annotations__,
        ("check",): ("schema_version", "kind", "text", "rebuild_mends"),
    }
    for arguments, head in heads.items():
        told = CliRunner().invoke(cli, ["gallery", *arguments, "--gallery", str(tmp_path / "nobody"), "--csv"])
        assert (told.exit_code, told.stdout) == (0, ",".join(head) + "\n"), arguments


def test_the_head_of_a_csv_is_that_of_its_records() -> None:
    face = SortedFace("a.jpg", (0, 0, 1, 1), "single", None, None, None, 0)
    finding = Suggestion(Finding("broken", (1,), (2,), 0.9, {}), (), (), "", "")
    assert tuple(face.record()) == PLACED
    assert tuple(finding.record()) == FINDING
    assert tuple(_answered(Answered("a", "accept", "done"))) == ANSWERED
    template = TemplateRow(1, 1, "Ann", None, "a.jpg", b"", None, None, None, "float32", "", removed=False)
    assert tuple(template_record(template)) == tuple(TemplateRecord.__annotations__)


def test_a_rate_that_numpy_counted_is_told_as_json() -> None:
    asked = Threshold(0.4, "gallery", "fpir", float32(0.01), True, 100, None, 10, None)
    assert json.loads(json.dumps(threshold_source(asked)))["value"] == 0.01
