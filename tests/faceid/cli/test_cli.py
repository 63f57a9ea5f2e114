"""The command line as a whole: quick help, clear ends."""

import errno
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from faceid.cli import cli
from indexer import errors
from tests.faceid.cli.conftest import Run

HEAVY = ("torch", "faiss", "sqlalchemy", "matplotlib", "cv2", "numpy", "scipy", "onnxruntime", "openvino")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom faceid.cli import cli\n"
        "assert 'enroll' in CliRunner().invoke(cli, ['--help']).output\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"


def test_help_takes_a_blink() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "faceid", "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # The promise is 0.3 s of CPU; a loaded machine is no reason to fail, an import of torch is.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


@pytest.mark.parametrize(
    "command", ["enroll", "identify", "verify", "embed", "calibrate", "gallery", "models", "doctor"]
)
def test_every_command_explains_itself(run: Run, command: str) -> None:
    outcome = run(command, "--help")
    assert outcome.code == 0
    assert "Usage: faceid" in outcome.stdout


def test_the_help_tells_every_exit_code(run: Run) -> None:
    told = " ".join(run("--help").stdout.partition("Exit codes:")[2].split())
    codes = {one.exit_code for one in vars(errors).values() if isinstance(one, type) and hasattr(one, "exit_code")}
    assert all(f" {code} " in f" {told}" for code in codes)


def test_an_unknown_command_is_a_usage_error(run: Run) -> None:
    assert run("nonesuch").code == 2


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "the system gives no more (Resource"),
        (RuntimeError("can't start new thread"), "no more threads may be started"),
        (MemoryError(), "there is not enough memory;"),
        (RuntimeError("one of ours"), None),
    ],
)
def test_what_the_system_refuses_is_no_defect_of_ours_and_no_full_output(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str | None
) -> None:
    def refuse() -> None:
        raise error

    monkeypatch.setattr("faceid.cli.read_settings", refuse)
    if says is None:
        with pytest.raises(type(error)):
            run("doctor")
        return
    outcome = run("doctor")
    assert (outcome.code, outcome.stderr.startswith(f"Error: {says}")) == (1, True), outcome.stderr


def test_a_defect_of_ours_ends_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import faceid.cli

    def break_down() -> None:
        raise RuntimeError("a wheel came off")

    monkeypatch.setattr(faceid.cli, "read_settings", break_down)
    monkeypatch.setattr(sys, "argv", ["faceid", "doctor"])
    with pytest.raises(SystemExit) as ended:
        faceid.cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "Error: unexpected RuntimeError: a wheel came off (FACEID_DEBUG=1 shows where)\n"


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", ["--help", "--version", "embed --help", "completion bash"])
def test_an_output_that_is_full_is_said_plainly(arguments: str) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "faceid", *arguments.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr == "Error: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(run: Run, shell: str) -> None:
    assert "_FACEID_COMPLETE" in run("completion", shell).stdout


NAMES = ["Ann Lee", "$(touch hurt)", "a;touch hurt", "Lee, Ann", "*", r"back\slash", "O'Hara", "Zoë"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_takes_a_name_that_is_offered_for_one_word_and_runs_nothing_of_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(run("completion", "bash").stdout)
    program = tmp_path / "faceid"
    program.write_text("#!/bin/sh\n" + "".join(f"printf 'plain,%s\\n' {shlex.quote(name)}\n" for name in NAMES))
    program.chmod(0o755)
    ask = "source ./script; COMP_CWORD=3; COMP_WORDS=(faceid gallery show {word}); _faceid_completion ./faceid"

    def typed(word: str, then: str) -> list[str]:
        asked = f"{ask.format(word=word)}; {then}"
        done = subprocess.run(["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    each = r'for one in "${COMPREPLY[@]}"; do eval "set -- $one"; printf "%s\n" "$@"; done'
    assert typed("''", each) == NAMES
    the_same_there = [name for name in NAMES if not set(name) & set("$\\'")]
    assert typed(r"\"", r'printf "%s\n" "${COMPREPLY[@]}"') == the_same_there
    assert not (tmp_path / "hurt").exists()


def test_fish_takes_a_name_with_a_comma_whole(run: Run) -> None:
    assert 'string split --max 1 ","' in run("completion", "fish").stdout


def test_doctor_reports_versions_model_and_gallery(run: Run, gallery: object) -> None:
    outcome = run("doctor", "--gallery", str(gallery), "--model", "mobilefacenet", "--json")
    found = {record["what"]: record for record in outcome.records}
    assert outcome.code == 0
    assert "12 people" in found["gallery"]["state"]
    assert found["gallery's precisions"]["state"] == "float32: 12"
    assert found["model"]["sound"]


def test_doctor_says_what_it_finds_where_faiss_is_absent_or_broken(
    run: Run, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    outcome = run("doctor", "--gallery", f"{tmp_path}/none", "--model", "mobilefacenet", "--json")
    found = {record["what"]: record["state"] for record in outcome.records}
    assert "cannot be imported" in found["faiss compiled for"]
    assert "mobilefacenet" in found["model"]


def test_doctor_says_the_rest_where_a_database_does_not_answer(run: Run) -> None:
    outcome = run(
        "doctor", "--gallery", "postgresql://nobody@127.0.0.1:1/none/staff", "--model", "mobilefacenet", "--json"
    )
    found = {record["what"]: record["sound"] for record in outcome.records}
    assert (outcome.code, found["gallery"], found["model"]) == (1, False, True)


def test_doctor_fits_a_terminal_of_eighty_columns(run: Run, gallery: object) -> None:
    shown = run("doctor", "--gallery", str(gallery), "--model", "mobilefacenet").stdout
    assert max(map(len, shown.splitlines())) < 80
    assert "gallery's threshold" in shown


def test_doctor_fails_on_an_unsound_model(run: Run, tmp_path: object) -> None:
    outcome = run("doctor", "--gallery", f"{tmp_path}/none", "--model", "nonesuch")
    assert outcome.code == 1
    assert "PROBLEM" in outcome.stdout


def test_what_needs_pytorch_says_so_where_it_is_absent() -> None:
    program = "import sys; sys.modules['torch'] = None; from faceid.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", program, "train", "toy", "-o", "toy.png"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "this needs PyTorch" in result.stderr


def every_command() -> Iterator[tuple[str, click.Command]]:
    """Each command that does something, with its whole name; groups aside."""
    waiting: list[tuple[str, click.Command]] = [("faceid", cli)]
    while waiting:
        name, command = waiting.pop()
        if isinstance(command, click.Group):
            context = click.Context(command)
            for each in command.list_commands(context):
                below = command.get_command(context, each)
                assert below is not None, f"{name} {each} cannot be loaded"
                waiting.append((f"{name} {each}", below))
        else:
            yield name, command


def test_every_help_has_an_example_that_the_command_understands() -> None:
    pytest.importorskip("torch", reason="the commands of training need it")
    for name, command in every_command():
        example = (command.epilog or "").removeprefix("Example: ").partition(" >")[0]
        assert name in example, name
        words = shlex.split(example.partition(name)[2].rstrip(")"))
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert [word for word in words if word.startswith("-") and word not in known] == [], name


def test_every_help_fits_into_80_columns() -> None:
    pytest.importorskip("torch", reason="the commands of training need it")
    for name, command in every_command():
        text = command.get_help(click.Context(command, info_name=name, terminal_width=80))
        assert [line for line in text.splitlines() if len(line) > 80] == [], name
