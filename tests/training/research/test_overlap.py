"""Test people among the training people: found by name and by likeness, the most alike first."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from faceid.feature_set import feature_set, unit_rows
from indexer.errors import ModelMismatch
from indexer.records import ModelBinding
from tests.training.tiny_run import SIDE
from training.data.joined import Joined
from training.data.pack import Pack
from training.errors import DataError
from training.research.overlap import faces_in_doubt, find_overlap, known_people, report, stranger_level


def test_people_are_found_by_name_and_by_likeness(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    people = unit_rows(random.standard_normal((5, 32)))
    faces = Pack(
        np.zeros((4, SIDE, SIDE, 3), np.uint8),
        np.array([0, 0, 1, 2]),
        ("Bob_Hope", "celeba_7", "pins ada lovelace"),
        "",
        ("a", "b", "c", "d"),
    )
    embeddings = unit_rows(people[[0, 0, 1, 2]] + 0.02 * random.standard_normal((4, 32)))
    test = feature_set(
        unit_rows(people[[1, 1, 3, 4]] + 0.02 * random.standard_normal((4, 32))),
        np.array(["Eve", "Eve", "bob hope", "Zoe"]),
        np.array(["1", "2", "3", "4"]),
        tmp_path,
    )
    overlap = find_overlap(embeddings, faces, test)
    assert overlap.same_name == ("Bob_Hope",)
    assert (overlap.people[0], overlap.nearest[0]) == ("celeba_7", "Eve")
    assert overlap.similarity[0] > 0.95 > 0.5 > overlap.similarity[1]
    assert report(overlap)[1].startswith("1 have a mean within cosine 0.5")
    names = [line.split("\t")[0] for line in faces_in_doubt(overlap, faces)]
    assert names[:4] == ["# faces of 2 of 3 training people", faces.name(0), faces.name(1), faces.name(2)]
    assert names[4:] == ["# and 0 of 0 unlabelled faces"]


@pytest.mark.parametrize(
    ("training", "test", "same"),
    [
        (("17", "Bob"), ("3", "4"), ()),
        (("Иван", "Пётр"), ("петр", "3"), ("Пётр",)),
        (("José 2", "x"), ("jose", "Y"), ("José 2",)),
    ],
)
def test_names_without_letters_are_no_names_and_other_scripts_have_letters(
    tmp_path: Path, training: tuple[str, ...], test: tuple[str, ...], same: tuple[str, ...]
) -> None:
    faces = Pack(np.zeros((2, SIDE, SIDE, 3), np.uint8), np.array([0, 1]), training, "", ("a", "b"))
    rows = np.eye(2, 8, dtype=np.float32)
    assert (
        find_overlap(rows, faces, feature_set(rows, np.array(test), np.array(["1", "2"]), tmp_path)).same_name == same
    )


def test_a_test_set_of_one_person_or_of_another_network_is_refused(tmp_path: Path) -> None:
    rows = np.eye(4, 8, dtype=np.float32)
    paths = np.array(list("1234"))
    several = feature_set(rows, np.array(["Eve", "", "", "Zoe"]), paths, tmp_path)
    assert known_people(several, "d", 8).labels.tolist() == ["Eve", "Zoe"]
    assert len(known_people(replace(several, model=ModelBinding("net", "d", 8)), "d", 8)) == 2
    with pytest.raises(DataError, match="two people or more"):
        known_people(feature_set(rows, np.array(["Eve", "", "", "Eve"]), paths, tmp_path), "d", 8)
    for test, dimension in ((replace(several, model=ModelBinding("net", "other", 8)), 8), (several, 16)):
        with pytest.raises(ModelMismatch, match="another network"):
            known_people(test, "d", dimension)


def test_unlabelled_faces_are_in_doubt_one_by_one(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    people = unit_rows(random.standard_normal((6, 32)))
    photos = unit_rows(people[[0, 0, 1, 2, 3]] + 0.02 * random.standard_normal((5, 32)))
    test = feature_set(photos, np.array(["A", "A", "B", "C", "D"]), np.array(list("12345")), tmp_path)
    labelled, unlabelled = (
        Pack(np.zeros((count, SIDE, SIDE, 3), np.uint8), np.zeros(count, np.int64), ("x",), "", names)
        for count, names in ((1, ("x/1",)), (3, ("-/1", "-/2", "-/3")))
    )
    faces = Joined(labelled, unlabelled)
    embeddings = unit_rows(people[[4, 5, 1, 4]] + 0.02 * random.standard_normal((4, 32)))
    overlap = find_overlap(embeddings, faces, test)
    assert list(overlap.crops) == [2]
    assert overlap.crop_similarity[0] > 0.9 > overlap.level
    lines = list(faces_in_doubt(overlap, faces))
    assert [line.split("\t")[0] for line in lines] == [
        "# faces of 0 of 1 training people",
        "# and 1 of 3 unlabelled faces",
        "-/2",
    ]


def test_the_level_is_the_score_that_one_in_a_hundred_thousand_strangers_reach() -> None:
    random = np.random.default_rng(3)
    photos = unit_rows(random.standard_normal((3000, 8))).astype(np.float32)
    means = unit_rows(random.standard_normal((200, 8))).astype(np.float32)
    person = random.integers(200, size=3000)
    scores = photos @ means.T
    scores[np.arange(3000), person] = -1
    expected = np.sort(scores.ravel())[-int(1e-5 * 3000 * 199)]
    assert stranger_level(photos, person, means) == expected
