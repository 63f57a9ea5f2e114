"""`faceid calibrate`: the gallery's own thresholds, with their provenance."""

import json
import shutil
from pathlib import Path

from tests.faceid.cli.conftest import Run, first_photos


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


def test_a_grown_gallery_is_told_that_its_threshold_is_extrapolated(run: Run, lfw_people: Path, tmp_path: Path) -> None:
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
    (before,) = run(*ask).records
    first_photos(lfw_people, people, names[2:4])
    run(*enroll)
    grown = run(*ask)
    assert "extrapolated to the 4 enrolled" in grown.stderr
    assert grown.records[0]["threshold_source"]["measured"] is False
    assert grown.records[0]["threshold"] > before["threshold"]
