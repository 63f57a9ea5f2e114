"""`faceid calibrate`: the gallery's own thresholds, with their provenance."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.demo.people import write_people
from tests.faceid.cli.conftest import Run, first_photos


@pytest.mark.slow
def test_strangers_set_the_threshold_and_identify_uses_it(run: Run, lfw_people: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in lfw_people.iterdir())
    first_photos(lfw_people, tmp_path / "people", names[:2])
    for name in names[2:]:
        shutil.copytree(lfw_people / name, tmp_path / "strangers" / name)
    at = ("--gallery", tmp_path / "g")
    run("enroll", tmp_path / "people", *at, "--model", "mobilefacenet", "--faces", "centre")

    rates = ("--fpir", "0.2", "--fpir", "0.01")
    report = ("--report", tmp_path / "report")
    outcome = run(
        "calibrate", *at, "--strangers", tmp_path / "strangers", *rates, "--faces", "centre", "--json", *report
    )
    assert outcome.code == 0
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"calibration.png", "calibration.json"}
    check = json.loads((tmp_path / "report" / "calibration.json").read_text())
    assert check["achieved"][0]["searches"] == 15, "half of the strangers check what the other half set"
    assert "too few for a probability" in check["remark"], "nobody has two templates here"
    measured, refused = outcome.records[:2]
    assert (measured["basis"], measured["kind"], measured["trials"], measured["gallery_size"]) == (
        "measured",
        "gallery",
        30,
        2,
    )
    assert measured["ci95"][0] < 0.2 < measured["ci95"][1]
    assert refused["basis"] == "refused"
    assert "it needs 300" in refused["reason"]

    photo = lfw_people / names[0] / f"{names[0]}_0002.jpg"
    (answer,) = run("identify", photo, *at, "--fpir", "0.2", "--faces", "centre", "--json").records
    source = answer["threshold_source"]
    assert (source["kind"], source["target"], source["value"], source["measured"]) == ("gallery", "fpir", 0.2, True)
    assert abs(answer["threshold"] - measured["threshold"]) < 1e-5
    strangers = run("identify", tmp_path / "strangers", *at, "--fpir", "0.2", "--faces", "centre", "--json").records
    alarms = sum(record["decision"] == "identified" for record in strangers)
    assert alarms == 6, "a fifth of the 30 searches it was measured on"


def test_a_small_gallery_cannot_calibrate_itself(run: Run, gallery: Path) -> None:
    outcome = run("calibrate", "--gallery", gallery)
    assert outcome.code == 1
    assert "--strangers" in outcome.stderr


@pytest.mark.slow
def test_too_few_strangers_are_told_what_would_be_enough(run: Run, gallery: Path, tmp_path: Path) -> None:
    (strangers,) = write_people(tmp_path / "strangers", 1, 1, seed=3)
    outcome = run("calibrate", "--gallery", gallery, "--strangers", strangers)
    assert "1 face of strangers: too few for any of these rates; 30 would measure FPIR 10 %." in outcome.stderr
    shutil.copy(strangers, tmp_path / "copy.jpg")
    twice = run("calibrate", "--gallery", gallery, "--strangers", strangers, "--strangers", tmp_path / "copy.jpg")
    assert (twice.code, "1 face of strangers" in twice.stderr) == (0, True)
    assert "copy.jpg: the very photo that another file holds" in twice.stderr
    assert "comes before these" not in twice.stderr
    assert run("calibrate", "--gallery", gallery, "--strangers", strangers, "--keep-strangers").code == 0
    other = run("calibrate", "--gallery", gallery, "--strangers", tmp_path / "copy.jpg")
    assert "What the gallery keeps of strangers (1 face) comes before these" in " ".join(other.stderr.split())
    (tmp_path / "no.jpg").write_bytes(b"no photo")
    some = run("calibrate", "--gallery", gallery, "--strangers", strangers, "--strangers", tmp_path / "no.jpg")
    assert (some.code, "no.jpg: not a photo" in some.stderr) == (3, True)
    outcome = run("calibrate", "--gallery", gallery, "--strangers", tmp_path / "no.jpg")
    assert (outcome.code, "no face of a stranger was found" in outcome.stderr) == (1, True)
    assert "no.jpg: not a photo" in outcome.stderr


@pytest.mark.slow
def test_what_was_measured_before_a_gallery_grew_is_not_believed(run: Run, lfw_people: Path, tmp_path: Path) -> None:
    """The model here has no cohort that could carry the threshold along."""
    names = sorted(path.name for path in lfw_people.iterdir())
    people = first_photos(lfw_people, tmp_path / "people", names[:2])
    for name in names[6:]:
        shutil.copytree(lfw_people / name, tmp_path / "strangers" / name)
    at = ("--gallery", tmp_path / "g")
    enroll = ("enroll", people, *at, "--model", "mobilefacenet", "--faces", "centre")
    run(*enroll)
    run("calibrate", *at, "--strangers", tmp_path / "strangers", "--faces", "centre")
    photo = lfw_people / names[0] / f"{names[0]}_0002.jpg"
    ask = ("identify", photo, *at, "--fpir", "0.5", "--faces", "centre", "--json")
    assert run(*ask).records[0]["threshold_source"]["way"] == "strangers"
    first_photos(lfw_people, people, names[2:4])
    run(*enroll)
    grown = run(*ask)
    assert grown.code == 1
    assert "faceid models calibrate mobilefacenet --photos DIR" in grown.stderr
    kept = ("--strangers", tmp_path / "strangers", "--keep-strangers", "--faces", "centre")
    assert run("calibrate", *at, *kept).code == 0
    first_photos(lfw_people, people, names[4:6])
    run(*enroll)
    assert run(*ask).records[0]["threshold_source"]["n"] == 6
    assert "destroyed" in run("calibrate", *at, "--forget-strangers").stderr
    assert run(*ask).code == 1


def test_the_fusion_of_a_gallery_can_be_set(run: Run, gallery: Path) -> None:
    assert run("gallery", "set", "fusion", "max", "--gallery", gallery).code == 0
    (stats,) = run("gallery", "stats", "--gallery", gallery, "--json").records
    assert stats["fusion"] == "max"
    assert run("gallery", "set", "fusion", "median", "--gallery", gallery).code == 2


@pytest.mark.slow
def test_a_gallery_can_decide_on_context_with_thresholds_of_its_own(run: Run, lfw_people: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in lfw_people.iterdir())
    people = first_photos(lfw_people, tmp_path / "people", names[:4])
    for name in names[6:]:
        shutil.copytree(lfw_people / name, tmp_path / "strangers" / name)
    at = ("--gallery", tmp_path / "g")
    run("enroll", people, *at, "--model", "mobilefacenet", "--faces", "centre")
    measure = ("calibrate", *at, "--strangers", tmp_path / "strangers", "--faces", "centre")
    photo = lfw_people / names[0] / f"{names[0]}_0002.jpg"
    ask = ("identify", photo, *at, "--fpir", "0.5", "--faces", "centre")
    run(*measure)
    (plain,) = run(*ask, "--json").records
    assert (plain["threshold_source"]["on"], plain["context"], plain["adjusted"]) == ("similarity", None, None)

    assert run("gallery", "set", "decision", "context", *at).code == 0
    assert run("gallery", "stats", *at, "--json").records[0]["decided_on"] == "context"
    assert run(*ask).code == 1, "what was measured for similarities does not count"
    assert run(*measure).code == 0
    (record,) = run(*ask, "--json").records
    others = [one["similarity"] for one in record["candidates"][1:]]
    assert record["threshold_source"]["on"] == "context"
    assert record["context"] == pytest.approx(sum(others) / 3, abs=1e-6)
    assert record["adjusted"] == pytest.approx(record["similarity"] - record["context"] / 2, abs=1e-6)
    assert (record["decision"] == "identified") == (record["adjusted"] >= record["threshold"])
    assert record["exact_decision"]
    assert "less half of the next ten people's mean" in run(*ask).stderr
    assert "in context" in run(*ask).stdout
    (typed,) = run("identify", photo, *at, "--threshold", "0.3", "--faces", "centre", "--json").records
    assert (typed["threshold_source"]["on"], typed["adjusted"]) == ("similarity", None), "a typed one is a similarity"

    assert run("gallery", "set", "decision", "similarity", *at).code == 0
    (again,) = run(*ask, "--json").records
    assert again["threshold"] == plain["threshold"]
    assert run("gallery", "set", "decision", "mood", *at).code == 2
