"""`faceid cluster`: what is left out is told."""

import shutil
from pathlib import Path

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
