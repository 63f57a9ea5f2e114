"""The speed benchmark: what is counted, what is compared, and that a missing peer is said and not invented."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from benchmarks.demo.people import write_people
from benchmarks.speed.bounds import PRODUCT_OPERATIONS, counted, product_bound, same_product_bound
from benchmarks.speed.photo_tasks import NothingToTime, photo_rows
from benchmarks.speed.rows import HEAD, Speed, SpeedRow, speed_table, write_speed
from benchmarks.speed.timing import Contestant, race
from benchmarks.speed.vector_tasks import drawn, megaface_rows, photos_of, search_rows
from faceid.engine import FaceEngine


def waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only goes on when a contestant adds to it."""
    now = [0.0]
    monkeypatch.setattr("benchmarks.speed.timing.time.perf_counter", lambda: now[0])
    return now


class TestRace:
    def test_each_is_timed_alone_and_ours_is_divided_by_each(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = waiting(monkeypatch)

        def taking(seconds: float) -> None:
            now[0] += seconds

        ours, bound, peer = race(
            "task",
            "size",
            10,
            "photos",
            [
                Contestant("faceid", "ours", lambda: taking(0.6)),
                Contestant("bound", "bound", lambda: taking(0.1), share=2.0),
                Contestant("peer", "peer", lambda: taking(1.2)),
            ],
        )

        assert [row.seconds for row in (ours, bound, peer)] == pytest.approx([0.6, 0.2, 1.2])
        assert [row.ours_takes for row in (ours, bound, peer)] == pytest.approx([1, 3, 0.5])

    def test_the_first_call_and_the_slow_rounds_do_not_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now, times = waiting(monkeypatch), iter([9.0, 3.0, 5.0, 2.0, 4.0, 8.0, 7.0])

        def ours() -> None:
            now[0] += next(times)

        (row,) = race("task", "size", 1, "photos", [Contestant("faceid", "ours", ours)])

        assert row.seconds == pytest.approx(2.0)

    def test_a_short_task_is_repeated_until_it_can_be_timed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now, calls = waiting(monkeypatch), []

        def ours() -> None:
            now[0] += 0.001
            calls.append(1)

        race("task", "size", 1, "photos", [Contestant("faceid", "ours", ours)])

        assert len(calls) == 2 + 5 * 100

    def test_what_is_not_installed_has_no_figure(self) -> None:
        rows = race(
            "task", "size", 1, "photos", [Contestant("faceid", "ours", lambda: None), Contestant("x", "peer", None)]
        )

        assert (rows[1].seconds, rows[1].ours_takes) == (None, None)


class TestBounds:
    def test_operations_are_those_of_the_layers_by_hand(self) -> None:
        network = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 8 * 8, 5))

        with counted() as operations:
            network(torch.zeros(2, 4, 10, 10))

        # Two pictures; 6 x 8 x 8 outputs of 3 x 3 x 2 products; 5 outputs of 384 products; each product with its sum.
        assert operations.count == 2 * 2 * (6 * 8 * 8 * 3 * 3 * 2 + 5 * 384)

    def test_nothing_is_counted_afterwards(self) -> None:
        with counted() as operations:
            pass
        nn.Linear(2, 2)(torch.zeros(1, 2))

        assert operations.count == 0

    def test_the_bound_is_scaled_to_the_operations_of_the_network(self) -> None:
        layer = nn.Linear(512, 512, bias=False)

        bound = product_bound(lambda: layer(torch.zeros(100, 512)))

        assert bound.share == pytest.approx(2 * 100 * 512 * 512 / PRODUCT_OPERATIONS)

    def test_a_network_of_another_program_has_no_bound_and_says_so(self) -> None:
        bound = product_bound(lambda: None)

        assert bound.run is None
        assert "not counted" in bound.note

    def test_the_product_is_of_all_scores(self) -> None:
        left, right = torch.rand(3, 4), torch.rand(5, 4)

        product = same_product_bound(left, right).run()

        np.testing.assert_allclose(product.numpy(), left.numpy() @ right.numpy().T, rtol=1e-6)


class TestTasks:
    def test_generated_photos_of_one_identity_are_alike_and_others_are_not(self) -> None:
        identities = drawn(50, 64, seed=0)
        photos = photos_of(identities, seed=1)

        scores = photos @ identities.T

        np.testing.assert_allclose(np.linalg.norm(photos, axis=1), 1, rtol=1e-6)
        assert np.diag(scores).min() > 0.4
        assert abs(scores[~np.eye(50, dtype=bool)]).mean() < 0.15

    @pytest.mark.slow
    def test_photos_are_found_embedded_and_enrolled_beside_their_bounds(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def run_once(task: str, size: str, count: int, unit: str, contestants: list[Contestant]) -> list[tuple]:
            return [(task, one.kind, unit, count, one.run()) for one in contestants if one.run and one.kind != "peer"]

        monkeypatch.setattr("benchmarks.speed.photo_tasks.race", run_once)
        photos = write_people(tmp_path / "people", 2, 1, seed=3)

        rows = photo_rows(FaceEngine(), photos)

        assert [row[:4] for row in rows] == [
            (task, kind, unit, 2)
            for task, unit in (("detection", "photos"), ("embedding", "crops"), ("enrolment", "photos"))
            for kind in ("ours", "bound")
        ]
        np.testing.assert_allclose(rows[-1][-1], rows[2][-1], atol=1e-5)  # the bound embeds the same two faces

    def test_photos_without_a_face_are_refused(self, tmp_path: Path) -> None:
        Image.new("RGB", (200, 200), "grey").save(tmp_path / "grey.png")

        with pytest.raises(NothingToTime, match="no face was found in 1 photos"):
            photo_rows(FaceEngine(), [tmp_path / "grey.png"])

    def test_search_is_timed_for_one_query_and_for_a_batch_beside_bounds_and_peers(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("benchmarks.speed.timing.LEAST_SECONDS", 0.0)

        rows = search_rows(200, 16, 4)

        assert [(row.kind, row.count) for row in rows if row.kind == "ours"] == [("ours", 1), ("ours", 4)]
        assert {row.kind for row in rows} == {"ours", "bound", "peer"}
        for row in rows:
            assert (row.seconds is None) == ("not installed" in row.note)

    def test_the_pass_is_counted_in_scores(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("benchmarks.speed.timing.LEAST_SECONDS", 0.0)
        monkeypatch.setattr("benchmarks.speed.vector_tasks.KEPT", 50)

        rows = megaface_rows(8, 100, 16)

        assert [row.kind for row in rows] == ["ours", "peer", "bound"]
        assert {row.count for row in rows} == {800}


class TestOutput:
    SPEED = Speed(
        (
            SpeedRow("search", "10 x 4", "faceid", "ours", 0.002, 4, "searches", 1.0),
            SpeedRow("search", "10 x 4", "a product", "bound", 0.001, 4, "searches", 2.0),
            SpeedRow("search", "10 x 4", "other", "peer", None, 4, "searches", None, "not installed"),
        ),
        {"cores": "2"},
        {"numpy": "2.0"},
        "net",
        "2026-01-02",
    )

    def test_the_table_has_a_ratio_to_each_and_no_figure_for_what_is_not_there(self) -> None:
        ours, bound, peer = (dict(zip(HEAD, row, strict=True)) for row in speed_table(self.SPEED))

        assert (ours["ms"], ours["a second"], ours["faceid takes"]) == ("2.00", "2,000 searches", "")
        assert (bound["what ran"], bound["faceid takes"]) == ("bound: a product", "2.00 times as long")
        assert (peer["ms"], peer["a second"], peer["faceid takes"], peer["note"]) == ("", "", "", "not installed")

    def test_the_json_names_the_machine_and_the_rows(self, tmp_path: Path) -> None:
        record = json.loads(write_speed(self.SPEED, tmp_path).read_text())

        assert record["schema_version"] == 1
        assert record["machine"] == {"cores": "2"}
        assert record["rows"][1]["ours_takes"] == 2.0
        assert record["rows"][2]["seconds"] is None
