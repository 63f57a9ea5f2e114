"""A run: it learns, it goes on after a kill to the very same weights, and it says why it stopped."""

import io
import resource
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import save_file

from faceid.models.embedding import Embedder
from faceid.models.model_file import Model, read_model, write_model
from faceid.models.networks import build_network
from indexer.decision.decision import Calibration
from tests.training.tiny_run import SIDE, config, rows, write_teacher
from training.augment import centre_crops
from training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from training.commands import train
from training.data.opening import TrainingData
from training.data.pack import read_packs
from training.errors import CheckpointError, ConfigError, DataError, DivergenceError
from training.export import export_model
from training.network_input import to_input
from training.trainer import BEST, CHECKPOINT, TRAINING_LOG, VALIDATION_LOG, run


class KilledError(Exception):
    """Stands for the end of the process between two steps."""


class KillingStream(io.StringIO):
    """Dies at the progress line of a step, as a process that is killed there."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def write(self, text: str) -> int:
        if text.startswith(f"step {self.step}/"):
            raise KilledError
        return super().write(text)


@pytest.mark.slow
def test_a_run_learns_to_tell_its_people_apart(packs: Path, tmp_path: Path) -> None:
    progress = io.StringIO()
    result = run(config(packs, tmp_path, epochs=12), tmp_path / "run", progress)
    losses = [float(row["loss"]) for row in rows(tmp_path / "run" / TRAINING_LOG)]
    assert losses[-1] < losses[0]
    assert 0.5 < result.accuracy <= 1
    assert "images/s" in progress.getvalue()
    assert "ETA" in progress.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_killed_run_ends_with_the_very_weights_of_an_undisturbed_one(
    packs: Path, tmp_path: Path, precision: str
) -> None:
    settings = config(packs, tmp_path, precision=precision)
    whole = run(settings, tmp_path / "whole", io.StringIO())
    # Killed at step 18, its last checkpoint is that of step 15: 3 steps are lost and done again.
    with pytest.raises(KilledError):
        run(settings, tmp_path / "killed", KillingStream(18))
    assert read_checkpoint(tmp_path / "killed" / CHECKPOINT).step == 15
    resumed = run(settings, tmp_path / "killed", io.StringIO())
    expected = read_checkpoint(tmp_path / "whole" / CHECKPOINT)
    actual = read_checkpoint(tmp_path / "killed" / CHECKPOINT)
    assert actual.step == expected.step == 27
    for part in ("network", "head", "momentum"):
        one, other = getattr(actual, part), getattr(expected, part)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one), part
    assert resumed == whole
    for log in (TRAINING_LOG, VALIDATION_LOG):
        of_killed, of_whole = rows(tmp_path / "killed" / log), rows(tmp_path / "whole" / log)
        assert [row["step"] for row in of_killed] == [row["step"] for row in of_whole]


@pytest.mark.slow
def test_what_is_dropped_hangs_on_the_seed_and_the_step_alone(packs: Path, tmp_path: Path) -> None:
    arguments = {"input_size": [16, 16], "dimension": 8, "width": 0.125, "dropout": 0.4}
    settings = config(
        packs, tmp_path, network={"name": "iresnet18", "arguments": arguments}, epochs=1, precision="float32"
    )
    run(settings, tmp_path / "whole", io.StringIO())
    with pytest.raises(KilledError):
        run(settings, tmp_path / "killed", KillingStream(6))
    assert read_checkpoint(tmp_path / "killed" / CHECKPOINT).step == 5
    run(settings, tmp_path / "killed", io.StringIO())
    one, other = (read_checkpoint(tmp_path / name / CHECKPOINT).network for name in ("whole", "killed"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_finished_run_that_is_started_again_trains_no_further(packs: Path, tmp_path: Path) -> None:
    settings = config(packs, tmp_path)
    first = run(settings, tmp_path / "run", io.StringIO())
    before = (tmp_path / "run" / CHECKPOINT).read_bytes()
    assert run(settings, tmp_path / "run", io.StringIO()) == first
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == before


def test_the_seed_makes_the_weights(packs: Path, tmp_path: Path) -> None:
    weights = []
    for number, seed in enumerate((1, 1, 2)):
        run(config(packs, tmp_path, epochs=1, seed=seed), tmp_path / str(number), io.StringIO())
        weights.append(read_checkpoint(tmp_path / str(number) / CHECKPOINT).network["embedding.weight"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_run_that_diverges_stops_at_once_and_says_where_and_what_to_change(packs: Path, tmp_path: Path) -> None:
    settings = config(packs, tmp_path, optimiser={"peak_rate": 1e30, "warmup_epochs": 0}, epochs=20)
    with pytest.raises(DivergenceError, match=r"the loss is (nan|inf) at step \d+ .*(?s:.)*Lower optimiser\.peak_rate"):
        run(settings, tmp_path / "run", io.StringIO())


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.999])
def test_a_torn_checkpoint_is_refused_by_name(packs: Path, tmp_path: Path, keep: float) -> None:
    settings = config(packs, tmp_path, epochs=1)
    run(settings, tmp_path / "run", io.StringIO())
    file = tmp_path / "run" / CHECKPOINT
    payload = file.read_bytes()
    file.write_bytes(payload[: int(len(payload) * keep)])
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors is torn"):
        run(settings, tmp_path / "run", io.StringIO())


def test_a_checkpoint_with_a_flipped_bit_is_refused(packs: Path, tmp_path: Path) -> None:
    settings = config(packs, tmp_path, epochs=1)
    run(settings, tmp_path / "run", io.StringIO())
    file = tmp_path / "run" / CHECKPOINT
    payload = bytearray(file.read_bytes())
    payload[-100] ^= 1
    file.write_bytes(bytes(payload))
    with pytest.raises(CheckpointError, match="damaged"):
        run(settings, tmp_path / "run", io.StringIO())


@pytest.mark.parametrize(
    "changes",
    [{"step": "900"}, {"faces": "1"}, {"identities": "[]"}, {"config": "{}"}, {"step": "x00", "header_digest": None}]
    + [{name: None} for name in ("digest", "step", "faces")],
    ids=str,
)
def test_a_checkpoint_whose_header_was_changed_is_refused(tmp_path: Path, changes: dict[str, str | None]) -> None:
    path = tmp_path / CHECKPOINT
    _with_header(path, changes)
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors is damaged"):
        read_checkpoint(path)


def test_a_checkpoint_of_before_headers_had_a_digest_is_read(tmp_path: Path) -> None:
    path = tmp_path / CHECKPOINT
    _with_header(path, {"header_digest": None})
    assert read_checkpoint(path).step == 100


def test_a_full_disk_is_told_and_leaves_the_checkpoint_of_before(tmp_path: Path) -> None:
    path = tmp_path / CHECKPOINT
    write_checkpoint(path, Checkpoint(100, {}, (), 7, {"weight": torch.ones(2)}, {}))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    try:
        with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors could not be written .* before is whole"):
            write_checkpoint(path, Checkpoint(200, {}, (), 7, {"weight": torch.ones(2**18)}, {}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_checkpoint(path).step == 100
    assert [file.name for file in tmp_path.iterdir()] == [CHECKPOINT]


def _with_header(path: Path, changes: dict[str, str | None]) -> None:
    """Write a checkpoint, and then its header with other values; None: without that name."""
    write_checkpoint(path, Checkpoint(100, {"seed": 1}, ("Ann", "Bo"), 7, {"weight": torch.ones(2)}, {}))
    with safe_open(path, framework="pt") as file:
        header = (file.metadata() or {}) | changes
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    save_file(stored, path, {name: value for name, value in header.items() if value is not None})


def test_a_checkpoint_of_another_config_is_refused(packs: Path, tmp_path: Path) -> None:
    run(config(packs, tmp_path, epochs=1), tmp_path / "run", io.StringIO())
    with pytest.raises(CheckpointError, match="another config"):
        run(config(packs, tmp_path, epochs=2), tmp_path / "run", io.StringIO())


def test_a_run_whose_faces_were_filed_under_other_people_since_is_refused(packs: Path, tmp_path: Path) -> None:
    run(config(packs, tmp_path, epochs=1), tmp_path / "run", io.StringIO())
    faces = read_packs([packs / "training.tar"], side=SIDE)
    refiled = faces.labels.copy()
    refiled[[0, -1]] = refiled[[-1, 0]]  # two faces have changed places: as many faces, of the same people
    data = TrainingData(replace(faces, labels=refiled), read_packs([packs / "validation.tar"], side=SIDE))
    with pytest.raises(CheckpointError, match="other faces"):
        run(config(packs, tmp_path, epochs=1), tmp_path / "run", io.StringIO(), data)


def test_a_run_may_be_moved_and_report_more_often(packs: Path, tmp_path: Path) -> None:
    run(config(packs, tmp_path, epochs=1), tmp_path / "run", io.StringIO())
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for pack in ("training.tar", "validation.tar"):
        (moved / pack).write_bytes((packs / pack).read_bytes())
    run(config(moved, tmp_path, epochs=1, log_steps=1, checkpoint_steps=1), tmp_path / "run", io.StringIO())


def test_people_in_both_packs_are_refused(packs: Path, tmp_path: Path) -> None:
    pack = str(packs / "training.tar")
    settings = config(packs, tmp_path, data={"training": [pack], "validation": [pack], "only_faces": False})
    with pytest.raises(DataError, match=r"12 people are in training and validation, e\.g\. person_000"):
        run(settings, tmp_path / "run", io.StringIO())


def test_a_batch_larger_than_the_pack_is_refused(packs: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="72 faces do not fill one batch of 100"):
        run(config(packs, tmp_path, batch_size=100), tmp_path / "run", io.StringIO())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"batch_size": 3}, "no two faces for each of 2 threads"),
        ({"network": {"name": "sphereface4", "arguments": {"input_size": [16, 16], "dimension": -4}}}, "negative"),
        ({"network": {"name": "sphereface4", "arguments": {"input_size": [16, 16], "width": 0}}}, "division by zero"),
        ({"head": {"name": "asoftmax", "arguments": {"annealing": {"reach": 0}}}}, "division by zero"),
        ({"head": {"name": "cosface", "arguments": {"margin": "x"}}}, "does not take margin: 'x' .*got `str`"),
        ({"head": {"name": "cosface", "arguments": {"scale": None}}}, "does not take scale: None"),
    ],
)
def test_what_nothing_can_be_made_of_is_refused_before_training(
    packs: Path, tmp_path: Path, change: dict[str, object], text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        run(config(packs, tmp_path, **change), tmp_path / "run")


def test_a_network_that_does_not_exist_is_refused_before_training(packs: Path, tmp_path: Path) -> None:
    network = {"name": "sphereface5", "arguments": {"input_size": [16, 16]}}
    with pytest.raises(ConfigError, match="unknown architecture 'sphereface5'"):
        run(config(packs, tmp_path, network=network), tmp_path / "run", io.StringIO())


def test_the_command_trains_as_the_config_says_and_prints_the_figures(packs: Path, tmp_path: Path) -> None:
    config(packs, tmp_path, epochs=1)
    output = tmp_path / "run"
    result = CliRunner().invoke(train, ["run", str(tmp_path / "config.yaml"), "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("accuracy ")
    assert (output / CHECKPOINT).is_file()


def test_an_exported_run_embeds_as_the_network_that_was_trained(packs: Path, tmp_path: Path) -> None:
    run(config(packs, tmp_path, epochs=6), tmp_path / "run", io.StringIO())
    model = export_model(tmp_path / "run", tmp_path / "tiny.safetensors", training_data="made up", licence="none")
    checkpoint = read_checkpoint(tmp_path / "run" / CHECKPOINT)
    network = build_network("sphereface4", **checkpoint.config["network"]["arguments"])
    network.load_state_dict(checkpoint.network)
    crops = centre_crops(read_packs([packs / "validation.tar"], side=SIDE).images, (16, 16))
    with torch.inference_mode():
        both = network.eval()(to_input(crops)) + network(to_input(crops[:, :, ::-1].copy()))
        expected = torch.nn.functional.normalize(both).numpy()
    embedded = Embedder(read_model(model.path)).embed(crops)
    assert (embedded * expected).sum(1).min() > 0.9999
    assert model.spec.dimension == 8
    assert [accuracy.measure.split(",")[0] for accuracy in model.spec.accuracies] == [
        "verification accuracy",
        "TAR at FAR 1e-3",
        "rank-1",
    ]
    stored = model.stored_tensors()
    assert stored["embedding.weight"].dtype == np.float16
    assert stored["embedding_norm.running_var"].dtype == np.float32


def test_a_run_without_checkpoint_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*checkpoint\.safetensors"):
        export_model(tmp_path, tmp_path / "model.safetensors", training_data="none", licence="none")


def test_an_export_says_what_it_learned_from_and_may_be_of_the_best_checkpoint(packs: Path, tmp_path: Path) -> None:
    run(config(packs, tmp_path, epochs=2, validation_steps=3, ema=0.5), tmp_path / "run", io.StringIO())
    model = export_model(
        tmp_path / "run", tmp_path / "tiny.safetensors", training_data="made up", licence="none", best=True
    )
    best = read_checkpoint(tmp_path / "run" / BEST)
    assert f"made up [run tiny: 72 faces of 12 people, step {best.step} of 2 epochs" in model.spec.training_data
    assert model.spec.head.startswith("asoftmax")
    stored = model.stored_tensors()["embedding.weight"]
    assert np.allclose(stored, best.network["embedding.weight"].numpy(), atol=1e-3)


def test_the_thresholds_of_another_network_do_not_go_along(packs: Path, tmp_path: Path) -> None:
    run(config(packs, tmp_path, epochs=1), tmp_path / "run", io.StringIO())
    run(config(packs, tmp_path, epochs=1, seed=2), tmp_path / "other", io.StringIO())

    def export(folder: str, name: str, **options: Any) -> Model:
        output = tmp_path / f"{name}.safetensors"
        return export_model(tmp_path / folder, output, training_data="made up", licence="none", **options)

    earlier = export("run", "earlier")
    with pytest.raises(
        ConfigError, match=r"earlier\.safetensors has no threshold table; run `faceid models calibrate`"
    ):
        export("run", "mine", table_of=earlier)
    scores = np.linspace(0.5, 0.1, 40, dtype=np.float32)
    table = Calibration("far", scores, 40, None, None, None, earlier.digest, "float32", "strangers", "2026-11-28")
    record = table.to_record()
    earlier = write_model(earlier.path, replace(earlier.spec, calibrations=(record,)), earlier.stored_tensors())
    assert [each["data"] for each in export("run", "mine", table_of=earlier).spec.calibrations] == ["strangers"]
    for folder, options in (("other", {}), ("run", {"flip": "none"}), ("run", {"flip": "concat"})):
        with pytest.raises(ConfigError, match=r"earlier\.safetensors is not this network"):
            export(folder, "wrong", table_of=earlier, **options)
    assert not (tmp_path / "wrong.safetensors").exists()


def test_a_compiled_run_without_compiler_is_refused(
    packs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match="needs the compiler"):
        run(config(packs, tmp_path, compiled=True), tmp_path / "run", io.StringIO())


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++")
@pytest.mark.slow
def test_a_compiled_run_learns_the_same(packs: Path, tmp_path: Path) -> None:
    short = {"epochs": 1, "threads": 1}
    plain = run(config(packs, tmp_path, **short), tmp_path / "plain", io.StringIO())
    compiled = run(config(packs, tmp_path, **short, compiled=True), tmp_path / "compiled", io.StringIO())
    assert compiled.tar == pytest.approx(plain.tar, abs=0.02)
    networks = [read_checkpoint(tmp_path / name / CHECKPOINT).network for name in ("plain", "compiled")]
    for name, weights in networks[0].items():
        torch.testing.assert_close(networks[1][name], weights, rtol=1e-3, atol=1e-4, msg=name)


def test_faces_in_the_devices_memory_teach_as_those_that_are_read(packs: Path, tmp_path: Path) -> None:
    network = {
        "name": "sphereface4",
        "arguments": {"input_size": [112, 96], "dimension": 8, "width": 0.125, "batch_norm": True},
    }
    ends = [
        run(config(packs, tmp_path, network=network, epochs=1, on_device=there), tmp_path / str(there), io.StringIO())
        for there in (False, True)
    ]
    losses = [[float(row["loss"]) for row in rows(tmp_path / str(there) / TRAINING_LOG)] for there in (False, True)]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert ends[1].accuracy == pytest.approx(ends[0].accuracy, abs=0.1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
@pytest.mark.parametrize("compiled", [False, True])
def test_a_run_on_a_gpu_learns_and_goes_on_after_a_kill(packs: Path, tmp_path: Path, compiled: bool) -> None:
    teacher = write_teacher(tmp_path / "teacher.safetensors")
    settings = config(
        packs,
        tmp_path,
        network={
            "name": "sphereface4",
            "arguments": {"input_size": [112, 96], "dimension": 8, "width": 0.125, "batch_norm": True},
        },
        distill={"teacher": str(teacher.path), "weight": 5, "components": 8},
        head={"name": "sphereface_r", "arguments": {"version": "v1", "margin": 1.4, "scale": 30}},
        augmentation={"rotation": 6, "low_resolution": 0.3, "blur": 0.3, "occlusion": 0.3},
        optimiser={"peak_rate": 0.05, "warmup_epochs": 0.5, "clip_norm": 5},
        device="cuda",
        threads=1,
        on_device=True,
        precision="bfloat16",
        compiled=compiled,
        ema=0.9,
        epochs=6,
    )
    with pytest.raises(KilledError):
        run(settings, tmp_path / "run", KillingStream(30))
    assert read_checkpoint(tmp_path / "run" / CHECKPOINT).step == 25
    result = run(settings, tmp_path / "run", io.StringIO())
    losses = [float(row["loss"]) for row in rows(tmp_path / "run" / TRAINING_LOG)]
    assert losses[-1] < losses[0]
    assert 0.5 < result.accuracy <= 1
