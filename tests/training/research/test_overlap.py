"""Test people among the training people: found by name and by likeness, the most alike first."""

from pathlib import Path

import numpy as np

from faceid.feature_set import feature_set, unit_rows
from tests.training.tiny_run import SIDE
from training.data.pack import Pack
from training.research.overlap import faces_in_doubt, find_overlap, report


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
    assert names == ["# faces of 2 of 3 training people", faces.name(0), faces.name(1), faces.name(2)]
