"""A feature file made in parts: what is finished stays, what changed is embedded again, the rows are the engine's."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from faceid import embedding_parts as module
from faceid.embedding_parts import embed_in_parts
from faceid.engine import FaceEngine
from faceid.vision.photo_list import PersonPhoto, photos_of_people
from faceid.vision.picture import Picture


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHARD", 5)


@pytest.fixture
def people(drawn_people: Path, tmp_path: Path) -> Path:
    """Six drawn people with three photos each, and a file that is none."""
    folder = Path(shutil.copytree(drawn_people, tmp_path / "people"))
    (folder / "person-0002" / "broken.jpg").write_text("no photo")
    return folder


def told(features):
    failures = [(one.source, one.reason_code, str(one.error), one.picture.path) for one in features.failures]
    return features.labels, features.paths, failures


def test_the_rows_are_those_of_the_engine_and_a_second_run_looks_at_nothing(
    engine: FaceEngine, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = list(photos_of_people(people))
    alone = engine.embed(photos, faces="all")
    first = embed_in_parts(engine, photos, tmp_path / "f.npz", faces="all")
    assert np.allclose(first.features.vectors, alone.vectors, atol=1e-6)
    assert told(first.features) == told(alone)
    assert first.reused == 0

    monkeypatch.setattr(engine, "embed", None)
    again = embed_in_parts(engine, list(photos_of_people(people)), tmp_path / "f.npz", faces="all")
    assert np.array_equal(again.features.vectors, first.features.vectors)
    assert told(again.features) == told(first.features)
    assert again.reused == 19
    again.drop()
    assert not (tmp_path / "f.npz.parts").exists()


def test_a_stopped_run_goes_on_after_its_finished_parts(engine: FaceEngine, people: Path, tmp_path: Path) -> None:
    photos = list(photos_of_people(people))

    def stopped():
        yield from photos[:12]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_in_parts(engine, stopped(), tmp_path / "f.npz")
    assert embed_in_parts(engine, photos, tmp_path / "f.npz").reused == 10


def test_what_changed_or_was_damaged_is_embedded_again(engine: FaceEngine, people: Path, tmp_path: Path) -> None:
    def embed(**how):
        return embed_in_parts(engine, list(photos_of_people(people)), tmp_path / "f.npz", **how)

    whole = embed().features
    for part in sorted((tmp_path / "f.npz.parts").iterdir())[:1]:
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 1
        part.write_bytes(content)
    repaired = embed()
    assert repaired.reused in (14, 15)  # the last part is one shorter
    assert np.array_equal(repaired.features.vectors, whole.vectors)
    shutil.copy(people / "person-0001" / "2.jpg", people / "person-0001" / "1.jpg")
    assert embed().reused == 14
    assert embed(faces="centre").reused == 0


@pytest.mark.slow
def test_a_flipped_bit_anywhere_in_a_part_is_no_part_and_no_error(
    engine: FaceEngine, people: Path, tmp_path: Path
) -> None:
    photos = list(photos_of_people(people))[:5]
    whole = embed_in_parts(engine, photos, tmp_path / "f.npz").features
    (part,) = (tmp_path / "f.npz.parts").iterdir()
    sound, shard = part.read_bytes(), list(module.labelled(photos))
    # Names, headers and the directory at the end, where zip has its flags and methods.
    places = [place for place in range(len(sound)) if place < 300 or place > len(sound) - 500 or place % 50 == 0]
    for place in places:
        damaged = bytearray(sound)
        damaged[place] ^= 1 << place % 8
        part.write_bytes(damaged)
        read = module._read(part, shard, whole.vectors.shape[1])
        assert read is None or (np.array_equal(read.vectors, whole.vectors) and told(read) == told(whole))


def test_pictures_that_are_no_files_are_embedded_each_time(engine: FaceEngine, people: Path, tmp_path: Path) -> None:
    picture = Picture((people / "person-0001" / "1.jpg").read_bytes(), "stdin")
    photos = [picture, *(PersonPhoto(people / name, "a") for name in ("gone.jpg", "a\0b", "overlong" * 100))]
    for _ in range(2):
        for missing in photos[1:]:
            done = embed_in_parts(engine, [picture, missing], tmp_path / "f.npz")
            assert (len(done.features.paths), len(done.features.failures), done.reused) == (1, 1, 0)
            done = embed_in_parts(engine, [missing], tmp_path / "f.npz")
            assert (len(done.features.failures), done.reused) == (1, 0)
