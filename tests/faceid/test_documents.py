"""Documents' photos against live ones, with real faces: what is measured, and who is warned of."""

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from faceid.documents import calibrate_documents, document_threshold
from faceid.engine import FaceEngine, Features
from faceid.vision.photo_list import PersonPhoto, photos_of_people
from indexer.decision.decision import user_threshold
from indexer.decision.morph import MorphScores
from indexer.errors import CalibrationError
from indexer.gallery import Gallery
from indexer.records import NewTemplate


def test_a_live_photo_does_not_take_the_place_of_a_document_without_a_face() -> None:
    def embed(people: Iterable[PersonPhoto], faces: str, each_once: bool) -> Features:
        usable = [photo for photo in people if "broken" not in photo.picture.source]
        vectors = np.eye(9, dtype=np.float32)[: len(usable)]
        return Features(vectors, tuple(one.name for one in usable), tuple(one.picture.source for one in usable), ())

    kept: list[MorphScores] = []
    engine, gallery = SimpleNamespace(embed=embed), SimpleNamespace(keep_morph_scores=kept.append)
    names = (
        "Ann/a.jpg",
        "Ann/document.jpg",
        "Bob/a.jpg",
        "Bob/b.jpg",
        "Cy/a.jpg",
        "Cy/b.jpg",
        "Cy/document-broken.jpg",
    )
    people = [PersonPhoto(name, name.partition("/")[0]) for name in names]
    scores, _ = calibrate_documents(engine, gallery, people, faces="largest")  # type: ignore[arg-type]
    assert (scores.people, len(scores.genuine), kept) == (2, 2, [scores])


@pytest.mark.slow
def test_documents_are_measured_and_a_photo_between_two_people_is_remarked_on(tmp_path: Path, lfw_people: Path) -> None:
    engine = FaceEngine("sphereface-scratch")
    with Gallery.create(tmp_path / "g", engine.binding) as gallery:
        scores, _ = calibrate_documents(engine, gallery, photos_of_people(lfw_people), faces="largest")
        assert scores.people == 12
        assert len(scores.genuine) > scores.people, "everybody's other photos are live ones"
        found = document_threshold(engine.model, gallery, 0.3)
        assert (found.basis, found.people) == ("documents", 12)
        with pytest.raises(CalibrationError, match="it needs 60"):
            document_threshold(engine.model, gallery, 0.05)


@pytest.mark.slow
def test_a_photo_that_passes_for_two_people_at_similar_scores_is_remarked_on_and_enrolled(
    tmp_path: Path, lfw_people: Path
) -> None:
    engine = FaceEngine("sphereface-scratch")
    photo = next(iter(photos_of_people(lfw_people)))
    vector = engine.embed([photo], faces="largest").vectors[0].astype(np.float64)
    aside = np.random.default_rng(0).standard_normal(len(vector))
    aside -= (aside @ vector) * vector
    aside /= np.linalg.norm(aside)

    def enrolled(name: str, scores: tuple[float, float]) -> tuple[str, ...]:
        with Gallery.create(tmp_path / name, engine.binding) as gallery:
            for sign, score in zip((1, -1), scores, strict=True):
                of_one = (score * vector + sign * np.sqrt(1 - score**2) * aside).astype(np.float32)
                digest = bytes([sign % 256]) * 32
                gallery.add([NewTemplate(f"p{sign}", None, of_one, "p", digest, None, None, None, "float32")])
            (result,) = engine.enroll(
                gallery, [photo], faces="largest", limits=None, document_check=user_threshold(0.4)
            )
            assert result.status == "enrolled"
            return result.reason_codes

    assert "near_two_people" in enrolled("alike", (0.7, 0.65))
    assert "near_two_people" not in enrolled("one much nearer", (0.9, 0.5))
    assert "near_two_people" not in enrolled("one is far", (0.45, 0.38))
