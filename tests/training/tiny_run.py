"""A run that takes a second: packs of made-up people, a config for the smallest network, and a teacher for it."""

import csv
import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml

from faceid.models.model_file import Model, ModelSpec, write_model
from faceid.models.networks import build_network
from faceid.vision.alignment import reference_points
from training.config import Config, read_config

SIDE = 120


def write_pack(path: Path, people: range, photos: int = 6) -> Path:
    """People who differ by the colours of four quarters, photos of them by noise."""
    random = np.random.default_rng(people.start)
    with tarfile.open(path, "w") as tar:
        for person in people:
            colours = random.integers(40, 215, (2, 2, 3)).repeat(SIDE // 2, 0).repeat(SIDE // 2, 1)
            for photo in range(photos):
                noisy = np.clip(colours + random.normal(0, 12, colours.shape), 0, 255).astype(np.uint8)
                payload = cv2.imencode(".png", noisy[:, :, ::-1])[1].tobytes()
                member = tarfile.TarInfo(f"person_{person:03}/{photo:03}.png")
                member.size = len(payload)
                tar.addfile(member, io.BytesIO(payload))
    return path


def record(packs: Path) -> dict[str, object]:
    return {
        "name": "tiny",
        "data": {
            "training": [str(packs / "training.tar")],
            "validation": [str(packs / "validation.tar")],
            "only_faces": False,
        },
        "network": {
            "name": "sphereface4",
            "arguments": {"input_size": [16, 16], "dimension": 8, "width": 0.125, "batch_norm": True},
        },
        "head": {"name": "asoftmax", "arguments": {"margin": 4, "annealing": {"reach": 0.5}}},
        "epochs": 3,
        "batch_size": 8,
        "optimiser": {"peak_rate": 0.05, "warmup_epochs": 0.5},
        "threads": 2,
        "checkpoint_steps": 5,
        "validation_steps": 9,
        "log_steps": 3,
    }


def config(packs: Path, folder: Path, **changes: object) -> Config:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(record(packs) | changes), encoding="utf-8")
    return read_config(path)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_teacher(path: Path, *, shift: float = 0.0, seed: int = 5, width: float = 0.125) -> Model:
    """A small network with weights that were drawn, of another dimension and input size than the student."""
    torch.manual_seed(seed)
    network = build_network("sphereface4", input_size=(32, 32), dimension=12, width=width)
    spec = ModelSpec(
        name=path.stem,
        architecture="sphereface4",
        arguments={"input_size": [32, 32], "dimension": 12, "width": width},
        input_size=(32, 32),
        colour="rgb",
        mean=127.5,
        std=128.0,
        reference_points=reference_points(32, 32) + np.float32(shift),
        flip="none",
        dimension=12,
        head="none",
        training_data="none",
        accuracies=(),
        calibrations=(),
        licence="none",
    )
    return write_model(path, spec, {name: tensor.numpy() for name, tensor in network.state_dict().items()})
