"""A run that takes a second: packs of made-up people, and a config for the smallest network."""

import csv
import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import yaml

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
