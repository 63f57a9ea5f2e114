"""`faceid benchmark ...` and `faceid report` from end to end, on small generated features and on a few real photos."""

import hashlib
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks.demo.people import write_people
from benchmarks.distractors.distractor_pass import distractor_pass
from benchmarks.formats.ijb_meta import read_meta
from benchmarks.formats.megaface_devkit import read_devkit_results, write_photo_list, write_tree
from faceid.cli import cli
from faceid.feature_set import feature_set
from tests.benchmarks.protocols.test_ijb import tree, tree_features  # noqa: F401  (tree is a fixture)
from tests.benchmarks.protocols.test_ytf import frames_of, listed
from tests.faceid.conftest import models_dir, with_models  # noqa: F401  (fixtures)

SAME, OTHER = (("Ann/0", "Ann/1"), ("Bob/0", "Bob/1")), (("Ann/0", "Bob/0"), ("Ann/1", "Bob/1"))
PEOPLE, PHOTOS, DISTRACTORS, DIMENSION = 12, 3, 400, 16


@dataclass(frozen=True)
class Outcome:
    code: int
    stdout: str
    stderr: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `faceid ARGUMENTS...` in an empty folder; a traceback fails the test."""
    for variable in ("FACEID_MODEL", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: Any) -> Outcome:
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="faceid")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def without_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the page, which takes seconds to draw; the tests of lfw and of reports draw it."""
    monkeypatch.setattr("benchmarks.report.page.write_report", lambda runs, folder: folder / "index.html")


@dataclass(frozen=True)
class Faces:
    """Generated people: photos of one lie near each other, but some of them near a stranger."""

    rows: np.ndarray
    labels: np.ndarray
    paths: np.ndarray
    strangers: np.ndarray

    def save(self, path: Path, **changed: np.ndarray) -> Path:
        np.savez(path, **{"features": self.rows, "labels": self.labels, "paths": self.paths, **changed})
        return path


@pytest.fixture(scope="module")
def faces() -> Faces:
    random = np.random.default_rng(5)
    centres = random.standard_normal((PEOPLE, 1, DIMENSION))
    rows = (centres + 0.45 * random.standard_normal((PEOPLE, PHOTOS, DIMENSION))).reshape(-1, DIMENSION)
    labels = np.repeat([f"Person_{number}" for number in range(PEOPLE)], PHOTOS)
    paths = np.array([f"{label}/{label}_{number % PHOTOS + 1:04d}.jpg" for number, label in enumerate(labels)])
    return Faces(unit(rows), labels, paths, unit(random.standard_normal((DISTRACTORS, DIMENSION))))


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def results_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def test_the_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from faceid.cli import cli\n"
        "for words in (['benchmark', '--help'], ['benchmark', 'megaface', '--help'], ['report', '--help']):\n"
        "    assert CliRunner().invoke(cli, words).exit_code == 0\n"
        "print(sorted({'torch', 'matplotlib', 'numba', 'numpy', 'scipy', 'faiss', 'sqlalchemy'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


@pytest.mark.slow
@pytest.mark.usefixtures("without_page")
def test_megaface_counts_what_a_loop_over_all_pairs_counts(run: Run, faces: Faces, tmp_path: Path) -> None:
    probes = faces.save(tmp_path / "p.npz", model=np.array(["net", "ab12"]))
    np.save(tmp_path / "d.npy", faces.strangers)

    done = run("benchmark", "megaface", "--probes", probes, "--distractors", "d.npy", "--sizes", "10,4e2", "-o", "out")

    hits = dict.fromkeys((10, 400), 0)
    exact = faces.rows.astype(np.float64) @ np.vstack([faces.rows, faces.strangers]).astype(np.float64).T
    mates, others = exact[:, : len(faces.rows)].astype(np.float32), exact[:, len(faces.rows) :].astype(np.float32)
    for probe in range(len(faces.rows)):
        for mate in range(len(faces.rows)):
            if mate != probe and faces.labels[mate] == faces.labels[probe]:
                for size in hits:
                    hits[size] += bool((others[probe, :size] < mates[probe, mate]).all())
    record = results_of(tmp_path / "out")
    assert done.code == 0, done.stderr
    assert record["schema_version"] == 1
    assert [(row["distractors"], row["rank1"]["hits"]) for row in record["identification"]] == list(hits.items())
    assert {row["rank1"]["trials"] for row in record["identification"]} == {PEOPLE * PHOTOS * (PHOTOS - 1)}
    assert 0 < hits[400] < PEOPLE * PHOTOS * (PHOTOS - 1)
    assert {row["tar"]["trials"] for row in record["verification"]} == {PEOPLE * PHOTOS * (PHOTOS - 1) // 2}
    assert record["model"] == {"name": "net", "digest": "ab12"}
    assert [(one["role"], one["file"], one["rows"]) for one in record["data"]] == [
        ("probes", "p.npz", PEOPLE * PHOTOS),
        ("distractors", "d.npy", DISTRACTORS),
    ]
    assert "Identification" in done.stdout
    assert "page:" not in done.stdout
    assert f"page: {tmp_path / 'out' / 'index.html'}" in done.stderr
    assert (tmp_path / "out" / "identification.csv").is_file()

    (devkit,) = (tmp_path / "out" / "devkit").glob("*_400_1.json")
    assert read_devkit_results(devkit).curves.cmc[0].y[0] == np.float32(hits[400] / 72)


@pytest.mark.slow
@pytest.mark.usefixtures("without_page")
def test_without_distractors_the_people_of_one_photo_are_the_distractors(
    run: Run, faces: Faces, tmp_path: Path
) -> None:
    count = DISTRACTORS
    faces.save(
        tmp_path / "all.npz",
        features=np.vstack([faces.strangers[:7], faces.rows, faces.strangers[7:]]),
        labels=np.array([*(f"one{i}" for i in range(7)), *faces.labels, *(f"one{i}" for i in range(7, count))]),
        paths=np.array([f"{number}.jpg" for number in range(count + len(faces.rows))]),
    )
    faces.save(tmp_path / "p.npz")
    np.save(tmp_path / "d.npy", faces.strangers)
    assert run("benchmark", "megaface", "--probes", "all.npz", "-o", "one").code == 0
    assert run("benchmark", "megaface", "--probes", "p.npz", "--distractors", "d.npy", "-o", "two").code == 0
    one, two = results_of(tmp_path / "one"), results_of(tmp_path / "two")
    assert [row["distractors"] for row in one["identification"]] == [10, 100, 400]
    assert one["identification"] == two["identification"]
    assert one["open_set"] == two["open_set"]


@pytest.mark.slow
@pytest.mark.usefixtures("without_page")
def test_the_devkits_trees_and_lists_give_the_same_figures(run: Run, faces: Faces, tmp_path: Path) -> None:
    names = np.array([f"{number % 7}/{number}.jpg" for number in range(DISTRACTORS)])
    write_tree(feature_set(faces.rows, faces.labels, faces.paths, tmp_path), tmp_path / "scrub", "_net.bin")
    write_tree(feature_set(faces.strangers, names, names, tmp_path), tmp_path / "mega", "_net.bin")
    write_photo_list(tmp_path / "p.json", faces.paths, faces.labels)
    write_photo_list(tmp_path / "d.json", names)
    faces.save(tmp_path / "p.npz")
    np.save(tmp_path / "d.npy", faces.strangers)

    lists = ("--probe-list", "p.json", "--distractor-list", "d.json")
    done = run("benchmark", "megaface", "--probes", "scrub", "--distractors", "mega", *lists, "-o", "tree")
    assert done.code == 0, done.stderr
    run("benchmark", "megaface", "--probes", "p.npz", "--distractors", "d.npy", "-o", "arrays")

    trees, arrays = results_of(tmp_path / "tree"), results_of(tmp_path / "arrays")
    for table in ("identification", "verification", "open_set"):
        assert trees[table] == arrays[table]
    assert [one["sha256"] for one in trees["data"][:2]] == [one["sha256"] for one in arrays["data"]]
    assert [one["role"] for one in trees["data"][2:]] == ["probe list", "distractor list"]


@pytest.mark.usefixtures("without_page")
def test_noisy_probes_are_left_out_or_replaced_and_the_results_say_which(
    run: Run, faces: Faces, tmp_path: Path
) -> None:
    faces.save(tmp_path / "p.npz")
    np.save(tmp_path / "d.npy", faces.strangers)
    (tmp_path / "noises.txt").write_text("# noisy\nPerson_0_0001.jpg\n")
    inputs = ("--probes", "p.npz", "--distractors", "d.npy", "--sizes", "100", "--probe-noises", "noises.txt")
    trials, conventions = {}, {}
    for mode in ("r-compatible", "r-drop"):
        assert run("benchmark", "megaface", *inputs, "--noise", mode, "-o", mode).code == 0
        record = results_of(tmp_path / mode)
        trials[mode] = record["identification"][0]["rank1"]["trials"]
        conventions[mode] = record["conventions"]["noise"]
    assert trials == {"r-compatible": 72, "r-drop": 72 - 4}
    assert conventions["r-compatible"] != conventions["r-drop"]


@pytest.mark.usefixtures("without_page")
def test_a_noise_list_that_names_no_photo_at_hand_is_noted(run: Run, faces: Faces, tmp_path: Path) -> None:
    faces.save(tmp_path / "p.npz")
    np.save(tmp_path / "d.npy", faces.strangers)
    (tmp_path / "noises.txt").write_text("Person_0_0001.jpg\n")
    (tmp_path / "foreign.txt").write_text("1\tid/1.jpg\n2\tid/2.jpg\n")
    inputs = ("--probes", "p.npz", "--distractors", "d.npy", "--sizes", "100", "--noise", "r-drop")
    lists = ("--probe-noises", "noises.txt", "--distractor-noises", "foreign.txt")
    done = run("benchmark", "megaface", *inputs, *lists, "-o", "out")
    note = "foreign.txt: none of the 2 photos it names is in d.npy"
    assert [one for one in results_of(tmp_path / "out")["notes"] if "none of" in one] == [note]
    assert f"note: {note}" in done.stderr


@pytest.mark.usefixtures("without_page", "with_models")
def test_megaface_takes_folders_of_photos(run: Run, lfw_people: Path, tmp_path: Path) -> None:
    names = sorted(person.name for person in lfw_people.iterdir())
    for place, people in (("probes", names[:3]), ("distractors/deep/er", names[3:8])):
        for name in people:
            (tmp_path / place / name).mkdir(parents=True)
            for photo in sorted((lfw_people / name).iterdir())[:2]:
                (tmp_path / place / name / photo.name).write_bytes(photo.read_bytes())
    (tmp_path / "distractors" / "text.jpg").write_text("no photo")
    inputs = ("--probes", "probes", "--distractors", "distractors", "--model", "mobilefacenet", "--faces", "centre")

    done = run("benchmark", "megaface", *inputs, "-o", "out")

    record = results_of(tmp_path / "out")
    assert done.code == 0, done.stderr
    assert [(row["distractors"], row["rank1"]["trials"]) for row in record["identification"]] == [(10, 6)]
    assert record["identification"][0]["rank1"]["hits"] == 6
    assert record["model"]["name"] == "mobilefacenet"
    assert any("1 photo gave no feature; distractors.npz.failed.csv says why" in note for note in record["notes"])
    assert {"probes.npz", "distractors.npz"} <= {path.name for path in (tmp_path / "out").iterdir()}


@pytest.mark.slow
@pytest.mark.usefixtures("without_page")
def test_a_device_runs_the_exact_pass_too(
    run: Run, faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.distractors import device_fold

    asked: list[str] = []

    def on_the_processor(device: str) -> Any:
        asked.append(device)
        return partial(distractor_pass, fold=partial(device_fold.device_fold, device="cpu"), threads=1)

    monkeypatch.setattr(device_fold, "device_pass", on_the_processor)
    faces.save(tmp_path / "f.npz")
    np.save(tmp_path / "d.npy", faces.strangers)
    arguments = ("benchmark", "megaface", "--probes", "f.npz", "--distractors", "d.npy", "--sizes", "100")
    here, there = run(*arguments, "-o", "cpu"), run(*arguments, "--device", "cuda:1", "-o", "gpu")
    assert (here.code, there.code) == (0, 0), there.stderr
    assert asked == ["cuda:1"]
    assert there.stdout == here.stdout
    assert run(*arguments, "--device", "cuda", "--fast", "-o", "x").code == 2


def test_probes_without_names_are_refused(run: Run, faces: Faces, tmp_path: Path) -> None:
    faces.save(tmp_path / "p.npz", labels=np.zeros(len(faces.rows), "U1"))
    done = run("benchmark", "megaface", "--probes", "p.npz", "-o", "out")
    assert (done.code, done.stdout) == (1, "")
    assert "p.npz: nobody is named in it" in done.stderr


@pytest.mark.usefixtures("without_page")
def test_trillion_pairs_operating_points_are_refused_where_too_few_trials_stand_behind_them(
    run: Run, faces: Faces, tmp_path: Path
) -> None:
    faces.save(tmp_path / "p.npz")
    np.save(tmp_path / "d.npy", faces.strangers)
    done = run("benchmark", "megaface", "--probes", "p.npz", "--distractors", "d.npy", "--trillion-pairs", "-o", "out")
    record = results_of(tmp_path / "out")
    assert (done.code, record["protocol"]) == (0, "trillion-pairs-style")
    assert (record["verification"], record["open_set"]) == ([], [])
    assert [one["needed"] for one in record["refusals"]] == [3_000_000_000, 3_000]
    assert "3,000,000,000" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--distractors", "d.npy", "--sizes", "10,many"], 2, "numbers with commas between them"),
        (["--distractors", "d.npy", "--sizes", "0"], 2, "whole numbers of at least 1"),
        (["--distractors", "d.npy", "--sizes", "nan"], 2, "whole numbers of at least 1"),
        (["--distractors", "d.npy", "--noise", "r-drop"], 2, "--noise r-compatible and r-drop go with"),
        (["--distractors", "d.npy", "--probe-noises", "d.npy"], 2, "--noise r-compatible and r-drop go with"),
        (["--distractors", "d.npy", "--trillion-pairs", "--sizes", "10"], 2, "takes all raw distractors once"),
        (["--distractors", "d.npy", "--extrapolate", "1e5", "--noise", "r-drop", "--probe-noises", "d.npy"], 2, "raw"),
        (["--distractors", "nowhere"], 2, "does not exist"),
        (["--distractors", "d.npy", "--sizes", "10,401"], 1, "401"),
        (["--distractors", "narrow.npy"], 4, "has 4 numbers a row, p.npz (probes) 16: embed both with one model"),
        (["--distractors", "other.npz"], 4, "by net2 (cd34)"),
        (["--distractors", "nan.npy"], 1, "nan.npy: row 3 (3) is not finite"),
        ([], 1, "no person with one photo"),
    ],
)
def test_bad_input_ends_in_one_line_and_the_right_exit_code(
    run: Run, faces: Faces, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    faces.save(tmp_path / "p.npz", model=np.array(["net", "ab12"]))
    faces.save(tmp_path / "other.npz", model=np.array(["net2", "cd34"]))
    np.save(tmp_path / "d.npy", faces.strangers)
    np.save(tmp_path / "narrow.npy", unit(faces.strangers[:, :4]))
    np.save(tmp_path / "nan.npy", np.where(np.arange(DISTRACTORS)[:, None] == 3, np.nan, faces.strangers))
    done = run("benchmark", "megaface", "--probes", "p.npz", *arguments, "-o", "out")
    assert (done.code, done.stdout) == (code, "")
    assert says in " ".join(done.stderr.split())
    assert not (tmp_path / "out" / "results.json").exists()


def pairs_file(path: Path) -> Path:
    """Four folds of three mated and three non-mated pairs of the generated people."""
    lines = ["4\t3"]
    for fold in range(4):
        lines += [f"Person_{3 * fold + i}\t1\t2" for i in range(3)]
        lines += [f"Person_{3 * fold + i}\t1\tPerson_{(3 * fold + i + 5) % PEOPLE}\t3" for i in range(3)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_lfw_writes_the_accuracy_of_each_fold(run: Run, faces: Faces, tmp_path: Path) -> None:
    faces.save(tmp_path / "f.npz")
    done = run("benchmark", "lfw", "f.npz", "--pairs", pairs_file(tmp_path / "pairs.txt"), "-o", "out")
    record = results_of(tmp_path / "out")
    assert done.code == 0, done.stderr
    assert len(record["accuracy"]["folds"]) == 4
    assert record["accuracy"]["rate"] == pytest.approx(np.mean(record["accuracy"]["folds"]))
    assert {"rate", "standard_error", "folds"} <= set(record["accuracy"])
    right = record["accuracy"]["right"]
    assert right["trials"] == 24
    assert f"{right['hits']} of 24" in done.stdout
    assert "Accuracy" in done.stdout
    pairs = (tmp_path / "pairs.txt").read_bytes()
    assert [one["role"] for one in record["data"]] == ["photos", "pairs"]
    assert (record["data"][1]["sha256"], record["data"][1]["rows"]) == (hashlib.sha256(pairs).hexdigest(), 25)
    assert record["command"]
    assert record["peak_memory_bytes"] > 10 * 2**20
    assert {"python", "numpy", "faceid-engine"} <= set(record["versions"])


def test_the_tables_of_the_terminal_need_no_plots() -> None:
    program = "import sys; sys.modules.update(matplotlib=None, jinja2=None); import benchmarks.report.tables"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_the_libraries_of_the_page_there_are_figures_and_it_is_said_at_the_start(
    run: Run, faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "benchmarks.report.page", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    faces.save(tmp_path / "f.npz")
    done = run("benchmark", "lfw", "f.npz", "--pairs", pairs_file(tmp_path / "pairs.txt"), "-o", "out")
    assert done.code == 0, done.stderr
    assert "pip install 'faceid-engine[report]'" in done.stderr.splitlines()[0]
    assert results_of(tmp_path / "out")["accuracy"]["rate"] > 0
    assert "Accuracy" in done.stdout
    assert not (tmp_path / "out" / "index.html").exists()

    laid_over = run("report", "out", "-o", "page")
    assert (laid_over.code, laid_over.stdout) == (1, "")
    assert "pip install 'faceid-engine[report]'" in laid_over.stderr


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_measured(
    run: Run, faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.protocols.lfw.lfw", lambda *_: pytest.fail("measured"))
    monkeypatch.setattr("benchmarks.speed.measure.measure_speed", lambda *_, **__: pytest.fail("measured"))
    faces.save(tmp_path / "f.npz")
    (tmp_path / "file").write_text("no folder")
    pairs = pairs_file(tmp_path / "pairs.txt")
    for command in (("lfw", "f.npz", "--pairs", pairs), ("speed",)):
        done = run("benchmark", *command, "-o", "file/out")
        assert (done.code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert "file/out: cannot be made" in done.stderr


@pytest.mark.usefixtures("without_page")
def test_lfw_takes_photos_and_embeds_them_once(
    run: Run,
    with_models: None,  # noqa: F811
    lfw_people: Path,
    tmp_path: Path,
) -> None:
    names = sorted(person.name for person in lfw_people.iterdir())[:4]
    for name in names:
        (tmp_path / "lfw" / name).mkdir(parents=True)
        for photo in sorted((lfw_people / name).iterdir())[:2]:
            (tmp_path / "lfw" / name / photo.name).write_bytes(photo.read_bytes())
    lines = ["2\t2"]
    for first, second in (names[:2], names[2:]):
        lines += [f"{first}\t1\t2", f"{second}\t1\t2", f"{first}\t1\t{second}\t1", f"{first}\t2\t{second}\t2"]
    (tmp_path / "pairs.txt").write_text("\n".join(lines) + "\n")
    arguments = ("benchmark", "lfw", "lfw", "--pairs", "pairs.txt", "--model", "mobilefacenet", "--faces", "centre")

    assert run(*arguments, "-o", "out").code == 0
    written = (tmp_path / "out" / "photos.npz").stat().st_mtime_ns
    record = results_of(tmp_path / "out")
    assert run(*arguments, "-o", "out").code == 0

    assert record["model"]["name"] == "mobilefacenet"
    assert record["accuracy"]["rate"] == 1
    assert (tmp_path / "out" / "photos.npz").stat().st_mtime_ns > written
    assert results_of(tmp_path / "out")["accuracy"] == record["accuracy"]
    refused = run(*arguments[:-1], "largest", "-o", "out")
    assert refused.code == 1
    assert "faces centre there, largest now" in refused.stderr


@pytest.mark.usefixtures("without_page")
def test_a_verification_set_is_embedded_and_measured(
    run: Run,
    with_models: None,  # noqa: F811
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(0)
    images, same = [], []
    for pair in range(20):
        first = random.integers(0, 256, (112, 112, 3), dtype=np.uint8)
        second = first if pair % 2 == 0 else random.integers(0, 256, (112, 112, 3), dtype=np.uint8)
        images += [png(first), png(second)]
        same.append(pair % 2 == 0)
    (tmp_path / "set.bin").write_bytes(pickle.dumps((images, same)))
    done = run("benchmark", "verification", "set.bin", "--model", "mobilefacenet", "-o", "out")
    record = results_of(tmp_path / "out")
    assert done.code == 0, done.stderr
    assert record["accuracy"]["rate"] == 1
    assert (record["model"]["name"], record["data"][0]["file"]) == ("mobilefacenet", "set.bin")


def png(pixels: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.usefixtures("without_page")
def test_ytf_takes_the_frames_of_a_feature_file(run: Run, tmp_path: Path) -> None:
    frames = frames_of(Ann_0=[[1, 0], [0.9, 0.1]], Ann_1=[[1, 0.1]], Bob_0=[[0, 1]], Bob_1=[[0.1, 1]])
    np.savez(tmp_path / "f.npz", features=frames.features, labels=frames.labels, paths=frames.paths)
    lines = [f"{n}, {n}, {a}, {b}, {same}" for n in (1, 2) for a, b, same in ((*pair, 1) for pair in SAME)]
    lines += [f"{n}, {n}, {a}, {b}, {same}" for n in (1, 2) for a, b, same in ((*pair, 0) for pair in OTHER)]
    done = run("benchmark", "ytf", "f.npz", "--splits", listed(tmp_path, *lines), "-o", "out")
    assert done.code == 0, done.stderr
    assert results_of(tmp_path / "out")["accuracy"]["rate"] == 1


@pytest.mark.usefixtures("without_page")
def test_ytf_follows_the_person_through_whole_frames(run: Run, tmp_path: Path) -> None:
    for photo in write_people(tmp_path / "drawn", 2, 4, seed=5):
        person, number = photo.parent.name[-1], int(photo.stem) - 1
        video = tmp_path / "frames" / f"P{person}" / str(number // 2)
        video.mkdir(parents=True, exist_ok=True)
        photo.rename(video / f"{number % 2}.jpg")
    pairs = [("P1/0", "P1/1", 1), ("P2/0", "P2/1", 1), ("P1/0", "P2/1", 0), ("P2/0", "P1/1", 0)]
    lines = [f"{n}, {n}, {a}, {b}, {same}" for n in (1, 2) for a, b, same in pairs]
    done = run("benchmark", "ytf", "frames", "--splits", listed(tmp_path, *lines), "--tracks", "-o", "out")
    assert done.code == 0, done.stderr
    accuracy = results_of(tmp_path / "out")["accuracy"]
    assert accuracy["rate"] == 1
    refused = run("benchmark", "ytf", "out/results.json", "--splits", tmp_path / "splits.txt", "--tracks", "-o", "no")
    assert (refused.code, "--tracks takes a folder of frames" in refused.stderr) == (2, True)


@pytest.mark.usefixtures("without_page")
def test_ijb_takes_the_lists_of_a_folder(run: Run, tree: Path, tmp_path: Path) -> None:  # noqa: F811
    faces = tree_features(read_meta(tree))
    np.savez(tmp_path / "f.npz", features=faces.features, labels=faces.labels, paths=faces.paths)
    arguments = ("benchmark", "ijb", "f.npz", "--meta", tree, "--no-detection")
    assert run(*arguments, "-o", "out").code == 0
    assert run(*arguments, "--compat", "insightface-legacy", "-o", "legacy").code == 0
    record, legacy = results_of(tmp_path / "out"), results_of(tmp_path / "legacy")
    assert record["conventions"]["template"].startswith("N0D0F0")
    assert [row["rank1"]["trials"] for row in record["identification"]] == [40, 40]
    assert legacy["protocol"] == "ijb-insightface-legacy"
    assert "ijbc_1N_gallery_G1.csv" in [one["file"] for one in record["data"]]
    np.save(tmp_path / "norms.npy", np.zeros(len(faces), np.float32))
    refused = run(*arguments, "--norms", "norms.npy", "-o", "out")
    assert (refused.code, "finite numbers above 0" in refused.stderr) == (1, True)


def test_blufr_refuses_too_few_people_in_words(run: Run, faces: Faces, tmp_path: Path) -> None:
    faces.save(tmp_path / "f.npz")
    done = run("benchmark", "blufr", "f.npz", "-o", "out")
    assert done.code == 1
    assert done.stderr.startswith("Error: f.npz: ")


def test_embed_makes_a_feature_file_and_says_what_gave_none(
    run: Run,
    with_models: None,  # noqa: F811
    lfw_people: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "people" / "ann").mkdir(parents=True)
    (tmp_path / "people" / "ann" / "1.jpg").write_bytes(next(lfw_people.glob("*/*.jpg")).read_bytes())
    (tmp_path / "people" / "ann" / "2.jpg").write_text("no photo")
    arguments = ("benchmark", "features", "people", "--labels", "--model", "mobilefacenet", "-o", "f.npz")
    done = run(*arguments)
    assert done.code == 3
    assert "1 photo gave none: f.npz.failed.csv says why" in done.stderr
    with np.load(tmp_path / "f.npz", allow_pickle=False) as archive:
        assert archive["labels"].tolist() == ["ann"]
        assert archive["model"][0] == "mobilefacenet"
    assert "2 photos were done before" in run(*arguments).stderr


@pytest.mark.slow
def test_report_lays_runs_and_the_devkits_results_over_each_other(
    run: Run, faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces.save(tmp_path / "first.npz")
    faces.save(tmp_path / "second.npz", features=unit(faces.rows[:, ::-1] + 0.01))
    np.save(tmp_path / "d.npy", faces.strangers)
    with monkeypatch.context() as patch:
        patch.setattr("benchmarks.report.page.write_report", lambda runs, folder: folder / "index.html")
        for name in ("first", "second"):
            run("benchmark", "lfw", f"{name}.npz", "--pairs", pairs_file(tmp_path / "pairs.txt"), "-o", name)
    devkit = tmp_path / "cmc_facescrub_megaface_others_100_1.json"
    devkit.write_text(json.dumps({"cmc": [[0, 100], [0.98573232, 1]], "roc": [[1e-6, 1], [0.9, 1]]}))

    done = run("report", "first", "second/results.json", devkit, "-o", "both")

    page = (tmp_path / "both" / "index.html").read_text()
    assert done.code == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "both" / "index.html")
    assert all(name in page for name in ("first", "second", "others"))
    assert "151,442 of 153,634" in page


@pytest.mark.parametrize("text", ["{}", "[]", "no json"])
def test_report_refuses_what_is_no_run(run: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    done = run("report", tmp_path, "-o", "out")
    assert (done.code, done.stdout) == (1, "")
    assert "results.json" in done.stderr
