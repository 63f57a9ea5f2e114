"""Faces for a journey: smaller, in parts of a limited length, and still the faces that their names say."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.training.data.test_readers import write_records, write_shard
from tests.training.tiny_run import SIDE, config, write_teacher
from training.commands import train
from training.config import DataConfig
from training.data.opening import open_data, open_faces, open_training
from training.data.pack import read_packs
from training.errors import DataError
from training.repack import repack

PART = 12_000


@pytest.fixture
def judge(tmp_path: Path) -> str:
    return str(write_teacher(tmp_path / "judge.safetensors").path)


@pytest.mark.slow
def test_the_parts_hold_every_face_under_its_name_and_none_is_too_long(packs: Path, tmp_path: Path, judge: str) -> None:
    data = config(packs, tmp_path).data
    done = repack(data, tmp_path / "out", judge, cosine=0.9, part_bytes=PART)
    assert len([part for part in done.parts if part.parent.name == "training"]) > 1
    assert max(part.stat().st_size for part in done.parts) <= PART
    before = open_data(data)
    after = open_data(config(packs, tmp_path, data=places(tmp_path / "out", "training") | {"only_faces": False}).data)
    for one, other in ((before.training, after.training), (before.validation, after.validation)):
        assert [one.name(i) for i in range(len(one.labels))] == [other.name(i) for i in range(len(other.labels))]
        assert one.labels.tolist() == other.labels.tolist()
        every = np.arange(len(one.labels))
        apart = one.read(every).astype(int) - other.read(every)
        assert np.abs(apart).mean() < 15


@pytest.mark.parametrize("write", [write_records, write_shard])
def test_people_of_records_and_shards_are_told_apart_in_the_parts(
    tmp_path: Path, judge: str, write: Callable[[Path], Path]
) -> None:
    source = write(tmp_path)
    data = DataConfig((source,), (source,), side=16, only_faces=False)
    for place in ("000", "001", "notes"):
        (tmp_path / "out" / "training").mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / "training" / f"{place}.tar.xz").write_bytes(b"of an earlier call")
    repack(data, tmp_path / "out", judge, cosine=0.1, part_bytes=2**20)
    before, after = (
        open_faces([path], side=16, only_faces=False) for path in (source, tmp_path / "out" / "validation")
    )
    assert after.identities == before.identities
    assert np.bincount(after.labels).tolist() == np.bincount(before.labels).tolist()
    left = sorted(file.name for file in (tmp_path / "out" / "training").iterdir())
    assert left == ["000.tar.xz", "notes.tar.xz"]


@pytest.mark.slow
def test_unlabelled_faces_go_apart_and_listed_ones_stay_behind(packs: Path, tmp_path: Path, judge: str) -> None:
    names = tmp_path / "leave-out.txt"
    names.write_text("person_000/000.png\nperson_013/001.png\n", encoding="utf-8")
    data = config(
        packs,
        tmp_path,
        data={
            "training": [str(packs / "training.tar")],
            "unlabelled": [str(packs / "validation.tar")],
            "validation": [str(packs / "validation.tar")],
            "leave_out": str(names),
            "only_faces": False,
        },
        head=None,
        distill={"teacher": "any"},
    ).data
    done = repack(data, tmp_path / "out", judge, cosine=0.5, part_bytes=2**20)
    listed = {part.relative_to(tmp_path / "out").as_posix() for part in done.parts}
    assert listed == {"training/000.tar.xz", "unlabelled/000.tar.xz", "validation/000.tar.xz"}
    assert sum(done.faces[:2]) == len(open_training(data).labels)
    assert "person_000/000.png" not in read_packs([tmp_path / "out" / "training" / "000.tar.xz"], side=SIDE).names


@pytest.mark.slow
def test_a_higher_cosine_asks_for_more_bytes(packs: Path, tmp_path: Path, judge: str) -> None:
    data = config(packs, tmp_path).data
    low, high = (repack(data, tmp_path / str(cosine), judge, cosine=cosine, part_bytes=2**20) for cosine in (0.9, 0.99))
    assert low.quality <= high.quality
    assert low.face_bytes <= high.face_bytes
    assert low.cosine >= 0.9
    assert high.cosine >= 0.99


def test_a_cosine_that_no_quality_keeps_is_refused(packs: Path, tmp_path: Path, judge: str) -> None:
    with pytest.raises(DataError, match=r"no quality of WebP keeps a mean cosine of 1\.1"):
        repack(config(packs, tmp_path).data, tmp_path / "out", judge, cosine=1.1, part_bytes=2**20)


@pytest.mark.slow
def test_the_command_says_what_it_wrote(packs: Path, tmp_path: Path, judge: str) -> None:
    config(packs, tmp_path)
    arguments = [
        "pack",
        str(tmp_path / "config.yaml"),
        "--model",
        judge,
        "--cosine",
        "0.9",
        "-o",
        str(tmp_path / "out"),
    ]
    said = CliRunner().invoke(train, arguments, catch_exceptions=False).output
    assert "72 labelled faces, 0 unlabelled" in said
    assert "bytes a face, mean cosine 0.9" in said


def places(folder: Path, training: str) -> dict[str, object]:
    return {"training": [str(folder / training)], "validation": [str(folder / "validation")]}
