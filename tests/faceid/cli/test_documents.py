"""The commands about documents' photos: `calibrate --documents`, `verify --document`, `enroll --document-check`."""

from pathlib import Path

import pytest
from PIL import Image

from tests.faceid.cli.conftest import Run

MODEL = ("--model", "sphereface-scratch")


@pytest.mark.slow
def test_documents_are_measured_for_the_gallery_and_verify_uses_them(
    run: Run, lfw_people: Path, tmp_path: Path
) -> None:
    at = ("--gallery", tmp_path / "g")
    first, *_ = sorted(lfw_people.iterdir())
    assert run("gallery", "create", *at, *MODEL).code == 0
    outcome = run("calibrate", "--documents", lfw_people, *at, "--json")
    assert outcome.code == 0
    assert [(one["basis"], one["people"]) for one in outcome.records] == [("documents", 12)]
    assert "Morphs of documents of 12 people measured and kept." in outcome.stderr
    assert "% of worst-case morphs pass, and" in outcome.stderr
    pair = (
        first / f"{first.name}_0001.jpg",
        first / f"{first.name}_0002.jpg",
        "--document",
        "--threshold",
        "0.2",
        *MODEL,
    )
    (record,) = run("verify", *pair, *at, "--json").records
    assert (record["morph"]["basis"], record["morph"]["people"], record["morph"]["target"]) == ("documents", 12, 0.25)
    assert record["decision"] in ("same", "possible_morph", "different")
    refused = run("verify", *pair, *at, "--wcmmpmr", "0.05")
    assert refused.code == 1
    assert "12 people's documents cannot support a share of 0.05 morphs: it needs 60" in refused.stderr
    (tmp_path / "alone" / "Ann").mkdir(parents=True)
    (tmp_path / "alone" / "Ann" / "document.jpg").write_bytes(pair[0].read_bytes())
    lonely = run("calibrate", "--documents", tmp_path / "alone", *at)
    assert (lonely.code, "of at least two people" in lonely.stderr) == (1, True)


def test_documents_are_measured_alone(run: Run, gallery: Path, tmp_path: Path) -> None:
    for others in (("--strangers", tmp_path), ("--forget-strangers",)):
        outcome = run("calibrate", "--documents", tmp_path, *others, "--gallery", gallery)
        assert (outcome.code, "measures morphs alone" in outcome.stderr) == (2, True)
    assert run("calibrate", "--documents", tmp_path / "nowhere", "--gallery", gallery).code == 2


@pytest.mark.slow
def test_a_photo_that_is_near_two_people_is_enrolled_with_a_remark(run: Run, lfw_people: Path, tmp_path: Path) -> None:
    first, second, *_ = sorted(lfw_people.iterdir())
    with Image.open(first / f"{first.name}_0001.jpg") as picture:
        for number, name in enumerate(("Ann", "Bob", "Cleo")):
            folder = tmp_path / ("new" if name == "Cleo" else "people") / name
            folder.mkdir(parents=True)
            picture.save(folder / "photo.jpg", quality=90 + number)
    (tmp_path / "new" / "Dan").mkdir()
    (tmp_path / "new" / "Dan" / "photo.jpg").write_bytes((second / f"{second.name}_0001.jpg").read_bytes())
    settings = ("--gallery", tmp_path / "g", *MODEL, "--faces", "centre", "--json")
    plain = run("enroll", tmp_path / "people", *settings)
    assert [one["reason_codes"] for one in plain.records] == [[], []], "nobody asked"
    checked = {one["name"]: one for one in run("enroll", tmp_path / "new", "--document-check", *settings).records}
    assert {name: one["status"] for name, one in checked.items()} == {"Cleo": "enrolled", "Dan": "enrolled"}
    assert checked["Cleo"]["reason_codes"] == ["near_two_people"]
    assert checked["Dan"]["reason_codes"] == []
