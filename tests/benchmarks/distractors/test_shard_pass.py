"""A sharded crowd, passed over file by file by a crew, gives what one pass over all of it gives."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.distractors.bfloat16_fold import bfloat16_fold
from benchmarks.distractors.distractor_pass import distractor_pass, mated_pairs
from benchmarks.distractors.shard_pass import shard_pass
from benchmarks.inputs.shards import read_shards, shard_files
from faceid.feature_set import FeatureError
from faceid.workers.processes import process_crew
from tests.benchmarks.distractors.test_distractor_pass import scattered
from tests.faceid.cli.conftest import Run, run  # noqa: F401  (a fixture)
from tests.faceid.conftest import models_dir, with_models  # noqa: F401  (fixtures)

SIZES = [1, 40, 41, 100, 250, 300]


@pytest.fixture(scope="module")
def crew():
    with process_crew(object, 2) as crew:
        yield crew


@pytest.fixture
def crowd(tmp_path):
    """Three hundred distractors, some of them twice, in four files."""
    rows = scattered(7, 300)
    rows[250:260] = rows[20:30]
    (tmp_path / "crowd").mkdir()
    for number, part in enumerate(np.split(rows, [30, 100, 240])):
        np.save(tmp_path / "crowd" / f"part-{number}.npy", part)
    return tmp_path / "crowd", rows


def read(folder):
    return read_shards(shard_files(folder), folder)


def same(found, expected):
    for one, other in zip(found, expected, strict=True):
        for name in vars(other):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("fold", [None, bfloat16_fold])
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("some_masked", [False, True])
def test_the_findings_of_the_files_add_up_to_those_of_the_crowd(crew, crowd, fold, shuffled, some_masked):
    folder, rows = crowd
    probes, identity = scattered(3, 24), np.arange(24) // 3
    probes[5] = rows[25]
    pairs = mated_pairs(probes, identity)
    order = np.random.default_rng(2).permutation(300) if shuffled else None
    masked = np.arange(300) % 7 == 0 if some_masked else None
    asked = {"order": order, "masked": masked, "fold": fold}
    found = shard_pass(crew, probes, pairs, read(folder).features, SIZES, 500, **asked)
    same(found, distractor_pass(probes, pairs, rows, SIZES, 500, **asked))


def test_shards_are_indexed_as_the_whole_array_is(crowd):
    folder, rows = crowd
    features = read(folder).features
    for taken in (slice(None), slice(25, 105), np.array([299, 0, 30]), np.arange(300) % 2 > 0):
        np.testing.assert_array_equal(features[taken], rows[taken])
    assert (features.shape, len(features)) == ((300, 16), 300)
    assert read(folder).paths[30] == "part-1.npy 0"


def test_what_a_system_put_beside_shards_is_none(crowd):
    folder, _ = crowd
    (folder / "._part-0.npy").write_bytes(b"Mac OS X")
    assert len(read(folder)) == 300


def test_shards_of_two_networks_are_refused(crowd):
    folder, _ = crowd
    np.save(folder / "z.npy", scattered(1, 5, 8))
    with pytest.raises(FeatureError, match="of another network than part-0"):
        read(folder)


@pytest.mark.slow
def test_the_command_gives_the_same_results_with_workers(run: Run, crowd, tmp_path: Path) -> None:  # noqa: F811
    folder, rows = crowd
    np.save(tmp_path / "whole.npy", rows)
    labels = np.array([f"p{n // 3}" for n in range(24)])
    np.savez(tmp_path / "probes.npz", features=scattered(3, 24), labels=labels, paths=labels)
    told = []
    for name, crowd_, workers in (("one", tmp_path / "whole.npy", ()), ("many", folder, ("--workers", 2))):
        asked = ("--probes", tmp_path / "probes.npz", "--distractors", crowd_, "--sets", 2, *workers)
        assert run("benchmark", "megaface", *asked, "-o", tmp_path / name).code == 0
        results = json.loads((tmp_path / name / "results.json").read_text())
        told.append({key: results[key] for key in ("identification", "verification", "open_set")})
    assert told[0] == told[1]
