"""Ray's workers: the rows that the engine alone gives, and processes give; one that is lost is told and replaced."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks.distractors.distractor_pass import distractor_pass, mated_pairs
from benchmarks.distractors.shard_pass import shard_pass
from benchmarks.inputs.shards import read_shards, shard_files
from faceid.engine import FaceEngine
from faceid.vision.photo_list import photos_of_people
from faceid.workers.crew import Crew
from faceid.workers.processes import process_crew
from faceid.workers.ray_actors import RayUnreachable, ray_crew
from indexer.errors import FaceIdError
from tests.benchmarks.distractors.test_distractor_pass import scattered
from tests.benchmarks.distractors.test_shard_pass import same
from tests.faceid.workers import tools

pytestmark = pytest.mark.slow
pytest.importorskip("ray")


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def crew(engine: FaceEngine, told: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    """Two actors on a cluster of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # Ray leaves a token there
        with ray_crew("local", engine.twin, 2, told.append) as crew:
            yield crew


def pairs(items):
    return ((f"kept {item}", item) for item in items)


def test_alone_by_processes_and_by_ray_come_the_same_rows(
    engine: FaceEngine, crew: Crew, lfw_people: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "text.jpg").write_text("no photo")
    photos = [*photos_of_people(lfw_people), *photos_of_people(tmp_path)]
    alone = engine.embed(photos, faces="all")
    with process_crew(engine.twin, 2) as processes:
        others = [engine.embed(photos, faces="all", crew=one) for one in (processes, crew)]
    for other in others:
        assert np.array_equal(other.vectors, alone.vectors)
        assert (other.labels, other.paths) == (alone.labels, alone.paths)
        assert [(one.source, one.reason_code) for one in other.failures] == [
            (one.source, one.reason_code) for one in alone.failures
        ]


def test_a_lost_worker_is_told_and_only_what_it_had_in_hand_is_done_again(
    crew: Crew, told: list[str], tmp_path: Path
) -> None:
    found = list(crew.map(partial(tools.die_the_first_time, tmp_path), pairs(range(12))))
    assert found == [(f"kept {n}", n * n) for n in range(12)]
    begun = {int(file.name): file.read_text().count("begun") for file in tmp_path.iterdir()}
    assert begun == {n: 2 if n == 5 else 1 for n in range(12)}
    assert [line for line in told if "is lost" in line and "another takes its place" in line]


def test_a_sharded_crowd_is_passed_over_by_rays_workers(crew: Crew, tmp_path: Path) -> None:
    rows, probes = scattered(7, 90), scattered(3, 12)
    for number, part in enumerate(np.split(rows, [20, 60])):
        np.save(tmp_path / f"{number}.npy", part)
    pairs = mated_pairs(probes, np.arange(12) // 3)
    found = shard_pass(crew, probes, pairs, read_shards(shard_files(tmp_path), tmp_path).features, [10, 90], 50)
    same(found, distractor_pass(probes, pairs, rows, [10, 90], 50))


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nobody_is_is_told_at_once(scheme: str) -> None:
    with pytest.raises(RayUnreachable, match=f"no Ray cluster at {scheme}127.0.0.1:1: .*refused"):
        ray_crew(f"{scheme}127.0.0.1:1", tools.make_tool)


def test_what_the_work_raises_is_raised_here_and_the_crew_goes_on(crew: Crew) -> None:
    with pytest.raises(FaceIdError, match="1 is odd"):
        list(crew.map(tools.squared_unless_odd, pairs(range(4))))
    assert list(crew.map(tools.squared, pairs([3]))) == [("kept 3", 9)]
