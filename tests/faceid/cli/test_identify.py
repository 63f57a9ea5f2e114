"""`faceid identify`: a name above the threshold, nobody below it, one answer per face."""

import json
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from faceid.cli import cli
from faceid.cli.photos import pictures
from faceid.vision.mtcnn import MtcnnDetector
from indexer.decision.decision import Calibration, Circumstances
from indexer.decision.match_probability import MatchProbability, context_of, match_probability
from indexer.gallery import Gallery
from tests.faceid.cli.conftest import Run

RECORD = {
    "schema_version", "source", "face_index", "box", "landmarks", "detection_score", "quality", "decision", "identity",
    "similarity", "threshold", "threshold_source", "candidates", "reason_codes", "model", "gallery_revision",
    "exact_decision", "exact_candidates", "probability", "prior", "photos", "context", "adjusted",
}  # fmt: skip


def second_photo(lfw_people: Path, index: int = 0) -> Path:
    person = sorted(lfw_people.iterdir())[index]
    return person / f"{person.name}_0002.jpg"


def test_another_photo_of_an_enrolled_person_gets_the_name(run: Run, gallery: Path, lfw_people: Path) -> None:
    photo = second_photo(lfw_people)
    outcome = run("identify", photo, "--gallery", gallery, "--threshold", "0.3", "--faces", "centre", "--json")
    assert outcome.code == 0
    (record,) = outcome.records
    assert set(record) == RECORD
    assert record["decision"] == "identified"
    assert record["identity"]["name"] == photo.parent.name
    assert record["identity"]["id"] == record["candidates"][0]["id"]
    assert record["similarity"] == record["candidates"][0]["similarity"] >= 0.3
    assert [candidate["rank"] for candidate in record["candidates"]] == [1, 2, 3, 4, 5]
    assert record["threshold_source"]["kind"] == "user"


def test_a_calibrated_gallery_gives_a_probability_beside_the_similarity(
    run: Run, gallery: Path, lfw_people: Path
) -> None:
    arguments = ("identify", second_photo(lfw_people), "--gallery", gallery, "--threshold", "0.3", "--faces", "centre")
    (record,) = run(*arguments, "--json").records
    assert (record["probability"], record["prior"]) == (None, None)
    law = MatchProbability(-4.0, 20.0, -10.0, 100, 100)
    with Gallery.open(gallery, writable=True) as opened:
        sample = np.array([0.3], np.float32)
        digest = opened.model.digest
        then = Circumstances(opened.contents().digest, 12, MtcnnDetector().digest, "largest")
        opened.save_calibrations(
            [Calibration("fpir", sample, 100, 12, 1.0, opened.fusion, digest, "float32", "x", "2026", law, then)]
        )
    (with_law,) = run(*arguments, "--top-k", "2", "--json").records
    (wide,) = run(*arguments, "--top-k", "12", "--json").records
    similarities = [candidate["similarity"] for candidate in wide["candidates"]]
    expected = match_probability(law, similarities[0], context_of(similarities))
    assert with_law["probability"] == pytest.approx(expected, abs=1e-4), "whatever number of candidates is shown"
    assert with_law["prior"] == 0.5, "the base rate is said beside it"
    assert len(with_law["candidates"]) == 2


def test_several_photos_of_one_unknown_are_one_decision(run: Run, gallery: Path, lfw_people: Path) -> None:
    photos = sorted(second_photo(lfw_people).parent.glob("*.jpg"))
    at = ("--gallery", gallery, "--faces", "centre", "--threshold", "0.3")
    outcome = run("identify", *photos, *at, "--together", "--json")
    (record,) = outcome.records
    assert (record["decision"], record["photos"]) == ("identified", len(photos))
    assert record["identity"]["name"] == photos[0].parent.name
    (alone,) = run("identify", photos[1], *at, "--json").records
    assert (alone["photos"], record["similarity"] > alone["similarity"]) == (1, True)
    assert run("identify", *photos, *at, "--together", "--fast").code == 2


def test_below_the_threshold_the_best_candidate_is_not_an_identification(
    run: Run, gallery: Path, lfw_people: Path
) -> None:
    arguments = (
        "identify",
        second_photo(lfw_people),
        "--gallery",
        gallery,
        "--threshold",
        "0.999",
        "--faces",
        "centre",
    )
    (record,) = run(*arguments, "--json").records
    assert (record["decision"], record["identity"]) == ("unknown", None)
    assert record["candidates"]
    table = run(*arguments)
    assert table.code == 0
    assert "below the threshold" in table.stdout
    assert run(*arguments, "--fail-on-unknown").code == 1


def test_a_fast_search_says_what_is_proved_and_a_missing_device_is_no_silent_change(
    run: Run, gallery: Path, lfw_people: Path
) -> None:
    arguments = ("identify", second_photo(lfw_people), "--gallery", gallery, "--threshold", "0.3", "--faces", "centre")
    (proved,), (fast,) = run(*arguments, "--json").records, run(*arguments, "--fast", "--json").records
    assert proved["exact_decision"] is proved["exact_candidates"] is True
    assert fast == proved, "so small a gallery is searched whole either way"
    if not torch.cuda.is_available():
        refused = run(*arguments, "--index", "gpu")
        assert refused.code == 1
        assert "no CUDA device" in refused.stderr


def test_every_face_of_a_group_photo_is_answered(run: Run, gallery: Path, lfw_people: Path, tmp_path: Path) -> None:
    group = np.hstack([np.asarray(Image.open(second_photo(lfw_people, index))) for index in (0, 1)])
    Image.fromarray(group).save(tmp_path / "group.png")
    arguments = ("identify", tmp_path / "group.png", "--gallery", gallery, "--threshold", "0.3")
    outcome = run(*arguments, "--annotate", tmp_path / "drawn", "--json")
    names = {record["identity"]["name"] for record in outcome.records if record["identity"]}
    assert names >= {second_photo(lfw_people, index).parent.name for index in (0, 1)}
    assert [record["face_index"] for record in outcome.records] == list(range(len(outcome.records)))
    (drawn,) = (tmp_path / "drawn").iterdir()
    assert drawn.name == "0001-group.jpg"
    difference = np.abs(np.asarray(Image.open(drawn)).astype(int) - group).max(axis=2)
    x, y, _, h = outcome.records[0]["box"]
    assert difference[round(y + h / 2), round(x)] > 40, "the box is drawn where the face is"


def test_photos_without_a_face_and_broken_ones_get_an_answer_too(run: Run, gallery: Path, tmp_path: Path) -> None:
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "blank.png")
    (tmp_path / "broken.jpg").write_text("no photo")
    photos = [tmp_path / name for name in ("blank.png", "broken.jpg", "missing.jpg")]
    outcome = run("identify", *photos, "--gallery", gallery, "--threshold", "0.3", "--json")
    assert outcome.code == 3
    assert [record["decision"] for record in outcome.records] == ["no_face", "error", "error"]
    assert [record["reason_codes"] for record in outcome.records] == [["no_face"], ["not_an_image"], ["unreadable"]]
    assert "broken.jpg" in outcome.stderr


def test_without_any_calibration_the_answer_is_what_to_type(run: Run, gallery: Path, lfw_people: Path) -> None:
    outcome = run("identify", second_photo(lfw_people), "--gallery", gallery)
    assert outcome.code == 1
    assert "faceid calibrate --strangers" in outcome.stderr


def test_poor_faces_are_only_judged_when_not_asked_otherwise(
    run: Run, gallery: Path, lfw_people: Path, tmp_path: Path
) -> None:
    Image.open(second_photo(lfw_people)).resize((52, 52), Image.Resampling.BOX).save(tmp_path / "small.png")
    arguments = ("identify", tmp_path / "small.png", "--gallery", gallery, "--threshold", "0.3", "--json")
    assert run(*arguments).records[0]["decision"] in {"identified", "unknown"}
    (rejected,) = run(*arguments, "--quality").records
    assert rejected["decision"] == "rejected_quality"
    assert "face_too_small" in rejected["reason_codes"]


def test_csv_joins_the_candidates(run: Run, gallery: Path, lfw_people: Path) -> None:
    outcome = run(
        "identify", second_photo(lfw_people), "--gallery", gallery, "--threshold", "0.3", "--top-k", "2", "--csv"
    )
    header, row = outcome.stdout.splitlines()[:2]
    assert header.split(",")[:3] == ["schema_version", "source", "face_index"]
    assert row.count(";") >= 1
    assert f"{second_photo(lfw_people).parent.name}:0." in row


def test_a_gallery_of_another_model_is_exit_code_four(
    run: Run, gallery: Path, lfw_people: Path, models_dir: Path, tmp_path: Path
) -> None:
    from faceid.models.model_file import read_model, write_model

    model = read_model(models_dir / "mobilefacenet.safetensors")
    from dataclasses import replace

    other = write_model(tmp_path / "other.safetensors", replace(model.spec, name="other"), model.tensors())
    outcome = run(
        "identify", second_photo(lfw_people), "--gallery", gallery, "--model", other.path, "--threshold", "0.3"
    )
    assert outcome.code == 4
    assert model.digest[:12] in outcome.stderr
    assert other.digest[:12] in outcome.stderr


def test_a_list_of_photos_and_a_photo_itself_come_from_standard_input(
    run: Run, gallery: Path, lfw_people: Path, tmp_path: Path
) -> None:
    photos = [second_photo(lfw_people, index) for index in (0, 1)]
    arguments = ("identify", "--gallery", gallery, "--threshold", "0.3", "--faces", "centre", "--json")

    def told(stdin: bytes, *more: str | Path) -> list[str]:
        result = CliRunner().invoke(cli, [str(argument) for argument in (*arguments, *more)], input=stdin)
        assert result.exit_code == 0, result.stderr
        records = [json.loads(line) for line in result.stdout.splitlines()]
        return [f"{record['source']}: {record['identity']['name']}" for record in records]

    expected = [f"{photo}: {photo.parent.name}" for photo in photos]
    assert told("\n".join(map(str, photos)).encode(), "--from-file", "-") == expected
    assert told("\0".join(map(str, photos)).encode(), "--from-file", "-") == expected
    (tmp_path / "list.txt").write_text(f"{photos[1]}\n")
    assert told(b"", photos[0], "--from-file", tmp_path / "list.txt") == expected
    assert told(photos[0].read_bytes(), "-") == [f"stdin: {photos[0].parent.name}"]
    assert run("identify", "-", "--from-file", "-", "--gallery", gallery).code == 2
    assert run("identify", "--gallery", gallery).code == 2


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"two\nlines.jpg\0b.jpg\r\0", ["two\nlines.jpg", "b.jpg\r"]),
        (b"a.jpg\0b\n.jpg", ["a.jpg", "b\n.jpg"]),
        (b"a.jpg\r\n\r\nb.jpg", ["a.jpg", "b.jpg"]),
        (b"\xef\xbb\xbfa.jpg\nb.jpg\n", ["a.jpg", "b.jpg"]),
        (b"".join(b"%065d.jpg\n" % number for number in range(3000)), [f"{number:065d}.jpg" for number in range(3000)]),
        (b"", []),
    ],
    ids=["line breaks in names", "NUL between names", "lines of Windows", "byte order mark", "long list", "empty"],
)
def test_a_list_is_split_at_what_ends_its_paths_alone(tmp_path: Path, content: bytes, names: list[str]) -> None:
    (tmp_path / "list").write_bytes(content)
    assert [picture.source for picture in pictures((), tmp_path / "list")] == names


def test_what_a_command_writes_among_the_photos_is_no_photo_at_its_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/1.jpg", "a/out/0001-1.jpg", "a/out/b/2.jpg", "a/outside/3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path / "a")

    def named(*photos: str, written: str) -> list[str]:
        paths = tuple(map(Path, photos))
        return [picture.source for picture in pictures(paths, None, Path(written))]

    assert named(".", written="out") == named(".", written=str(tmp_path / "a/out")) == ["1.jpg", "outside/3.jpg"]
    assert named("out", "../a/1.jpg", written="out") == ["out/0001-1.jpg", "out/b/2.jpg", "../a/1.jpg"]
    assert named("out/0001-1.jpg", written="out") == ["out/0001-1.jpg"]


def test_a_folder_without_a_photo_is_said(run: Run, gallery: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    at = ("--gallery", gallery, "--threshold", "0.3")
    outcome = run("identify", tmp_path / "empty", *at, "--json")
    assert (outcome.code, outcome.stdout) == (0, "")
    assert "There is no photo in what was given." in outcome.stderr
    outcome = run("identify", tmp_path / "empty", *at, "--together")
    assert (outcome.code, "--together takes a photo at least" in outcome.stderr) == (2, True)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_a_list_in_utf_16_is_refused_instead_of_read_letter_by_letter(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "list").write_bytes("\ufeff/a.jpg\n".encode(encoding))
    with pytest.raises(click.UsageError, match="save it as UTF-8"):
        list(pictures((), tmp_path / "list"))
