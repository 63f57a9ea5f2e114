"""`faceid cluster`: what is left out is told."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from faceid import FaceEngine, Gallery, clustering, photos_of_people
from tests.faceid.cli.conftest import Run


def test_names_of_nobody_and_photos_that_are_gone_are_told(run: Run, lfw_people: Path, tmp_path: Path) -> None:
    """A name that is not used, or a photo that no folder has, would else be missed when the manifest is enrolled."""
    person = min(lfw_people.iterdir())
    (tmp_path / "archive").mkdir()
    photos = [shutil.copy(photo, tmp_path / "archive") for photo in sorted(person.glob("*.jpg"))[:2]]
    sort = ("cluster", "-o", tmp_path / "sorted", "--model", "mobilefacenet", "--no-quality", "--threshold", "-1")
    assert run(*sort, "archive").code == 0
    (tmp_path / "names.csv").write_text("person, name\nperson-00000, Ann\nperson-0001, Bob\n")
    Path(photos[1]).unlink()
    outcome = run(*sort, "--names", tmp_path / "names.csv")
    words = " ".join(outcome.stderr.split())
    assert "nobody is person-0001; Bob is left out" in words
    assert f"1 photo is gone and left out, such as {photos[1]};" in words
    assert (tmp_path / "sorted/manifest.csv").read_text().count("Ann") == 1


def test_known_people_are_told_by_the_gallery_as_it_is_once_the_photos_were_looked_at(
    run: Run, shipped_engine: FaceEngine, drawn_people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours lie between: a threshold of before is too low for the many who came since."""
    people = [*photos_of_people(drawn_people)]
    with Gallery.open(tmp_path / "g", create=shipped_engine.binding) as gallery:
        shipped_engine.enroll(gallery, people[:1])
    thresholds = []

    def add_photos(*arguments: Any) -> Any:
        with Gallery.open(tmp_path / "g", writable=True) as gallery:
            shipped_engine.enroll(gallery, people)
        return add(*arguments)

    def sort_faces(faces: Any, names: Any, gallery: Any, threshold: Any) -> Any:
        thresholds.append(threshold)
        return sort(faces, names, gallery, threshold)

    add, sort = clustering.add_photos, clustering.sort_faces
    monkeypatch.setattr(clustering, "add_photos", add_photos)
    monkeypatch.setattr(clustering, "sort_faces", sort_faces)
    assert run("cluster", people[0].path, "-o", tmp_path / "sorted", "--gallery", tmp_path / "g").code == 0
    assert [one.gallery_size for one in thresholds] == [6]
