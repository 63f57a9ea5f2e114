"""The page's tables are what the command makes of the files beside it, to the last figure."""

import csv
from pathlib import Path

import pytest

from benchmarks.measurements.decisions_page import PAGES, TABLES, with_tables

RESULTS = Path(__file__).parents[3] / "docs" / "results"

CELL = {
    "network": "sphereface", "people from": "LFW", "strangers from": "LFW", "N": "8", "photos": "1", "fusion": "mean",
    "way": "this gallery", "asked": "0.1", "galleries": "1", "searches": "100", "got": "0.08", "least": "0.08",
    "most": "0.08", "count": "1", "both": "1", "said": "0.05 to 0.18",
}  # fmt: skip


def write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_table_is_made_of_the_file_and_the_text_around_it_stays(tmp_path: Path) -> None:
    others = {"N": "24", "galleries": "3", "got": "0.12", "both": "2", "said": "0.06 to 0.16"}
    another = {"way": "the cohort alone", "got": "0.5", "both": "0"}
    write(tmp_path / "asked-got-sphereface.csv", [CELL, CELL | others, CELL | another])
    page = "before\n<!-- table agreement -->\nwhatever was here\n<!-- end -->\nafter\n"
    made = with_tables(page, tmp_path)
    assert made.startswith("before\n<!-- table agreement -->\n\n| network")
    assert made.endswith("|\n\n<!-- end -->\nafter\n")
    assert "| sphereface | LFW      | 12 (8.6 to 12) | 75 % of 4     | 5.5 to 17   |" in made
    assert "whatever" not in made
    assert with_tables(made, tmp_path) == made


def test_rates_that_a_way_refused_are_not_counted(tmp_path: Path) -> None:
    refused = {"asked": "0.01", "got": "", "both": "0", "said": ""}
    write(tmp_path / "asked-got-sphereface.csv", [CELL, CELL | refused])
    (line,) = TABLES["agreement"](tmp_path)
    assert "agrees 1 %" not in line


def test_a_table_that_nobody_knows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        with_tables("<!-- table of nothing -->\n<!-- end -->", tmp_path)


@pytest.mark.parametrize("name", PAGES)
def test_the_pages_have_the_tables_that_their_files_give(name: str) -> None:
    page = (RESULTS / name).read_text(encoding="utf-8")
    assert "<!-- table " in page
    assert with_tables(page, RESULTS) == page, "run `python -m benchmarks.measurements.decisions_page docs/results`"
