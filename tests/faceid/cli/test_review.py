"""`faceid gallery review`, on a gallery of made-up vectors under the shipped network's name."""

import csv
import hashlib
import io
import json
import os

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from faceid import gallery_review
from faceid.cli import cli
from faceid.cli.review import KINDS
from faceid.models.model_zoo import find_model
from indexer.gallery import Gallery
from indexer.hygiene import review as hygiene
from indexer.records import ModelBinding, NewTemplate


def invoke(gallery, *arguments):
    return CliRunner().invoke(cli, ["gallery", "review", "--gallery", str(gallery), *arguments])


def records(gallery, *arguments):
    result = invoke(gallery, "--json", *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """120 people of four photos; Zoe is Ann's other half, and one photo of Bob is Cid's.

    One photo can be read, and of Ann's first one the gallery keeps a picture.
    """
    folder = tmp_path_factory.mktemp("review")
    model = find_model("sphereface")
    width = model.spec.dimension
    random = np.random.default_rng(0)

    def unit(vectors):
        return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)

    centres = unit(random.standard_normal((120, width)))
    names = ["Ann", "Bob <b>", "Cid", *(f"P{number}" for number in range(3, 120))]
    picture = io.BytesIO()
    Image.fromarray(random.integers(0, 255, (60, 60, 3), np.uint8)).save(picture, "PNG")
    (folder / "there.png").write_bytes(picture.getvalue())
    kept = io.BytesIO()
    Image.new("RGB", (60, 60), "grey").save(kept, "JPEG")
    new = []
    for person, name in enumerate(names):
        for number in range(4):
            shown = 2 if (person, number) == (1, 3) else person
            vector = unit(centres[shown] + 0.7 * unit(random.standard_normal(width)))
            owner = "Zoe" if person == 0 and number > 1 else name
            source = folder / ("there.png" if (person, number) == (1, 3) else f"{person}-{number}.jpg")
            digest = hashlib.sha256(picture.getvalue() if source.exists() else str(source).encode()).digest()
            crop = kept.getvalue() if (person, number) == (0, 0) else None
            box = (10, 10, 30, 30)
            new.append(NewTemplate(owner, None, vector, str(source), digest, box, 0.99, 0.8, "float32", crop))
    with Gallery.create(folder / "gallery", ModelBinding("sphereface", model.digest, width)) as gallery:
        gallery.add(new)
    return folder / "gallery"


@pytest.fixture
def gallery(faulty, tmp_path, monkeypatch):
    """A copy for this test alone; drawn crops would take seconds to embed, and vectors from nowhere are like none."""
    monkeypatch.setattr("faceid.gallery_review.review_examples", lambda model: hygiene.Examples())
    with Gallery.open(faulty) as source:
        source.backup(tmp_path / "gallery")
    return tmp_path / "gallery"


def test_the_options_name_the_kinds_there_are():
    assert KINDS == hygiene.KINDS


def test_a_finding_says_who_why_and_what_mends_it(gallery):
    found = {one["kind"]: one for one in records(gallery)}
    assert set(found) == {"duplicate", "mislabelled"}
    ids = {one["name"]: one["id"] for kind in found.values() for one in kind["people"]}
    twice, wrong = found["duplicate"], found["mislabelled"]
    assert {one["name"] for one in twice["people"]} == {"Ann", "Zoe"}
    assert twice["command"] == f"faceid gallery merge {ids['Zoe']} {ids['Ann']}"
    assert [one["name"] for one in wrong["people"]] == ["Bob <b>", "Cid"]
    assert wrong["command"] == f"faceid gallery move {wrong['templates'][0]['id']} {ids['Cid']}"
    assert twice["probability"] > 0.9
    assert twice["schema_version"] == 1


def test_a_gallery_of_another_file_under_the_models_name_is_refused(tmp_path):
    Gallery.create(tmp_path / "other", ModelBinding("sphereface", "b" * 64, 128)).close()
    result = invoke(tmp_path / "other")
    assert result.exit_code == 4
    assert "bound to the model" in result.stderr


def test_one_person_under_two_names_is_not_called_two_people(gallery):
    with Gallery.open(gallery, writable=True) as opened:
        opened.rename(opened.find("Zoe")[0].id, "Zoe Lee")
    told = invoke(gallery, "--not-duplicates", "Zoe", "Zoe Lee")
    assert told.exit_code == 1
    assert "both names lead to the person with the id" in told.stderr.replace("\n", " ")


def test_not_duplicates_is_remembered(gallery):
    assert invoke(gallery, "--not-duplicates", "Ann", "Zoe").exit_code == 0
    assert [one["kind"] for one in records(gallery)] == ["mislabelled"]


@pytest.mark.slow
def test_accepted_answers_mend_and_a_second_review_finds_nothing(gallery, tmp_path):
    keys = [one["finding"] for one in records(gallery)]
    answers = tmp_path / "answers.jsonl"
    lines = [json.dumps({"finding": key, "answer": "accept"}) for key in [*keys, keys[0]]]
    answers.write_text("\n".join(lines))
    result = invoke(gallery, "--apply", str(answers), "--csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["status"] for row in rows] == ["done", "done", "failed"]
    assert "merged into" in rows[2]["why"]
    assert result.exit_code == 3
    assert records(gallery) == []
    with Gallery.open(gallery, writable=True) as opened:
        opened.undo()
        opened.undo()
    assert [one["finding"] for one in records(gallery)] == keys


def test_who_was_enrolled_three_times_is_one_person_whatever_the_order_of_the_answers(gallery, tmp_path):
    with Gallery.open(gallery) as opened:
        template = opened.templates_of(10)[0].id
    keys = ("duplicate:5-6", "duplicate:6-7", "duplicate:8-9", "duplicate:4-8", f"mislabelled:{template}-9")
    answers = tmp_path / "answers.jsonl"
    answers.write_text("\n".join(json.dumps({"finding": key, "answer": "accept"}) for key in keys))
    assert invoke(gallery, "--apply", str(answers)).exit_code == 0
    with Gallery.open(gallery) as opened:
        assert [(len(opened.templates_of(one))) for one in (5, 4, 10)] == [12, 13, 3]


@pytest.mark.slow
def test_what_somebody_else_mended_while_it_was_looked_for_is_no_finding(gallery, monkeypatch):
    """A page's visitor, or a second command: a large gallery is looked through for minutes."""

    def review(*arguments, **options):
        found = hygiene.review(*arguments, **options)
        with Gallery.open(gallery, writable=True) as opened:
            opened.merge(opened.find("Zoe")[0].id, opened.find("Ann")[0].id)
            opened.erase(opened.find("Bob <b>")[0].id)
        return found

    monkeypatch.setattr(gallery_review, "review", review)
    assert not {"duplicate", "mislabelled"} & {one["kind"] for one in records(gallery)}


@pytest.mark.slow
def test_rejected_and_later(gallery, tmp_path):
    key = records(gallery, "--kinds", "duplicate")[0]["finding"]
    for answer, left in (("reject", 0), ("later", 1)):
        (tmp_path / "answers").write_text(json.dumps({"finding": key, "answer": answer}) + "\n")
        assert invoke(gallery, "--apply", str(tmp_path / "answers")).exit_code == 0
        assert len(records(gallery, "--kinds", "duplicate")) == left


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"finding": 3, "answer": "accept"}', '{"finding": "broken:3", "answer": "yes"}']
)
def test_a_file_that_holds_no_answers_is_refused_with_its_line(gallery, tmp_path, line):
    (tmp_path / "answers").write_text('\n{"finding": "broken:3", "answer": "later"}\n' + line, encoding="utf-8-sig")
    result = invoke(gallery, "--apply", str(tmp_path / "answers"))
    assert result.exit_code == 2
    assert "line 3" in result.stderr


def test_a_path_among_the_answers_may_hold_other_ends_of_lines(gallery, tmp_path):
    answer = {"finding": "duplicate:1-2", "answer": "later", "source": "a\u2028b\x85c.jpg"}  # as jq writes it
    (tmp_path / "answers").write_text(json.dumps(answer, ensure_ascii=False) + "\r\n")
    assert invoke(gallery, "--apply", str(tmp_path / "answers")).exit_code == 0


@pytest.mark.parametrize(
    "arguments", [("--kinds", "duplicate,nonsense"), ("--fdr", "0"), ("--not-duplicates", "Ann", "Zoe", "--page", "x")]
)
def test_wrong_usage(gallery, arguments):
    assert invoke(gallery, *arguments).exit_code == 2


def test_the_page_shows_photos_that_are_there_or_kept_pictures_and_obeys_no_name(gallery, tmp_path):
    result = invoke(gallery, "--page", str(tmp_path / "page.html"))
    assert result.exit_code == 0, result.output
    text = (tmp_path / "page.html").read_text()
    assert text.count("data:image/jpeg") == 2
    assert text.count("photo not there") == 1
    assert "Bob &lt;b&gt;" in text
    assert "Bob <b>" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_the_page_of_a_gallery_whose_folder_is_no_utf_8_is_written(gallery, tmp_path):
    elsewhere = gallery.rename(tmp_path / os.fsdecode(b"st\xe4ff"))
    assert invoke(elsewhere, "--page", str(tmp_path / "page.html")).exit_code == 0
    assert "st\\udce4ff" in (tmp_path / "page.html").read_text()


def test_a_template_can_be_removed_and_moved_by_hand(gallery):
    run = CliRunner()
    assert run.invoke(cli, ["gallery", "move", "--gallery", str(gallery), "1", "Cid"]).exit_code == 0
    assert run.invoke(cli, ["gallery", "remove-template", "--gallery", str(gallery), "2", "3"]).exit_code == 0
    assert run.invoke(cli, ["gallery", "move", "--gallery", str(gallery), "2", "Cid"]).exit_code == 1
    with Gallery.open(gallery) as opened:
        assert {row.id: row.name for row in opened.templates()}[1] == "Cid"
        assert opened.stats().removed_templates == 2
