"""results.json: what is written is what is read, to the bit; foreign, newer and damaged files are told from it."""

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.metrics.rates import rate
from benchmarks.results.provenance import OutputError, run_benchmark
from benchmarks.results.results import (
    Curve,
    Curves,
    DataUsed,
    Histogram,
    IdentificationRow,
    MeanAccuracy,
    ModelUsed,
    OpenSetRow,
    Prediction,
    Provenance,
    Rate,
    Refusal,
    Results,
    ResultsError,
    VerificationRow,
    WorstError,
    read_results,
    write_results,
)

FEATURES = DataUsed("probes", "faces.npz", "0f" * 32, 12)
PROVENANCE = Provenance(
    ModelUsed("net", "ab" * 32), (FEATURES,), {"numpy": "2.0"}, 1.5, None, "faceid benchmark", "2026-01-02T03:04:05"
)
VERIFICATION = VerificationRow(100, 1, 1e-3, rate(9, 10, (0.5, 1.0)), 0.4, 2, 3000, rate(2, 3000))
FULL = Results(
    "megaface",
    "a run",
    {"noise": "raw"},
    identification=(IdentificationRow(100, 1, rate(8, 10, (0.4, 0.9)), None, 1, rate(7, 10)),),
    verification=(VERIFICATION,),
    open_set=(OpenSetRow(100, 1, 0.01, rate(3, 10), 0.5, 4, 400, rate(4, 400)),),
    accuracy=(
        MeanAccuracy(0.75, 0.1, (0.7, 0.8), "restricted", rate(15, 20, (0.5, 0.9))),
        MeanAccuracy(0.5, 0.2, (0.5,), "best threshold"),
    ),
    predictions=(Prediction("rank1", 10**6, 0.5, (0.4, 0.6), "tail", 1000, None),),
    refusals=(Refusal("TAR at FAR 1e-6", 3_000_000, 3000),),
    worst_errors=(WorstError("missed", "a.jpg", "b.jpg", 0.1),),
    curves=Curves(roc=(Curve("N = 100", np.array([0.1, 1.0]), np.array([0.9, 1.0])),)),
    histograms=(Histogram("mated", np.array([0.0, 0.5, 1.0]), np.array([3, 7])),),
    notes=("a note",),
)


def points(size: int | st.SearchStrategy[int]) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, size)


@st.composite
def curve(draw: st.DrawFn) -> Curve:
    size = draw(st.integers(0, 4))
    return Curve(draw(st.text()), draw(points(size)), draw(points(size)))


@st.composite
def histogram(draw: st.DrawFn) -> Histogram:
    size = draw(st.integers(0, 3))
    return Histogram(
        draw(st.sampled_from(["mated", "non_mated"])), draw(points(size + 1)), draw(arrays(np.int64, size))
    )


@st.composite
def counted(draw: st.DrawFn) -> Rate:
    share, interval = st.floats(0, 1), st.tuples(st.floats(0, 1), st.floats(0, 1))
    counts = st.integers(0, 10**12)
    return Rate(draw(counts), draw(counts), draw(share), draw(interval), draw(st.none() | interval))


def results() -> st.SearchStrategy[Results]:
    with_rates = {kind: st.builds(kind, **rates) for kind, rates in RATES.items()}
    return st.builds(
        Results,
        identification=few(with_rates[IdentificationRow]),
        verification=few(with_rates[VerificationRow]),
        open_set=few(with_rates[OpenSetRow]),
        accuracy=few(with_rates[MeanAccuracy]),
        curves=st.builds(Curves, cmc=few(curve()), traditional_cmc=few(curve()), roc=few(curve()), det=few(curve())),
        histograms=few(histogram()),
    )


RATES = {
    IdentificationRow: {
        "rank1": counted(),
        "rank10": st.none() | counted(),
        "traditional_rank1": st.none() | counted(),
    },
    VerificationRow: {"tar": counted(), "achieved_far": counted()},
    OpenSetRow: {"fnir": counted(), "achieved_fpir": counted()},
    MeanAccuracy: {"right": st.none() | counted()},
}


def few(items: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(items, max_size=2).map(tuple)


class TestRoundTrip:
    @given(results(), st.builds(Provenance))
    @settings(
        max_examples=30,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    def test_what_is_read_is_what_was_written(self, tmp_path: Path, found: Results, provenance: Provenance) -> None:
        again, origin = read_results(write_results(found, provenance, tmp_path))

        np.testing.assert_equal(asdict(again), asdict(found))
        np.testing.assert_equal(asdict(origin), asdict(provenance))

    def test_the_folder_may_be_named_instead_of_the_file(self, tmp_path: Path) -> None:
        write_results(FULL, PROVENANCE, tmp_path)

        np.testing.assert_equal(asdict(read_results(tmp_path)[0]), asdict(FULL))

    def test_the_same_results_give_the_same_bytes(self, tmp_path: Path) -> None:
        shuffled = replace(PROVENANCE, versions=dict(reversed({"a": "1", "b": "2"}.items())))
        sorted_ = replace(PROVENANCE, versions={"a": "1", "b": "2"})

        one, two = write_results(FULL, shuffled, tmp_path / "1"), write_results(FULL, sorted_, tmp_path / "2")

        assert one.read_bytes() == two.read_bytes()

    def test_numbers_of_numpy_are_written_as_numbers(self, tmp_path: Path) -> None:
        row = replace(VERIFICATION, threshold=np.float32(0.1), false_accepts=np.int64(2))

        again, _ = read_results(write_results(replace(FULL, verification=(row,)), PROVENANCE, tmp_path))

        assert again.verification[0].threshold == np.float32(0.1)
        assert again.verification[0].false_accepts == 2


class TestNames:
    def test_the_json_has_the_names_that_programs_read(self, tmp_path: Path) -> None:
        record = json.loads(write_results(FULL, PROVENANCE, tmp_path).read_text())

        assert record["schema_version"] == 1
        assert record["identification"][0]["rank1"] == {
            "hits": 8,
            "trials": 10,
            "rate": 0.8,
            "ci95": list(rate(8, 10).ci95),
            "ci95_clustered": [0.4, 0.9],
        }
        assert {"distractors", "set", "far", "tar", "threshold", "false_accepts", "impostor_trials"} <= set(
            record["verification"][0]
        )
        assert {"distractors", "set", "fpir", "fnir", "threshold", "false_alarms", "non_mated_searches"} <= set(
            record["open_set"][0]
        )
        assert record["accuracy"] == {
            "rate": 0.75,
            "standard_error": 0.1,
            "folds": [0.7, 0.8],
            "convention": "restricted",
            "right": {
                "hits": 15,
                "trials": 20,
                "rate": 0.75,
                "ci95": list(rate(15, 20).ci95),
                "ci95_clustered": [0.5, 0.9],
            },
        }
        assert [one["convention"] for one in record["more_accuracies"]] == ["best threshold"]
        assert record["model"] == {"name": "net", "digest": "ab" * 32}
        assert record["data"] == [{"role": "probes", "file": "faces.npz", "sha256": "0f" * 32, "rows": 12}]

    def test_a_protocol_without_accuracy_has_none(self, tmp_path: Path) -> None:
        record = json.loads(write_results(replace(FULL, accuracy=()), PROVENANCE, tmp_path).read_text())

        assert record["accuracy"] is None

    def test_predictions_stand_in_no_measured_row(self, tmp_path: Path) -> None:
        record = json.loads(write_results(FULL, PROVENANCE, tmp_path).read_text())

        assert len(record["predictions"]) == 1
        for table in ("identification", "verification", "open_set"):
            assert "predict" not in json.dumps(record[table])


class TestTables:
    def test_what_somebody_else_left_in_the_folder_stays(self, tmp_path: Path) -> None:
        (tmp_path / "groups.csv").write_text("path,sex\n")
        write_results(Results("lfw", "x", {}), PROVENANCE, tmp_path)
        assert (tmp_path / "groups.csv").read_text() == "path,sex\n"

    def test_an_input_is_not_written_over(self, tmp_path: Path) -> None:
        (tmp_path / "groups.csv").write_text("path,sex\n")
        with pytest.raises(OutputError, match=r"groups\.csv \(groups\) would be lost"):
            run_benchmark(lambda: Results("groups", "x", {}), [], tmp_path, [("groups", tmp_path / "groups.csv")])
        assert (tmp_path / "groups.csv").read_text() == "path,sex\n"

    def test_no_csv_holds_a_formula_or_a_control_character(self, tmp_path: Path) -> None:
        worst = (WorstError("missed", "=1+1.jpg", "a\x1b[2J.jpg", -0.5),)
        write_results(Results("lfw", "-x", {}, worst_errors=worst), PROVENANCE, tmp_path)
        assert (tmp_path / "worst_errors.csv").read_text() == (
            "kind,probe,other,similarity\nmissed,'=1+1.jpg,a\\x1b[2J.jpg,-0.5\n"
        )

    def test_each_table_is_a_csv_with_flat_columns(self, tmp_path: Path) -> None:
        write_results(FULL, PROVENANCE, tmp_path)

        with (tmp_path / "identification.csv").open(newline="") as file:
            (row,) = csv.DictReader(file)
        assert (row["rank1_hits"], row["rank1_ci95_clustered_low"], row["traditional_rank1_rate"]) == (
            "8",
            "0.4",
            "0.7",
        )
        assert (tmp_path / "histograms.csv").read_text() == "kind,low,high,count\nmated,0.0,0.5,3\nmated,0.5,1.0,7\n"
        assert (tmp_path / "curves.csv").read_text().splitlines()[1] == "roc,N = 100,0.1,0.9"

    def test_a_table_of_an_earlier_run_does_not_stay(self, tmp_path: Path) -> None:
        write_results(FULL, PROVENANCE, tmp_path)
        write_results(replace(FULL, refusals=()), PROVENANCE, tmp_path)

        assert not (tmp_path / "refusals.csv").exists()


class TestRefusedFiles:
    def changed(self, folder: Path, **changes: object) -> Path:
        path = write_results(FULL, PROVENANCE, folder)
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        return path

    def test_a_newer_file_is_not_guessed_at(self, tmp_path: Path) -> None:
        with pytest.raises(ResultsError, match=r"results\.json was written by a newer faceid .*update"):
            read_results(self.changed(tmp_path, schema_version=2))

    @pytest.mark.parametrize("content", ["[]", "{}", '{"schema_version": 1}', '{"schema_version": true}', '"text"'])
    def test_foreign_json_is_named(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "other.json").write_text(content)

        with pytest.raises(ResultsError, match=r"other\.json was not written by"):
            read_results(tmp_path / "other.json")

    @pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00", b"[" * 100_000])
    def test_what_is_not_json_is_named(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "results.json").write_bytes(content)

        with pytest.raises(ResultsError, match=r"results\.json cannot be read as results"):
            read_results(tmp_path)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ResultsError, match=r"nothing.*No such file"):
            read_results(tmp_path / "nothing")

    @pytest.mark.parametrize(
        ("changes", "place"),
        [
            (
                {"identification": [{"distractors": "many"}]},
                r"got `str` - at `\$\.identification\[0\]\.distractors",
            ),
            (
                {"histograms": [{"kind": "odd", "edges": [], "counts": []}]},
                r"'odd' - at `\$\.histograms\[0\]\.kind",
            ),
            (
                {"histograms": [{"kind": "mated", "edges": [], "counts": [0.5]}]},
                r"got `float` .* at `\$\.histograms\[0\]\.counts",
            ),
            ({"histograms": [{"kind": "mated", "edges": [], "counts": [10**30]}]}, "damaged"),
            (
                {"accuracy": {"rate": 1.0, "standard_error": 0.0, "folds": []}},
                r"`convention` - at `\$\.accuracy\[0\]",
            ),
            ({"histograms": [{"kind": "mated", "edges": [0, 1], "counts": [1, 2]}]}, "2 edges for 2 counts"),
            ({"curves": {"roc": [{"label": "a", "x": [1, 2], "y": [1]}]}}, r"curves\.roc has 2 x and 1 y"),
            ({"seconds": "\ud800"}, "damaged"),
            ({"curves": 7}, r"at `\$\.curves`"),
            ({"more_accuracies": 5}, r"at `\$\.accuracy\[1\]`"),
            ({"seconds": None}, r"Expected `float`, got `null` - at `\$\.seconds`"),
            ({"notes": "text"}, r"at `\$\.notes`"),
            ({"conventions": {"a": 1}}, r"at `\$\.conventions"),
        ],
    )
    def test_a_damaged_file_says_where(self, tmp_path: Path, changes: dict[str, object], place: str) -> None:
        with pytest.raises(ResultsError, match=place):
            read_results(self.changed(tmp_path, **changes))

    def test_an_accuracy_of_an_earlier_release_has_no_counts(self, tmp_path: Path) -> None:
        earlier = {"rate": 0.75, "standard_error": 0.1, "folds": [0.7, 0.8], "convention": "restricted"}
        found, _ = read_results(self.changed(tmp_path, accuracy=earlier))

        assert found.accuracy[0] == MeanAccuracy(0.75, 0.1, (0.7, 0.8), "restricted", None)

    def test_names_of_a_later_release_are_passed_over(self, tmp_path: Path) -> None:
        np.testing.assert_equal(asdict(read_results(self.changed(tmp_path, later=1))[0]), asdict(FULL))
