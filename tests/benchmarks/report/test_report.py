"""The report's page and figures: complete in themselves, honest at the limits, and whatever a file says stays text."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.metrics.rates import rate
from benchmarks.report.curve_figures import CURVE_KINDS, CurveKind, curve_figure, labels_left_out
from benchmarks.report.distractor_figures import prediction_figure, rank1_figure
from benchmarks.report.html_page import figure_url, picture_url
from benchmarks.report.page import write_report
from benchmarks.report.score_figures import histogram_figure
from benchmarks.report.tables import (
    accuracy_table,
    differences,
    identification_table,
    prediction_table,
    verification_table,
)
from benchmarks.report.wording import interval, percent
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
    Refusal,
    Results,
    VerificationRow,
    WorstError,
)

SIZES = (10, 100, 1000)
HOSTILE = "</td><script>alert('$x^')</script>\n\udcff"


def kind(title: str) -> CurveKind:
    return next(one for one in CURVE_KINDS if one.title == title)


def curves(x: list[float], y: list[float]) -> tuple[Curve, ...]:
    return tuple(Curve(f"N = {size:,}", np.array(x), np.array(y)) for size in SIZES)


def results(name: str = "a run", **changes: object) -> Results:
    rates, falling = [0.001, 0.01, 0.1, 1.0], [0.5, 0.25, 0.125, 0.0]
    return replace(
        Results(
            "megaface",
            name,
            {"noise": "raw"},
            identification=tuple(
                IdentificationRow(size, 1, rate(90 - number, 100, (0.7, 0.95)), rate(95, 100), 0, None)
                for number, size in enumerate(SIZES)
            ),
            verification=(VerificationRow(1000, 1, 0.01, rate(80, 100), 0.4, 30, 3000, rate(30, 3000)),),
            open_set=(OpenSetRow(1000, 1, 0.1, rate(12, 100), 0.5, 40, 400, rate(40, 400)),),
            accuracy=(MeanAccuracy(0.95, 0.01, (0.94, 0.96), "best threshold"),),
            predictions=(
                Prediction("rank1", 1000, 0.87, (0.8, 0.9), "tail", 100, 0.88),
                Prediction("rank1", 10**6, 0.12345, (0.1, 0.2), "tail", 100, None),
                Prediction("threshold", 10**6, 0.5, (0.4, 0.6), "synthetic", 100, None),
            ),
            refusals=(Refusal("TAR at FAR 1e-6", 3_000_000, 3000),),
            curves=Curves(
                cmc=curves([1.0, 2.0, 10.0, 100.0], [0.8, 0.9, 0.95, 1.0]),
                traditional_cmc=curves([1.0, 2.0, 10.0, 100.0], [0.8, 0.9, 0.95, 1.0]),
                roc=curves([0.0, *rates], [0.1, 0.5, 0.75, 0.875, 1.0]),
                det=curves(rates, falling),
                fnir_fpir=curves(rates, falling),
            ),
            histograms=(
                Histogram("mated", np.linspace(-1, 1, 5), np.array([0, 1, 5, 4])),
                Histogram("non_mated", np.linspace(-1, 1, 5), np.array([3, 60, 7, 0])),
            ),
        ),
        **changes,
    )


def provenance(name: str = "net", rows: int = 100) -> Provenance:
    data = (DataUsed("probes", "faces.npz", "ab" * 32, rows),)
    return Provenance(ModelUsed(name, "cd" * 32), data, {"numpy": "2.0"}, 12.5, 2**30, "faceid benchmark", "2026-01-02")


def figures(*runs: Results) -> dict[str, Figure]:
    named = [(run.name, run) for run in runs]
    drawn = {one.title: curve_figure(one, named) for one in CURVE_KINDS}
    drawn |= {"rank-1": rank1_figure(named), "histograms": histogram_figure(named)}
    drawn |= {"predictions": prediction_figure(runs[0])}
    return {title: figure for title, figure in drawn.items() if figure}


class TestCurves:
    def test_a_roc_is_drawn_as_it_is_in_percent_without_the_point_that_a_log_axis_lacks(self) -> None:
        figure = curve_figure(kind("ROC"), [("a", results())])

        line = figure.axes[0].get_lines()[0]
        np.testing.assert_allclose(line.get_xdata(), [0.001, 0.01, 0.1, 1.0])
        np.testing.assert_allclose(line.get_ydata(), [50, 75, 87.5, 100])

    def test_a_det_is_logarithmic_both_ways_and_leaves_out_what_is_zero(self) -> None:
        (axes,) = curve_figure(kind("DET"), [("a", results())]).axes

        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), [0.5, 0.25, 0.125])

    def test_on_a_det_the_row_stands_at_what_it_misses(self) -> None:
        (axes,) = curve_figure(kind("DET"), [("a", results())]).axes

        (bar,) = [one for one in axes.containers if "asked rate" in one.get_label()]
        np.testing.assert_allclose(bar.lines[0].get_xydata(), [[0.01, 0.2]])

    def test_the_rule_of_three_is_marked_where_the_trials_end(self) -> None:
        (axes,) = curve_figure(kind("ROC"), [("a", results())]).axes

        limits = [line.get_xdata()[0] for line in axes.get_lines() if list(line.get_ydata()) == [0, 1]]
        assert limits == [3 / 3000]

    def test_several_runs_share_a_panel_for_each_label(self) -> None:
        one, two = results("one"), results("two")
        figure = curve_figure(kind("CMC"), [("one", one), ("two", two)])

        assert [axes.get_title() for axes in figure.axes] == ["N = 10", "N = 100", "N = 1,000"]
        assert all(len(axes.get_lines()) == 2 for axes in figure.axes)

    def test_curves_that_are_called_after_their_runs_share_a_panel(self) -> None:
        runs = [
            (name, results(name, curves=Curves(roc=(Curve(label, np.array([0.1, 1.0]), np.array([0.5, 1.0])),))))
            for name, label in (("one", "one"), ("two", "two"))
        ]

        (axes,) = curve_figure(kind("ROC"), runs).axes

        assert [line.get_label() for line in axes.get_lines()[:2]] == ["one", "two"]

    def test_a_curve_without_a_point_to_show_is_no_figure(self) -> None:
        empty = Curve("N = 10", np.array([0.0]), np.array([0.0]))

        assert curve_figure(kind("DET"), [("a", results(curves=Curves(det=(empty,))))]) is None

    def test_what_is_too_much_for_a_figure_is_counted(self) -> None:
        many = tuple(Curve(f"{number}", np.array([1.0]), np.array([0.5])) for number in range(11))
        runs = [("a", results(curves=Curves(cmc=many)))]

        assert labels_left_out(kind("CMC"), runs) == 3
        assert len(curve_figure(kind("CMC"), runs).axes[0].get_lines()) == 8

    def test_thinning_keeps_both_ends_and_the_shape(self) -> None:
        x = np.geomspace(1e-6, 1, 60_000)
        runs = [("a", results(curves=Curves(roc=(Curve("N", x, x**0.1),))))]

        line = curve_figure(kind("ROC"), runs).axes[0].get_lines()[0]

        assert len(line.get_xdata()) < 2000
        assert (line.get_xdata()[0], line.get_xdata()[-1]) == (x[0], x[-1])
        np.testing.assert_allclose(np.interp(x, line.get_xdata(), line.get_ydata()), 100 * x**0.1, rtol=1e-3)


class TestFigures:
    @pytest.mark.slow
    @pytest.mark.parametrize("runs", [1, 3])
    def test_no_label_and_no_legend_lies_on_an_axis_or_on_another(self, runs: int) -> None:
        long = "a run whose name is rather long, as names of runs are"
        for title, figure in figures(*(results(f"{long} {number}") for number in range(runs))).items():
            figure.draw_without_rendering()
            boxes = [axes.get_tightbbox() for axes in figure.axes]
            boxes += [legend.get_window_extent() for legend in figure.legends]
            for number, box in enumerate(boxes):
                assert box.x0 > -1, title
                assert box.x1 < figure.bbox.x1 + 1, title
                for other in boxes[:number]:
                    assert not box.padded(-1).overlaps(other.padded(-1)), title

    def test_bars_of_rank1_reach_over_the_intervals_of_all_sets(self) -> None:
        rows = (
            IdentificationRow(10, 1, rate(80, 100, (0.7, 0.9)), None, 0, None),
            IdentificationRow(10, 2, rate(90, 100, (0.85, 0.95)), None, 0, None),
        )
        (axes,) = rank1_figure([("a", results(identification=rows))]).axes

        (bar,) = axes.containers
        np.testing.assert_allclose(bar.lines[0].get_ydata(), [85])
        np.testing.assert_allclose(bar.lines[2][0].get_segments()[0][:, 1], [70, 95])

    def test_predictions_are_dashed_and_measurements_solid(self) -> None:
        panel = prediction_figure(results()).axes[0]

        styles = {
            line.get_label() if not line.get_label().startswith("_") else "prediction": line.get_linestyle()
            for line in panel.get_lines()
            if line.get_linestyle() != "None"
        }
        assert styles == {"measured": "-", "prediction": "--"}
        assert [text for text in panel.get_legend_handles_labels()[1] if "PREDICTED" in text]

    def test_predicted_thresholds_go_on_from_those_that_were_measured(self) -> None:
        prediction = Prediction("threshold at FPIR 0.1", 10**6, 0.6, (0.5, 0.7), "tail", 1000, None)

        (panel,) = prediction_figure(results(predictions=(prediction,))).axes

        (line,) = [line for line in panel.get_lines() if line.get_label() == "measured"]
        np.testing.assert_allclose(line.get_xydata(), [[1000, 0.5]])

    def test_each_histogram_has_the_area_one(self) -> None:
        axes = histogram_figure([("a", results())]).axes[0]

        for patch in axes.patches:
            values, edges, _ = patch.get_data()
            assert values @ np.diff(edges) == pytest.approx(1)

    def test_the_same_figure_gives_the_same_bytes(self) -> None:
        first, second = (figure_url(rank1_figure([("a", results())])) for _ in range(2))

        assert first == second

    @pytest.mark.slow
    def test_hostile_labels_are_drawn_as_text(self) -> None:
        hostile = results(HOSTILE, curves=Curves(roc=(Curve(HOSTILE, np.array([0.1, 1]), np.array([0.5, 1])),) * 2))

        for figure in figures(hostile, replace(hostile, name="$")).values():
            assert figure_url(figure).startswith("data:image/svg+xml;base64,")


class TestTables:
    def test_a_row_has_its_counts_and_both_intervals(self) -> None:
        table = identification_table([("a", results())])

        row = dict(zip(table.head, table.rows[0], strict=True))
        low, high = rate(90, 100).ci95
        assert row["counted"] == "90 of 100"
        assert row["95 %, naive"] == f"{100 * low:.1f} to {100 * high:.1f} %"
        assert row["95 %, clustered"] == "70.0 to 95.0 %"

    def test_an_interval_that_was_not_computed_is_not_made_up(self) -> None:
        table = verification_table([("a", results())])

        assert dict(zip(table.head, table.rows[0], strict=True))["95 %, clustered"] == "not computed"

    def test_an_accuracy_has_the_counts_of_its_pairs_where_it_has_any(self) -> None:
        counted = MeanAccuracy(0.95, 0.01, (0.94, 0.96), "exact", rate(190, 200, (0.9, 0.99)))
        averaged = MeanAccuracy(0.9, 0.01, (0.9, 0.9), "mean of two galleries")

        table = accuracy_table([("a", results(accuracy=(counted, averaged)))])

        assert table.head[-3:] == ("counted", "95 %, naive", "95 %, clustered")
        low, high = rate(190, 200).ci95
        assert table.rows[0][-3:] == ("190 of 200", f"{100 * low:.1f} to {100 * high:.1f} %", "90.0 to 99.0 %")
        assert table.rows[1][-3:] == ("", "", "")
        assert "counted" not in accuracy_table([("a", results(accuracy=(averaged,)))]).head

    def test_predictions_are_in_a_table_of_their_own(self) -> None:
        measured = identification_table([("a", results())])
        foretold = prediction_table([("a", results())])

        assert "PREDICTED" in foretold.head
        assert not any("1,000,000" in row for row in measured.rows)
        assert [row[-1] for row in foretold.rows] == ["yes", "", ""]

    def test_several_runs_are_told_apart_by_their_names(self) -> None:
        table = identification_table([("one", results()), ("two", results())])

        assert table.head[0] == "run"
        assert {row[0] for row in table.rows} == {"one", "two"}

    def test_runs_that_were_not_made_alike_are_told_so(self) -> None:
        one, two = ("one", results()), ("two", results(conventions={"noise": "r-drop"}))

        assert differences([one, one], [provenance()] * 2) == []
        assert differences([one, two], [provenance(), provenance(rows=99)]) == [
            "the convention “noise”",
            "the data used as probes (100 and 99 rows)",
        ]


class TestShares:
    @given(st.floats(0, 1))
    def test_only_0_and_1_read_as_0_and_100_percent(self, share: float) -> None:
        number = float(percent(share).removesuffix(" %"))

        if 1e-11 < share < 1 - 1e-11:
            assert 0 < number < 100
        assert number == pytest.approx(100 * share, rel=0.06, abs=1e-9)

    def test_they_have_the_digits_that_tell_them_from_the_limits(self) -> None:
        assert [percent(share) for share in (0, 1, 0.9875, 0.9997, 0.00012, 0.5)] == [
            "0 %",
            "100 %",
            "98.8 %",
            "99.970 %",
            "0.012 %",
            "50.0 %",
        ]
        assert interval((0.0, 0.0183)) == "0 to 1.8 %"


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report([(results(), provenance())], tmp_path_factory.mktemp("page")).read_text()


class TestPage:
    @pytest.mark.slow
    def test_it_holds_everything_that_it_shows(self, html: str) -> None:
        assert not re.search(r"(?:src|href)=\"(?!data:|#)", html)
        assert "url(" not in html
        assert html.count("data:image/svg+xml;base64,") == 8  # five curves, rank-1, histograms, predictions

    def test_figures_refusals_conventions_and_digests_are_on_it(self, html: str) -> None:
        for text in (
            "90 of 100",
            "TAR at FAR 1e-6",
            "3,000,000",
            "noise",
            "cdcdcdcd",
            "abababab",
            "1.00 GiB",
            "95.0 %",
        ):
            assert text in html

    def test_whatever_a_file_says_is_text(self, tmp_path: Path) -> None:
        hostile = Results(
            HOSTILE,
            HOSTILE,
            {HOSTILE: HOSTILE},
            predictions=(Prediction(HOSTILE, 10, 0.5, (0.4, 0.6), HOSTILE, 5, None),),
            notes=(HOSTILE,),
            refusals=(Refusal(HOSTILE, 1, 1),),
            worst_errors=(WorstError("missed", HOSTILE, HOSTILE + "\0", 0.1),),
            accuracy=(MeanAccuracy(0.5, 0.1, (), HOSTILE),),
        )
        origin = replace(provenance(HOSTILE), command=HOSTILE, versions={HOSTILE: HOSTILE})

        html = write_report([(hostile, origin), (hostile, origin)], tmp_path).read_text()

        assert "<script" not in html
        assert "&lt;script&gt;" in html

    def test_worst_errors_are_shown_where_their_photos_can_be_read(self, tmp_path: Path) -> None:
        photo = tmp_path / "one.jpg"
        Image.new("RGB", (300, 200), "red").save(photo)
        errors = (
            WorstError("missed", str(photo), str(tmp_path / "gone.jpg"), 0.1),
            WorstError("false_accept", str(photo), str(photo), 0.7),
        )

        html = write_report([(Results("lfw", "a run", {}, worst_errors=errors), provenance())], tmp_path).read_text()

        assert html.count("data:image/jpeg;base64,") == 3
        assert html.count("no picture") == 1
        assert picture_url(photo, 160) in html

    def test_runs_of_one_name_are_told_apart(self, tmp_path: Path) -> None:
        same = Results("lfw", "run", {})
        html = write_report([(same, provenance("net")), (same, provenance("other"))], tmp_path).read_text()

        assert "run, net" in html
        assert "run, other" in html

    def test_results_without_anything_make_a_page(self, tmp_path: Path) -> None:
        empty = Provenance(None, (), {}, 0.0, None, "", "")

        html = write_report([(Results("lfw", "empty", {}), empty)], tmp_path).read_text()

        assert "features were given" in html
        assert "data:image" not in html
