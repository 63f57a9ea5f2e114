"""A face to which the network gives no vector costs its own photo, and no other."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from faceid import FaceEngine, Gallery, photos_of_people
from faceid.models.embedding import normalise
from faceid.vision.detection import Faces
from faceid.vision.images import read_photo
from faceid.vision.picture import Picture


@pytest.fixture
def poisoned(shipped_engine: FaceEngine, drawn_people: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the network give NaN for the face of one photo, as an imported one may; return the photo."""
    photo = drawn_people / "person-0001" / "2.jpg"
    pipeline = shipped_engine.pipeline
    (found,) = pipeline.find_faces(pipeline.read([Picture(photo)]), "largest", crops=True)
    assert found.faces[0].crop is not None
    bad = normalise(found.faces[0].crop[None], pipeline.embedder.spec)[0]
    run = pipeline.embedder._run

    def run_badly(crops: NDArray[np.float32]) -> NDArray[np.float32]:
        features = run(crops).copy()
        features[[np.array_equal(crop, bad) for crop in crops]] = np.nan
        return features

    monkeypatch.setattr(pipeline.embedder, "_run", run_badly)
    return photo


def test_the_photo_fails_and_the_run_goes_on(
    shipped_engine: FaceEngine, drawn_people: Path, poisoned: Path, tmp_path: Path
) -> None:
    with Gallery.open(tmp_path / "g", create=shipped_engine.binding) as gallery:
        records = list(shipped_engine.enroll(gallery, photos_of_people(drawn_people)))
        kept = {one.source for one in gallery.templates()}

    bad = [one for one in records if one.status != "enrolled"]
    assert [(one.source, one.status, one.reason_codes) for one in bad] == [(str(poisoned), "failed", ("no_embedding",))]
    assert len(kept) == len(records) - 1


def test_the_other_faces_of_a_frame_are_embedded(shipped_engine: FaceEngine, poisoned: Path) -> None:
    image = read_photo(poisoned).pixels
    (faces,) = shipped_engine.pipeline.detect([image])
    moved = Faces(*(np.repeat(values, 2, axis=0) for values in (faces.boxes, faces.landmarks, faces.scores)))
    moved.landmarks[1] += 2

    vectors = shipped_engine.pipeline.embed_faces(image, moved, [0, 1])

    assert list(vectors) == [1]
    assert np.linalg.norm(vectors[1]) == pytest.approx(1)
    assert shipped_engine.pipeline.embed_faces(image, moved, []) == {}
