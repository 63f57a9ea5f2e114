"""Of a crowd the surest faces are taken, and the answer says so."""

from pathlib import Path

import numpy as np
import pytest

from faceid import FaceEngine
from faceid.vision.images import read_photo
from faceid.vision.picture import Picture


def test_the_surest_faces_of_a_crowd_are_taken(
    shipped_engine: FaceEngine, drawn_people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [read_photo(drawn_people / f"person-000{number}" / "1.jpg").pixels for number in (1, 2, 3)]
    read = shipped_engine.pipeline.read([Picture(np.concatenate(people, axis=0), "crowd")])
    (all_of_them,) = shipped_engine.pipeline.find_faces(read, "all")
    scores = [face.detection_score for face in all_of_them.faces]
    assert (len(scores), all_of_them.remarks) == (3, ())

    monkeypatch.setattr(shipped_engine.pipeline, "most_faces", 2)
    (crowd,) = shipped_engine.pipeline.find_faces(read, "all")

    assert sorted(face.detection_score for face in crowd.faces) == sorted(scores)[1:]
    assert crowd.remarks == ("crowd",)
