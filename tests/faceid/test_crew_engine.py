"""An engine's photos shared out among workers: what comes is what the engine alone gives, in order."""

import io
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceid.engine import FaceEngine, sent
from faceid.vision.photo_list import PersonPhoto, photos_of_people
from faceid.vision.picture import Picture
from faceid.workers.crew import Crew
from faceid.workers.processes import process_crew
from indexer.errors import ModelMismatch
from indexer.gallery import Gallery


@pytest.fixture(scope="module")
def folder(lfw_people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve people, with a photo that is none, a name that is none, and one photo under two names."""
    folder = tmp_path_factory.mktemp("mixed") / "people"
    shutil.copytree(lfw_people, folder)
    people = sorted(folder.iterdir())
    (people[0] / "0.jpg").write_text("no photo")
    (people[1] / "empty.jpg").write_bytes(b"")
    shutil.copy(next(people[2].iterdir()), people[-1] / "another.jpg")
    shutil.copy(next(people[3].iterdir()), people[3] / "again.jpg")
    return folder


@pytest.fixture(scope="module")
def crew(engine: FaceEngine) -> Iterator[Crew]:
    with process_crew(engine.twin, 2) as crew:
        yield crew


def enrolled(engine: FaceEngine, path: Path, folder: Path, crew: Crew | None, **wishes):
    """Enrol the folder; what was said of each photo, and every template."""
    with Gallery.open(path, create=engine.binding) as gallery:
        results = engine.enroll(gallery, photos_of_people(folder), faces="centre", crew=crew, **wishes)
        return results, gallery.embeddings(), list(gallery.templates())


def same(one, other) -> bool:
    names = ("template_ids", "identity_ids", "vectors")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


@pytest.mark.slow
def test_a_crew_enrols_the_same_templates_under_the_same_ids(
    engine: FaceEngine, crew: Crew, folder: Path, tmp_path: Path
) -> None:
    alone = enrolled(engine, tmp_path / "alone", folder, None)
    shared_out = enrolled(engine, tmp_path / "crew", folder, crew)
    assert shared_out[0] == alone[0]
    assert same(shared_out[1], alone[1])
    assert [(one.source, one.id) for one in shared_out[2]] == [(one.source, one.id) for one in alone[2]]

    again = enrolled(engine, tmp_path / "crew", folder, crew)
    assert again[0] == enrolled(engine, tmp_path / "alone", folder, None)[0]
    assert "already_enrolled" in {result.status for result in again[0]}


@pytest.mark.slow
def test_a_crew_embeds_the_same_rows_and_tells_the_same_failures(
    engine: FaceEngine, crew: Crew, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)  # workers were started elsewhere
    photos = list(photos_of_people("."))
    alone, shared_out = engine.embed(photos, faces="all"), engine.embed(photos, faces="all", crew=crew)
    assert np.array_equal(shared_out.vectors, alone.vectors)
    assert (shared_out.labels, shared_out.paths) == (alone.labels, alone.paths)
    told = [(one.source, one.reason_code, str(one.error), one.picture.path) for one in shared_out.failures]
    assert told == [(one.source, one.reason_code, str(one.error), one.picture.path) for one in alone.failures]
    assert len(told) == 2


@pytest.mark.slow
def test_pictures_that_are_no_files_are_shared_out_too(engine: FaceEngine, crew: Crew, folder: Path) -> None:
    photo = min(folder.glob("*/*_0001.jpg"))
    photos = [photo.read_bytes(), photo]
    assert np.array_equal(engine.embed(photos).vectors, engine.embed(photos, crew=crew).vectors)


@pytest.mark.slow
def test_crops_rejections_and_restoring_go_through_a_crew(
    engine: FaceEngine, crew: Crew, folder: Path, tmp_path: Path
) -> None:
    outcomes = []
    for name, its in (("alone", None), ("crew", crew)):
        enrolled(engine, tmp_path / name, folder, its, keep_crops=True)
        with Gallery.open(tmp_path / name, writable=True) as gallery:
            gallery.remove(gallery.identities()[0].id)
            crops = [gallery.crop(one.id) for one in gallery.templates()]
        again = enrolled(engine, tmp_path / name, folder, its, restore=True, again=True)
        outcomes.append((crops, again[0]))
    assert outcomes[0] == outcomes[1]
    assert all(outcomes[0][0])


def test_a_worker_with_another_model_is_refused(engine: FaceEngine, shipped_engine: FaceEngine) -> None:
    made_with = shipped_engine.twin.args[0]
    another = type(engine.twin)(engine.twin.func, made_with, *engine.twin.args[1:])
    with process_crew(another, 1) as crew, pytest.raises(ModelMismatch, match="bring the same files there"):
        engine.embed([PersonPhoto("gone.jpg", "a")], crew=crew)


def test_a_path_to_a_model_leads_there_from_any_folder(
    engine: FaceEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(engine.model.path.parent)
    relative = FaceEngine(engine.model.path.name)
    monkeypatch.chdir(tmp_path)
    assert relative.twin().model.digest == engine.model.digest


def test_a_pillow_image_goes_to_a_worker_as_what_it_shows_and_a_damaged_one_as_such() -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((40, 30, 4), (90, 120, 150, 0), np.uint8)).save(file, "TIFF")  # its alpha means nothing
    for end in (None, 2000):
        image = Picture(Image.open(io.BytesIO(file.getvalue()[:end])), "from a camera")
        arrived = pickle.loads(pickle.dumps(sent(image)))
        assert arrived.source == "from a camera"
        if end is None:
            assert np.array_equal(arrived.pixels(), np.full((40, 30, 3), (90, 120, 150)))
        else:
            assert arrived.reason_code == "unreadable"
