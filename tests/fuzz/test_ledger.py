"""The ledger of fuzzing adds up."""

from pathlib import Path

from tests.fuzz.ledger import Run, add_run, sums


def test_runs_of_one_target_add_up(tmp_path: Path) -> None:
    ledger = tmp_path / "fuzz.csv"
    for run in (Run("photos", 89.6, 1000, 0), Run("bin", 60, 5, 1), Run("photos", 30.2, 500, 0)):
        add_run(ledger, run)
    assert ledger.read_text().splitlines()[0] == "target,commit,seconds,inputs,unexpected"
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in sums(ledger).splitlines()[2:]] == [
        ["photos", "2", "2", "1,500", "0"],
        ["bin", "1", "1", "5", "1"],
    ]


def test_the_page_shows_the_sums_of_the_ledger() -> None:
    results = Path(__file__).parents[2] / "docs" / "results"
    assert sums(results / "fuzz.csv") in (results / "photos.md").read_text(encoding="utf-8")
