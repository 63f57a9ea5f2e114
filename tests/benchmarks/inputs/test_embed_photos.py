"""Embedding a folder to a feature file: what is done once stays done, whatever happens in between."""

import csv
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.inputs import embed_photos as module
from benchmarks.inputs.embed_photos import PhotoCounts, embed_photos
from benchmarks.inputs.inputs import Embedding, photo_features
from faceid.engine import FaceEngine, Features
from faceid.feature_file import read_features
from faceid.feature_set import FeatureError, FeatureSet
from faceid.pipeline import PictureFaces
from faceid.vision.alignment import reference_points
from faceid.vision.photo_list import PersonPhoto, photos_of_people
from faceid.workers.processes import process_crew
from indexer.records import ModelBinding
from tests.faceid.conftest import engine, models_dir  # noqa: F401  (fixtures)


class StandInEngine:
    """Gives each photo a vector of its bytes, logs the photos, and dies when it is told to.

    It stands for the engine where only the book-keeping is tested; the tests with real photos use the real one.
    """

    def __init__(
        self, log: Path, digest: str = "d1", dies_after: int | None = None, detector: str = "mtcnn", reads: str = "jpeg"
    ) -> None:
        self.log, self.dies_after, self.reads = log, dies_after, reads
        self.binding = ModelBinding("stand-in", digest, 3)
        self.circumstances = {"model": digest, "detector": detector, "min_face_size": 20}

    def embed(self, photos, faces):
        rows, failures = [], []
        for photo in photos:
            with self.log.open("a") as log:
                log.write(f"{photo.path.name}\n")
            if self.dies_after is not None and len(self.log.read_text().split()) >= self.dies_after:
                os.kill(os.getpid(), signal.SIGKILL)
            text = photo.path.read_text() if photo.path.exists() else "no"
            if text.startswith("no"):
                failures.append(PictureFaces(photo, None, (), "no_face"))
            elif text.startswith("heic") and self.reads != "heic":
                failures.append(PictureFaces(photo, None, (), "needs_plugin"))
            else:
                rows.append((vector_of(text), photo))
        return Features(
            np.array([row[0] for row in rows], np.float32).reshape(-1, 3),
            ("",) * len(rows),
            tuple(str(row[1].path) for row in rows),
            tuple(failures),
        )


def vector_of(text: str) -> np.ndarray:
    vector = np.array([len(text), ord(text[0]), ord(text[-1])], np.float64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eleven photos of three people; one has no face."""
    for number in range(11):
        path = tmp_path / "people" / "abc"[number % 3] / f"{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("no face" if number == 4 else f"{'xyz'[number % 3]} face {number}")
    return tmp_path / "people"


def looked_at(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def test_the_file_holds_one_row_a_photo_and_failures_are_listed_with_their_reason(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "f.npz"
    done = embed_photos(StandInEngine(tmp_path / "log"), photos_of_people(folder), output)

    features = read_features(output)
    assert done == PhotoCounts(rows=10, reused=0, failed=1)
    assert features.labels.tolist() == list("aaaa" + "bbb" + "ccc")
    assert features.paths.tolist()[0] == str(folder / "a" / "00.jpg")
    assert np.array_equal(features.features[0], vector_of("x face 0"))
    with (tmp_path / "out" / "f.npz.failed.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {
                "path": str(folder / "b" / "04.jpg"),
                "reason_code": "no_face",
                "message": f"{folder / 'b' / '04.jpg'}: no face was found",
            }
        ]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_anywhere_it_goes_on_where_it_stopped(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    embed_photos(StandInEngine(tmp_path / "whole.log"), photos_of_people(folder), tmp_path / "whole.npz")
    for dies_after in range(1, 12):
        output, log = tmp_path / f"{dies_after}.npz", tmp_path / f"{dies_after}.log"
        child = os.fork()
        if child == 0:
            embed_photos(StandInEngine(log, dies_after=dies_after), photos_of_people(folder), output)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
        assert not output.exists()

        done = embed_photos(StandInEngine(log), photos_of_people(folder), output)

        assert done.reused == (dies_after - 1) // 2 * 2
        assert len(looked_at(log)) <= 11 + 2
        assert output.read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_a_second_run_looks_at_new_and_changed_photos_only(folder: Path, tmp_path: Path) -> None:
    output, log = tmp_path / "f.npz", tmp_path / "log"
    embed_photos(StandInEngine(log), photos_of_people(folder), output)
    log.unlink()
    (folder / "a" / "00.jpg").write_text("a changed face")
    (folder / "a" / "0new.jpg").write_text("n face")
    (folder / "c" / "02.jpg").unlink()

    done = embed_photos(StandInEngine(log), photos_of_people(folder), output)

    features = read_features(output)
    assert looked_at(log) == ["00.jpg", "0new.jpg"]
    assert done == PhotoCounts(rows=10, reused=9, failed=1)
    assert [Path(path).name for path in features.paths] == [
        *("00.jpg", "03.jpg", "06.jpg", "09.jpg", "0new.jpg"),
        *("01.jpg", "07.jpg", "10.jpg", "05.jpg", "08.jpg"),
    ]
    assert np.array_equal(features.features[0], vector_of("a changed face"))


def test_a_photo_that_could_not_be_read_is_looked_at_again_once_it_can(tmp_path: Path) -> None:
    for name, text in (("a.heic", "heic face"), ("b.jpg", "no face"), ("c.jpg", "x face")):
        (tmp_path / name).write_text(text)
    photos = [PersonPhoto(tmp_path / name, "a") for name in ("a.heic", "b.jpg", "c.jpg")]
    log, output = tmp_path / "log", tmp_path / "f.npz"
    assert embed_photos(StandInEngine(log), photos, output) == PhotoCounts(rows=1, reused=0, failed=2)
    log.unlink()

    done = embed_photos(StandInEngine(log, reads="heic"), photos, output)

    assert done == PhotoCounts(rows=2, reused=2, failed=1)
    assert looked_at(log) == ["a.heic"]
    assert np.array_equal(read_features(output).features[0], vector_of("heic face"))


@pytest.mark.parametrize(
    ("made", "faces", "says"),
    [
        ({"digest": "d2"}, "largest", "digest d1 there, d2 now"),
        ({}, "centre", "faces largest there, centre now"),
        ({"detector": "yunet"}, "largest", "detector mtcnn there, yunet now"),
    ],
)
def test_another_model_or_option_is_refused(
    folder: Path, tmp_path: Path, made: dict[str, str], faces: str, says: str
) -> None:
    embed_photos(StandInEngine(tmp_path / "log"), photos_of_people(folder), tmp_path / "f.npz")
    before = (tmp_path / "f.npz").read_bytes()
    with pytest.raises(FeatureError, match=says):
        embed_photos(StandInEngine(tmp_path / "log", **made), photos_of_people(folder), tmp_path / "f.npz", faces=faces)
    assert (tmp_path / "f.npz").read_bytes() == before


def test_features_that_a_run_kept_among_the_photos_do_not_stand_for_them(folder: Path, tmp_path: Path) -> None:
    def features(digest: str) -> FeatureSet:
        stand_in: Any = StandInEngine(tmp_path / "log", digest)
        return photo_features(folder, folder / "photos.npz", Embedding(lambda: stand_in, "largest", aligned=False))

    assert len(features("d1")) == 10
    (folder / "a" / "new.jpg").write_text("n face")
    assert len(features("d1")) == 11
    with pytest.raises(FeatureError, match="digest d1 there, d2 now"):
        features("d2")


def test_when_no_photo_has_a_face_nothing_is_written_but_the_reasons(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_text("no face")
    photos = [PersonPhoto(tmp_path / "1.jpg", "a"), PersonPhoto(tmp_path / "gone.jpg", "a")]
    with pytest.raises(FeatureError, match="there is no photo to embed"):
        embed_photos(StandInEngine(tmp_path / "log"), [], tmp_path / "none.npz")
    with pytest.raises(FeatureError, match="no photo gave a face"):
        embed_photos(StandInEngine(tmp_path / "log"), photos, tmp_path / "f.npz")
    assert not (tmp_path / "f.npz").exists()
    assert len((tmp_path / "f.npz.failed.csv").read_text().splitlines()) == 3


def test_a_damaged_record_is_not_trusted(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "f.npz.progress").write_bytes(b"not a database" * 100)
    with pytest.raises(FeatureError, match=r"f\.npz\.progress: .* delete it to begin again"):
        embed_photos(StandInEngine(tmp_path / "log"), photos_of_people(folder), tmp_path / "f.npz")


@pytest.mark.parametrize("record", ["no json", "[1]", "7"])
def test_a_record_whose_settings_are_damaged_is_not_trusted(folder: Path, tmp_path: Path, record: str) -> None:
    embed_photos(StandInEngine(tmp_path / "log"), photos_of_people(folder), tmp_path / "f.npz")
    with closing(sqlite3.connect(tmp_path / "f.npz.progress")) as store, store:
        store.execute("UPDATE settings SET record = ?", [record])
    with pytest.raises(FeatureError, match=r"f\.npz\.progress is damaged .* delete it to begin again"):
        embed_photos(StandInEngine(tmp_path / "log"), photos_of_people(folder), tmp_path / "f.npz")


@pytest.mark.parametrize("damage", [lambda vector: vector[:-4], lambda vector: vector[:2] + b"\0\x40" + vector[4:]])
def test_a_vector_that_is_not_as_it_was_kept_is_not_written(
    folder: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    stand_in, output = StandInEngine(tmp_path / "log"), tmp_path / "f.npz"
    embed_photos(stand_in, photos_of_people(folder), output)
    with closing(sqlite3.connect(tmp_path / "f.npz.progress")) as store, store:
        path, vector = store.execute("SELECT path, vector FROM photos WHERE vector IS NOT NULL").fetchone()
        store.execute("UPDATE photos SET vector = ? WHERE path = ?", [damage(vector), path])
    before = output.read_bytes()
    with pytest.raises(FeatureError, match=r"f\.npz\.progress is damaged .* delete it to begin again"):
        embed_photos(stand_in, photos_of_people(folder), output)
    assert output.read_bytes() == before


def test_all_faces_of_a_photo_is_no_policy_for_a_benchmark(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one face a photo"):
        embed_photos(StandInEngine(tmp_path / "log"), [], tmp_path / "f.npz", faces="all")


def test_real_photos_get_the_vectors_that_the_engine_gives(
    lfw_people: Path,
    engine: FaceEngine,  # noqa: F811
    tmp_path: Path,
) -> None:
    people = sorted(lfw_people.iterdir())[:2]
    photos = [PersonPhoto(path, person.name) for person in people for path in sorted(person.iterdir())]
    (tmp_path / "text.jpg").write_text("no photo")

    done = embed_photos(engine, [*photos, PersonPhoto(tmp_path / "text.jpg", "x")], tmp_path / "f.npz", faces="centre")

    expected = engine.embed(photos, faces="centre")
    features = read_features(tmp_path / "f.npz")
    assert done == PhotoCounts(len(photos), 0, 1)
    assert np.allclose(features.features, expected.vectors, atol=1e-5)
    assert tuple(features.paths.tolist()) == expected.paths
    assert tuple(features.labels.tolist()) == expected.labels
    assert "text.jpg,not_an_image," in (tmp_path / "f.npz.failed.csv").read_text()


def test_aligned_crops_are_cut_to_the_networks_input_without_looking_for_a_face(
    engine: FaceEngine,  # noqa: F811
    tmp_path: Path,
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (120, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "1.png")
    Image.fromarray(pixels[4:116, 4:116]).save(tmp_path / "2.png")
    Image.fromarray(pixels[:100]).save(tmp_path / "3.png")
    assert np.array_equal(engine.model.spec.reference_points, reference_points(112, 112))

    photos = [PersonPhoto(tmp_path / f"{number}.png", "a") for number in (1, 2, 3)]
    done = embed_photos(engine, photos, tmp_path / "f.npz", aligned=True)

    expected = engine.pipeline.embedder.embed(pixels[None, 4:116, 4:116])
    assert done == PhotoCounts(rows=2, reused=0, failed=1)
    assert np.allclose(read_features(tmp_path / "f.npz").features, expected, atol=1e-6)
    assert "not_an_aligned_crop," in (tmp_path / "f.npz.failed.csv").read_text()


@pytest.mark.slow
def test_a_crew_writes_the_very_file_that_the_engine_alone_writes_also_after_a_stop(
    lfw_people: Path,
    engine: FaceEngine,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CHUNK", 8)
    photos = list(photos_of_people(lfw_people))
    (tmp_path / "text.jpg").write_text("no photo")
    photos[3:3] = [PersonPhoto(tmp_path / "text.jpg", "x")]
    embed_photos(engine, photos, tmp_path / "alone.npz", faces="centre")
    embed_photos(engine, photos[:16], tmp_path / "crew.npz", faces="centre")  # stopped there

    with process_crew(engine.twin, 2) as crew:
        done = embed_photos(engine, photos, tmp_path / "crew.npz", faces="centre", crew=crew)

    assert done == PhotoCounts(36, 16, 1)
    assert (tmp_path / "crew.npz").read_bytes() == (tmp_path / "alone.npz").read_bytes()
    failures = [(tmp_path / f"{name}.npz.failed.csv").read_text() for name in ("alone", "crew")]
    assert failures[0] == failures[1]
