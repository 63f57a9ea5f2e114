"""Two processes, as torchrun starts them, come to what one process comes to; centres may be spread and sampled."""

import io
import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.training.tiny_run import config, write_teacher
from training.checkpoint import Checkpoint, read_checkpoint
from training.class_shards import ShardedHead, class_range
from training.config import Config
from training.distributed import Group, joined_group
from training.errors import ConfigError
from training.heads import build_head
from training.heads.head import Head
from training.trainer import CHECKPOINT, run

ALONE = Group(0, 1, torch.device("cpu"))


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _in_process(rank: int, port: int, queue: Any, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    try:
        queue.put((rank, work(*arguments)))
    except Exception as error:
        queue.put((rank, error))


def two_processes(work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What the function gives in each of two processes that find the environment torchrun makes."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    port = _free_port()
    started = [context.Process(target=_in_process, args=(rank, port, queue, work, arguments)) for rank in range(2)]
    for process in started:
        process.start()
    try:
        results = dict(queue.get(timeout=120) for _ in started)
    finally:
        for process in started:
            process.join(10)
            process.kill()
    return [results[rank] for rank in range(2)]


def train(settings: Config, folder: Path) -> float:
    return run(settings, folder, io.StringIO()).accuracy


def assert_same_weights(one: Checkpoint, other: Checkpoint, tolerance: float) -> None:
    for part in ("network", "average", "head", "distillation", "momentum"):
        tensors, others = getattr(one, part), getattr(other, part)
        assert tensors.keys() == others.keys()
        for name, tensor in tensors.items():
            assert torch.allclose(tensor, others[name], atol=tolerance, rtol=1e-3), (part, name)


@pytest.mark.slow
def test_two_processes_come_to_the_weights_of_one_with_two_threads(packs: Path, tmp_path: Path) -> None:
    teacher = write_teacher(tmp_path / "teacher.safetensors")
    settings = {
        "distill": {"teacher": str(teacher.path)},
        "ema": 0.9,
        "epochs": 1,
        "optimiser": {"peak_rate": 0.05, "warmup_epochs": 0.5, "clip_norm": 0.5},
    }
    run(config(packs, tmp_path, **settings), tmp_path / "one", io.StringIO())
    results = two_processes(train, config(packs, tmp_path, **settings, threads=1), tmp_path / "two")
    assert all(isinstance(result, float) for result in results), results
    assert_same_weights(
        read_checkpoint(tmp_path / "two" / CHECKPOINT), read_checkpoint(tmp_path / "one" / CHECKPOINT), 1e-5
    )


@pytest.mark.slow
def test_torchrun_starts_the_command_on_two_processes_of_a_config(packs: Path, tmp_path: Path) -> None:
    run(config(packs, tmp_path, epochs=1), tmp_path / "one", io.StringIO())
    config(packs, tmp_path, epochs=1, threads=1)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", _free_port()]
    command = [*torchrun, "-m", "faceid", "train", "run", tmp_path / "config.yaml", "-o", tmp_path / "two"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    one, two = (read_checkpoint(tmp_path / folder / CHECKPOINT) for folder in ("one", "two"))
    assert_same_weights(two, one, 1e-5)


@pytest.mark.slow
def test_a_run_with_centres_in_one_process_goes_on_with_them_in_two(packs: Path, tmp_path: Path) -> None:
    settings = {
        "class_shards": {"sampling_rate": 1.0},
        "epochs": 2,
        "optimiser": {"peak_rate": 0.05, "warmup_epochs": 0.5, "clip_norm": 0.5},
    }
    whole = config(packs, tmp_path, **settings)
    run(whole, tmp_path / "one", io.StringIO())
    # The same start: 9 of 18 steps in one process, as the schedule of the whole run has them.
    (tmp_path / "two").mkdir()
    with pytest.raises(StoppedError):
        run(config(packs, tmp_path, **settings, checkpoint_steps=9), tmp_path / "two", StoppingStream())
    assert read_checkpoint(tmp_path / "two" / CHECKPOINT).step == 9
    results = two_processes(train, config(packs, tmp_path, **settings, threads=1), tmp_path / "two")
    assert all(isinstance(result, float) for result in results), results
    one, two = (read_checkpoint(tmp_path / folder / CHECKPOINT) for folder in ("one", "two"))
    assert one.head["weight"].shape == (12, 8)
    assert_same_weights(two, one, 1e-5)


class StoppedError(Exception):
    """Stands for the end of the process."""


class StoppingStream(io.StringIO):
    def write(self, text: str) -> int:
        if text.startswith("step 12/"):
            raise StoppedError
        return super().write(text)


def test_an_uneven_batch_is_refused_by_both_processes(packs: Path, tmp_path: Path) -> None:
    results = two_processes(train, config(packs, tmp_path, batch_size=9, threads=1), tmp_path / "run")
    assert [type(result) for result in results] == [ConfigError, ConfigError]
    assert "9 cannot be shared evenly by 2" in str(results[0])


def sharded_loss(name: str, arguments: dict[str, Any], weight: torch.Tensor, x: np.ndarray, y: np.ndarray) -> Any:
    """Loss, the gradient of the embeddings, and that of all centres, from within a group."""
    with joined_group("cpu") as group:
        first, last = class_range(len(weight), group)
        own = build_head(name, weight.shape[1], last - first + 1, steps=10, **arguments)
        head = ShardedHead(own, classes=len(weight), sampling_rate=1, seed=0, group=group).train()
        head.load_whole_state({**own.state_dict(), "weight": weight})
        head.at_step(7)
        embeddings = torch.from_numpy(x).requires_grad_()
        loss = head(embeddings, torch.from_numpy(y))
        loss.backward()
        assert embeddings.grad is not None
        assert own.weight.grad is not None
        return loss.item(), embeddings.grad.numpy(), head.whole(own.weight.grad).numpy()


HEADS: list[tuple[str, dict[str, Any]]] = [
    ("asoftmax", {"margin": 4}),
    ("cosface", {}),
    ("arcface", {}),
    ("normalised_softmax", {}),
]


@pytest.mark.slow
def test_centres_in_two_processes_give_the_loss_and_the_gradients_of_one() -> None:
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(10, 6)).astype(np.float32), random.integers(0, 7, 10)
    weight = functional.normalize(torch.randn(7, 6))  # 4 in the first process, 3 in the second
    for name, arguments in HEADS:
        head = build_head(name, 6, 7, steps=10, **arguments).train()
        head.load_state_dict({**head.state_dict(), "weight": weight})
        head.at_step(7)
        embeddings = torch.from_numpy(x).requires_grad_()
        loss = head(embeddings, torch.from_numpy(y))
        loss.backward()
        assert embeddings.grad is not None
        for result in two_processes(sharded_loss, name, arguments, weight, x, y):
            assert not isinstance(result, Exception), (name, result)
            assert result[0] == pytest.approx(loss.item(), rel=1e-5), name
            assert np.allclose(result[1], embeddings.grad.numpy(), atol=1e-6), name
            assert np.allclose(result[2], head.weight.grad.numpy(), atol=1e-6), name


def rows_with_gradient(head: Head) -> list[int]:
    """The classes that a step has used."""
    return torch.nonzero(head.weight.grad.abs().sum(1)).flatten().tolist()


def test_a_sample_of_centres_is_a_softmax_over_the_batch_s_classes_and_some_others() -> None:
    torch.manual_seed(0)
    own = build_head("cosface", 6, 101, steps=10).train()
    head = ShardedHead(own, classes=100, sampling_rate=0.2, seed=3, group=ALONE)
    embeddings, labels = torch.randn(8, 6, requires_grad=True), torch.arange(8) * 11
    head.at_step(1)
    loss = head(embeddings, labels)
    loss.backward()
    used = rows_with_gradient(own)
    assert len(used) == 20
    assert set(labels.tolist()) <= set(used)
    cosines = functional.normalize(embeddings) @ functional.normalize(own.weight[used]).t()
    target = torch.tensor([used.index(label) for label in labels.tolist()])
    shifted = cosines - own.margin * functional.one_hot(target, len(used))
    assert loss.item() == pytest.approx(functional.cross_entropy(own.scale * shifted, target).item(), rel=1e-5)
    head.at_step(2)
    own.weight.grad = None
    head(embeddings, labels).backward()
    assert rows_with_gradient(own) != used


def test_more_classes_in_a_batch_than_the_sample_holds_are_all_used() -> None:
    own = build_head("cosface", 4, 11, steps=10).train()
    head = ShardedHead(own, classes=10, sampling_rate=0.1, seed=3, group=ALONE)
    head.at_step(1)
    head(torch.randn(6, 4), torch.arange(6)).backward()
    assert rows_with_gradient(own) == list(range(6))


@pytest.mark.parametrize("name", ["triplet", "sphereface2", "sface", "softmax"])
def test_a_loss_that_is_no_cross_entropy_over_centres_is_not_cut(name: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be cut by classes.*leave class_shards out"):
        ShardedHead(build_head(name, 4, 11, steps=10), classes=10, sampling_rate=1, seed=0, group=ALONE)


def test_classes_are_spread_evenly_and_none_twice() -> None:
    for classes, size in ((7, 2), (10, 4), (3, 3)):
        ranges = [class_range(classes, Group(rank, size, torch.device("cpu"))) for rank in range(size)]
        assert [index for first, last in ranges for index in range(first, last)] == list(range(classes))
        assert max(last - first for first, last in ranges) - min(last - first for first, last in ranges) <= 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused_in_words(packs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="PyTorch finds no GPU here; set device: cpu"):
        run(config(packs, tmp_path, device="cuda", threads=1), tmp_path / "run", io.StringIO())
