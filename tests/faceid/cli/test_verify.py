"""`faceid verify`: two photos, one answer."""

from pathlib import Path

from PIL import Image

from tests.faceid.cli.conftest import Run


def photos(lfw_people: Path) -> tuple[Path, Path, Path]:
    """Return two photos of one person and one of another."""
    first, second = sorted(lfw_people.iterdir())[:2]
    return first / f"{first.name}_0001.jpg", first / f"{first.name}_0002.jpg", second / f"{second.name}_0001.jpg"


def test_two_photos_of_one_person_are_the_same_and_two_peoples_are_not(run: Run, lfw_people: Path) -> None:
    ann, ann_again, bob = photos(lfw_people)
    settings = ("--model", "mobilefacenet", "--threshold", "0.4", "--json")
    (same,) = run("verify", ann, ann_again, *settings).records
    (different,) = run("verify", ann, bob, *settings).records
    assert same["same"] is True
    assert different["same"] is False
    assert same["similarity"] > 0.4 > different["similarity"]
    assert set(same) == {
        *("schema_version", "similarity", "same", "decision", "morph", "threshold", "threshold_source", "reason_codes"),
    }
    assert (same["decision"], same["morph"]) == (None, None)


def test_a_documents_photo_that_passes_and_might_be_a_morph_is_to_be_looked_at_again(
    run: Run, lfw_people: Path
) -> None:
    ann, ann_again, bob = photos(lfw_people)
    settings = ("--model", "sphereface-scratch", "--document", "--threshold", "0.2", "--json")
    settings = (*settings, "--wcmmpmr", "0.001")
    (record,) = run("verify", ann, ann_again, *settings).records
    assert record["decision"] in ("possible_morph", "same")
    assert record["same"] is (record["decision"] == "same")
    assert record["morph"]["basis"] == "far"
    assert record["morph"]["threshold"] > 0.7, "without documents the bound must serve"
    assert run("verify", ann, bob, *settings).records[0]["decision"] == "different"


def test_without_documents_the_usual_share_gives_way_to_what_the_bound_can_tell(run: Run, lfw_people: Path) -> None:
    ann, ann_again, _ = photos(lfw_people)
    settings = ("--model", "sphereface-scratch", "--document", "--threshold", "0.2", "--json")
    (record,) = run("verify", ann, ann_again, *settings).records
    assert record["morph"]["basis"] == "far"
    assert 0.01 < record["morph"]["target"] < 0.05
    refused = run("verify", ann, ann_again, *settings, "--wcmmpmr", "0.05")
    assert refused.code == 1
    assert "faceid calibrate --documents DIR" in refused.stderr
    assert run("verify", ann, ann_again, "--wcmmpmr", "0.05").code == 2


def test_a_photo_is_identical_to_itself(run: Run, lfw_people: Path) -> None:
    ann, _, _ = photos(lfw_people)
    (record,) = run("verify", ann, ann, "--model", "mobilefacenet", "--threshold", "0.4", "--json").records
    assert abs(record["similarity"] - 1) < 1e-6


def test_a_photo_without_a_face_is_exit_code_three(run: Run, lfw_people: Path, tmp_path: Path) -> None:
    Image.new("RGB", (100, 100)).save(tmp_path / "blank.png")
    outcome = run(
        "verify",
        photos(lfw_people)[0],
        tmp_path / "blank.png",
        "--model",
        "mobilefacenet",
        "--threshold",
        "0.4",
        "--json",
    )
    assert outcome.code == 3
    assert outcome.records[0]["same"] is None
    assert outcome.records[0]["reason_codes"] == ["no_face"]
    assert "blank.png" in outcome.stderr


def test_without_a_table_it_says_what_to_type(run: Run, lfw_people: Path) -> None:
    ann, again, _ = photos(lfw_people)
    outcome = run("verify", ann, again, "--model", "mobilefacenet", "--far", "1e-4")
    assert outcome.code == 1
    assert "faceid models calibrate mobilefacenet --photos DIR" in outcome.stderr


def test_an_unknown_model_is_named_with_those_there_are(run: Run, lfw_people: Path) -> None:
    ann, again, _ = photos(lfw_people)
    outcome = run("verify", ann, again, "--model", "nonesuch")
    assert outcome.code == 1
    assert "nonesuch" in outcome.stderr
    assert "mobilefacenet" in outcome.stderr
