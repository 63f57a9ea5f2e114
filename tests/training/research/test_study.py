"""Studies: what each run changes, runs side by side that end as they would alone, and what becomes of their figures."""

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image

from benchmarks.metrics.rates import rate
from benchmarks.results.record_json import encode
from faceid.vision.alignment import REFERENCE_112X112, Points
from faceid.vision.photo_list import PersonPhoto
from tests.training.tiny_run import SIDE, config, record
from training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from training.commands import train
from training.config import Config, to_record
from training.data.faces import mislabel, with_photos
from training.data.opening import open_data
from training.data.pack import read_packs
from training.errors import CheckpointError, ConfigError, DataError
from training.research import study, study_figures
from training.research.study import OUTCOME, diverged_runs, read_outcome, read_study, train_study
from training.research.study_figures import FIGURES, Crops, Figures, _measure, measure_study, read_figures, table
from training.trainer import CHECKPOINT, run
from training.validation import Validation


def write_study(packs: Path, folder: Path, runs: dict[str, object], seeds: tuple[int, ...] = (1,)) -> Path:
    shared = {key: value for key, value in record(packs).items() if key != "name"} | {"epochs": 1, "threads": 1}
    path = folder / "study.yaml"
    path.write_text(
        yaml.safe_dump({"shared": shared, "seeds": list(seeds), "runs": runs}, sort_keys=False), encoding="utf-8"
    )
    return path


def test_a_run_changes_what_it_names_and_shares_the_rest(packs: Path, tmp_path: Path) -> None:
    configs = read_study(
        write_study(packs, tmp_path, {"plain": {}, "fast": {"optimiser": {"peak_rate": 0.5}}}, seeds=(1, 7))
    )
    assert list(configs) == ["plain-1", "fast-1", "plain-7", "fast-7"]
    assert configs["fast-7"].seed == 7
    assert (configs["plain-1"].optimiser.peak_rate, configs["fast-1"].optimiser.peak_rate) == (0.05, 0.5)
    assert configs["fast-1"].optimiser.warmup_epochs == configs["plain-1"].optimiser.warmup_epochs == 0.5


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({"odd": {"epoch": 3}}, "run odd: unknown key 'epoch'"),
        ({"a": {}, "b": {"data": {"fewest_photos": 3}}}, "learn from the same data"),
    ],
)
def test_a_study_that_cannot_be_is_refused(packs: Path, tmp_path: Path, runs: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_study(write_study(packs, tmp_path, runs))


@pytest.mark.parametrize(
    "change", [{"seeds": 3}, {"seeds": []}, {"runs": ["plain"]}, {"runs": {"plain": 3}}, {"runs": {}}, {"shared": None}]
)
def test_a_study_of_another_form_is_refused(packs: Path, tmp_path: Path, change: dict[str, object]) -> None:
    study = write_study(packs, tmp_path, {"plain": {}})
    study.write_text(yaml.safe_dump(yaml.safe_load(study.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"study\.yaml"):
        read_study(study)


@pytest.mark.slow
def test_runs_side_by_side_end_where_they_would_alone(packs: Path, tmp_path: Path) -> None:
    huge = {"head": {"name": "softmax"}, "optimiser": {"peak_rate": 1e18, "warmup_epochs": 0.0}}
    study = write_study(packs, tmp_path, {"good": {}, "bad": huge})
    configs = read_study(study)
    train_study(configs, tmp_path / "study", jobs=2, progress=io.StringIO())
    alone = run(configs["good-1"], tmp_path / "alone", io.StringIO())
    beside = read_outcome(tmp_path / "study" / "good-1")
    assert beside is not None
    assert beside.accuracy == alone.accuracy
    weights = [
        read_checkpoint(folder / CHECKPOINT).network for folder in (tmp_path / "alone", tmp_path / "study/good-1")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert list(diverged_runs(tmp_path / "study")) == ["bad-1"]

    ended = (tmp_path / "study/good-1" / OUTCOME).stat().st_mtime_ns
    train_study(configs, tmp_path / "study", jobs=2, progress=io.StringIO())
    assert (tmp_path / "study/good-1" / OUTCOME).stat().st_mtime_ns == ended  # an ended run is not run again
    lines = CliRunner().invoke(train, ["study", str(study), "-o", str(tmp_path / "study")]).output.splitlines()
    assert lines[0] == f"good-1: {beside.text()}"
    assert lines[1].startswith("bad-1: the loss is nan at step 2")


def write_run(folder: Path, settings: Config, weight: float = 0.0) -> None:
    """Write what is left of a run that has ended."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {"weight": torch.full((1,), weight)}
    write_checkpoint(folder / CHECKPOINT, Checkpoint(1, to_record(settings), ("a",), 1, weights, {}))
    (folder / OUTCOME).write_text(json.dumps({"accuracy": 0.9, "tar": 0.9, "rank1": 0.9}), encoding="utf-8")


def test_how_a_run_of_another_config_ended_is_not_taken_for_this_ones(packs: Path, tmp_path: Path) -> None:
    settings = read_study(write_study(packs, tmp_path, {"plain": {}}))
    write_run(tmp_path / "study/plain-1", settings["plain-1"])
    train_study(settings, tmp_path / "study", jobs=1, progress=io.StringIO())

    changed = read_study(write_study(packs, tmp_path, {"plain": {"optimiser": {"peak_rate": 0.5}}}))
    with pytest.raises(CheckpointError, match=r"plain-1.* belongs to a run with another config"):
        train_study(changed, tmp_path / "study", jobs=1, progress=io.StringIO())


def landmarks_of_all(photos: Sequence[PersonPhoto], progress: TextIO) -> Iterator[tuple[PersonPhoto, Points]]:
    yield from ((photo, REFERENCE_112X112) for photo in photos)


def measure_nothing(run: Path, inputs: str, crops: Crops, pairs: Path) -> Path:
    half = rate(1, 2)
    figures = Figures(run.name, 0.5, 0.01, half, half, half, len(crops.labels), inputs)
    (run / FIGURES).write_text(json.dumps(encode(figures)), encoding="utf-8")
    return run


def test_figures_of_other_photos_pairs_or_weights_are_not_taken_for_these(
    packs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_figures, "_landmarks", landmarks_of_all)
    monkeypatch.setattr(study_figures, "_measure", measure_nothing)
    pairs, photos = tmp_path / "pairs.txt", tmp_path / "photos"
    settings = read_study(write_study(packs, tmp_path, {"plain": {}}))["plain-1"]

    def add_photo(name: str) -> None:
        (photos / "ann").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (112, 112)).save(photos / "ann" / name)

    def measured() -> tuple[int, str]:
        log = io.StringIO()
        (figures,) = measure_study(tmp_path / "study", photos, pairs, tmp_path / "landmarks.npz", progress=log)
        return figures.distractors, log.getvalue()

    write_run(tmp_path / "study/plain-1", settings)
    pairs.write_text("these", encoding="utf-8")
    add_photo("1.png")
    assert measured() == (1, "finding the faces of 1 photo once\nmeasured plain-1\n")
    assert measured() == (1, "")
    pairs.write_text("others", encoding="utf-8")
    assert measured() == (1, "measured plain-1\n")
    write_run(tmp_path / "study/plain-1", settings, weight=1.0)
    assert measured() == (1, "measured plain-1\n")
    add_photo("2.png")
    assert measured() == (2, "finding the faces of 2 photos once\nmeasured plain-1\n")


def test_shuffled_labels_keep_everybodys_count_and_change_only_the_share(packs: Path) -> None:
    faces = read_packs([packs / "training.tar"], side=SIDE)
    noisy = mislabel(faces, 0.5, seed=3)
    changed = (noisy.labels != faces.labels).mean()
    assert 0.3 < changed <= 0.5
    assert np.array_equal(np.bincount(noisy.labels), np.bincount(faces.labels))
    assert np.array_equal(mislabel(faces, 0.5, seed=3).labels, noisy.labels)


def test_people_with_few_photos_are_left_out(packs: Path, tmp_path: Path) -> None:
    settings = config(packs, tmp_path).data
    faces = open_data(settings).training
    with pytest.raises(DataError, match="every face"):
        with_photos(faces, 7)  # everybody has six
    assert len(with_photos(faces, 6).labels) == len(faces.labels)


@pytest.mark.slow
def test_a_measured_run_is_in_the_table(packs: Path, tmp_path: Path) -> None:
    configs = read_study(write_study(packs, tmp_path, {"good": {}}))
    train_study(configs, tmp_path / "study", jobs=1, progress=io.StringIO())
    random = np.random.default_rng(0)
    people = [f"P{person:03}" for person in range(200) for _ in range(2 if person < 160 else 1)]
    numbers = [1 + people[:place].count(name) for place, name in enumerate(people)]
    paths = [f"lfw/{name}/{name}_{number:04}.jpg" for name, number in zip(people, numbers, strict=True)]
    images = random.integers(0, 255, (len(people), 16, 16, 3), dtype=np.uint8)
    pairs = tmp_path / "pairs.txt"
    folds = [f"P{fold * 5 + i:03}\t1\t2" for fold in range(2) for i in range(5)]
    others = [f"P{120 + fold * 5 + i}\t1\tP{130 + fold * 5 + i}\t1" for fold in range(2) for i in range(5)]
    pairs.write_text("\n".join(["2 5", *folds[:5], *others[:5], *folds[5:], *others[5:]]) + "\n", encoding="utf-8")
    measured = _measure(tmp_path / "study/good-1", "inputs", Crops(images, tuple(people), tuple(paths)), pairs)
    figures = read_figures(measured)
    assert (measured / FIGURES).exists()
    assert figures.distractors == 40
    assert 0.4 < figures.accuracy <= 1


def test_photos_that_are_too_few_for_a_rate_are_refused(packs: Path, tmp_path: Path) -> None:
    run(config(packs, tmp_path, epochs=1), tmp_path / "run", io.StringIO())
    paths = [f"P{person}/P{person}_{photo:04}.jpg" for person in range(9) for photo in ((1, 2) if person < 5 else (1,))]
    images = np.random.default_rng(0).integers(0, 255, (len(paths), 16, 16, 3), dtype=np.uint8)
    crops = Crops(images, tuple(path.split("/")[0] for path in paths), tuple(paths))
    (tmp_path / "pairs.txt").write_text("2 1\nP0 1 2\nP5 1 P6 1\nP1 1 2\nP7 1 P8 1\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"TAR at FAR 0\.001 .*: 40 trials are too few, it takes 3,000; give more photos"
    ):
        _measure(tmp_path / "run", "inputs", crops, tmp_path / "pairs.txt")


def test_what_nobody_knows_for_too_few_photos_is_no_number_in_an_outcome(
    packs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nan = float("nan")
    monkeypatch.setattr(study, "run", lambda *_: Validation(0.9, nan, nan, 0.8, nan))
    monkeypatch.setattr(study, "_shared", [None])
    outcome = study._train(config(packs, tmp_path), tmp_path / "run")
    assert outcome.text() == "validation accuracy 0.9000, TAR too few trials, rank-1 0.8000"
    assert "NaN" not in (tmp_path / "run" / OUTCOME).read_text(encoding="utf-8")
    assert read_outcome(tmp_path / "run") == outcome


def test_the_table_gives_percent_with_intervals() -> None:
    half = rate(1, 2)
    lines = table([Figures("a-1", 0.5, 0.01, half, half, half, 4069)], {"b-1": "step 3: NaN"})
    assert "| a-1 | 50.00 +- 1.00 | 50.0 (" in lines[2]
    assert lines[3].startswith("| b-1 | diverged: step 3: NaN |")
    assert "among 4,069" in lines[0]
