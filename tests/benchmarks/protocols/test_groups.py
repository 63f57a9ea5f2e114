"""Errors by group against slow loops, and on drawn people whose groups differ by construction."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.formats.group_table import GroupTableError, read_groups
from benchmarks.metrics.rates import UnsupportedRate
from benchmarks.protocols.blufr import seeded_trials
from benchmarks.protocols.cluster import cluster_faces
from benchmarks.protocols.groups import group_errors
from benchmarks.protocols.photo_rows import listed_twice
from benchmarks.results.results import read_results
from faceid.cli import cli
from faceid.feature_set import feature_set


def drawn(people=300, photos=2, seed=0):
    """People of two groups; those of `crowd` share a direction, so that they are more alike."""
    random = np.random.default_rng(seed)
    crowd = np.arange(people) % 3 == 0
    centres = random.standard_normal((people, 32)) + 4 * crowd[:, None] * random.standard_normal(32) / np.sqrt(32)
    rows = np.repeat(np.arange(people), photos)
    vectors = centres[rows] / np.linalg.norm(centres[rows], axis=1, keepdims=True)
    vectors = vectors + 0.8 * random.standard_normal(vectors.shape) / np.sqrt(32)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    labels = np.array([f"p{row}" for row in rows])
    paths = np.array([f"p{row}/{number}.jpg" for number, row in enumerate(rows)])
    features = feature_set(vectors, labels, paths, Path("drawn.npz"))
    return features, {"town": np.where(crowd[rows], "crowd", "others")}


def test_fmr_and_fnmr_are_those_of_a_slow_loop():
    features, groups = drawn(100)
    results = group_errors(features, groups, far=1e-2, fpir=0.1, name="drawn")
    people = np.array([int(label[1:]) for label in features.labels])
    scores = features.features @ features.features.T
    pairs = [(i, j) for i in range(200) for j in range(i + 1, 200)]
    strange = [scores[i, j] for i, j in pairs if people[i] != people[j]]
    threshold = np.nextafter(np.float32(sorted(strange)[::-1][int(1e-2 * len(strange))]), np.float32(2))
    for row in results.groups:
        inside = groups["town"] == row.group
        false = [scores[i, j] >= threshold for i, j in pairs if inside[i] and inside[j] and people[i] != people[j]]
        mated = [scores[i, j] < threshold for i, j in pairs if inside[i] and people[i] == people[j]]
        assert (row.fmr.hits, row.fmr.trials) == (sum(false), len(false))
        assert (row.fnmr.hits, row.fnmr.trials) == (sum(mated), len(mated))
        assert row.people == len(set(people[inside].tolist()))


def test_the_group_whose_people_are_alike_has_the_larger_rates_and_is_named_as_the_worst():
    results = group_errors(*drawn(), far=1e-3, fpir=0.05, name="drawn")
    crowd, others = results.groups
    assert crowd.group == "crowd"
    assert crowd.fmr.rate > 5 * others.fmr.rate
    assert crowd.fpir.rate > others.fpir.rate
    low, high = crowd.fmr.ci95_clustered
    assert low < crowd.fmr.rate < high
    fmr = next(row for row in results.differentials if row.rate == "fmr")
    assert fmr.worst == "crowd"
    assert fmr.worst_to_best == pytest.approx(crowd.fmr.rate / others.fmr.rate)
    assert fmr.worst_to_mean == pytest.approx(np.sqrt(crowd.fmr.rate / others.fmr.rate))


def test_a_group_with_too_few_trials_has_no_rate():
    features, groups = drawn()
    groups["town"][:2] = "hamlet"
    hamlet = next(row for row in group_errors(features, groups, 1e-3, 0.05, "drawn").groups if row.group == "hamlet")
    assert hamlet.fmr is None
    assert hamlet.fpir is None
    assert hamlet.fnmr.trials == 1
    assert hamlet.fnmr.ci95_clustered is None


def test_photos_without_labels_are_a_person_each():
    features, groups = drawn(photos=1)
    nameless = feature_set(features.features, np.full(300, ""), features.paths, Path("x.npz"))
    rows = zip(
        group_errors(nameless, groups, 1e-3, 0.05, "x").groups,
        group_errors(features, groups, 1e-3, 0.05, "x").groups,
        strict=True,
    )
    for one, other in rows:
        assert one.fmr == other.fmr
        assert one.fnmr is None


def test_rates_that_all_trials_cannot_support_are_refused():
    with pytest.raises(UnsupportedRate):
        group_errors(*drawn(20), far=1e-6, fpir=0.1, name="drawn")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name,race\nx,y\n", "no column path or person"),
        ("path\np\n", "no column with groups"),
        ("path,sex\np0/0.jpg,f\np0/0.jpg,m\n", "line 3"),
        ("path,sex,age,sex\np0/0.jpg,f,9,m\n", "several columns sex"),
        ("path,origin\np0/0.jpg,Asian, East\n", "line 2: more cells"),
        ("person,sex\nAnn,f\n,m\n", "line 3: a group, but no person"),  # else everybody without a name would have it
        ("path,sex\n\x00,f\n", None),
        ("path,sex\n,\n", None),
    ],
)
def test_a_table_that_says_nothing_or_contradicts_itself_is_refused(tmp_path, text, why):
    (tmp_path / "groups.csv").write_text(text)
    features, _ = drawn(20)
    if why is None:
        assert (read_groups(tmp_path / "groups.csv", features, None)["sex"] == "").all()
        return
    with pytest.raises(GroupTableError, match=why):
        read_groups(tmp_path / "groups.csv", features, None)


def test_blanks_about_the_names_of_columns_mean_nothing(tmp_path):
    features, _ = drawn(20)
    for text in ("path, sex ,,\np0/0.jpg,f,,\n", "path; sex ;;\np0/0.jpg;f;;\n"):
        (tmp_path / "groups.csv").write_text(text)
        for columns in (None, [" sex"]):
            assert read_groups(tmp_path / "groups.csv", features, columns)["sex"][0] == "f"


def test_photos_that_are_there_twice_are_said():
    features, groups = drawn(photos=1)
    assert listed_twice(features) == ()
    paths = features.paths.copy()
    paths[1] = paths[0]
    twice = replace(features, paths=paths)
    (note,) = listed_twice(twice)
    assert "1 photos are listed more than once" in note
    assert note in group_errors(twice, groups, 1e-3, 0.05, "x").notes
    assert note in cluster_faces(twice, 1e-3, 0.9, "x").notes
    assert note in seeded_trials(replace(twice, labels=np.repeat(features.labels[::2], 2)), 0, 10, 10).notes


def test_whom_the_figures_are_not_about_is_said():
    features, groups = drawn(photos=1)
    labels = np.where(np.arange(300) < 7, "", features.labels)
    groups["town"] = np.where(np.arange(300) < 5, "", groups["town"])
    some = feature_set(features.features, labels, features.paths, Path("x.npz"))
    assert group_errors(some, groups, 1e-3, 0.05, "x").notes == (
        "7 photos without a name: each counts as one more person",
        "town: 5 of 300 photos are of no known group",
    )


@pytest.mark.slow
def test_both_commands_write_results_that_can_be_read_again(tmp_path):
    features, groups = drawn()
    np.savez(tmp_path / "faces.npz", features=features.features, labels=features.labels, paths=features.paths)
    with (tmp_path / "groups.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("person", "town"), *sorted(set(zip(features.labels, groups["town"], strict=True)))]
        )
    arguments = [
        "benchmark",
        "groups",
        str(tmp_path / "faces.npz"),
        "--groups",
        str(tmp_path / "groups.csv"),
        "--far",
        "1e-3",
    ]
    result = CliRunner().invoke(cli, [*arguments, "--fpir", "0.05", "-o", str(tmp_path / "g")])
    assert result.exit_code == 0, result.output
    assert "crowd" in result.stdout
    assert len(read_results(tmp_path / "g")[0].groups) == 2
    result = CliRunner().invoke(
        cli, ["benchmark", "cluster", str(tmp_path / "faces.npz"), "--far", "1e-3", "-o", str(tmp_path / "c")]
    )
    assert result.exit_code == 0, result.output
    (row,) = json.loads((tmp_path / "c" / "results.json").read_text())["clustering"]
    assert row["faces"] == 600
    assert row["people"] == 300
    assert row["bcubed_f"]["ci95_clustered"][0] < row["bcubed_f"]["value"] < row["bcubed_f"]["ci95_clustered"][1]
    assert (tmp_path / "c" / "clustering.csv").exists()
    assert (tmp_path / "g" / "groups.csv").exists()
