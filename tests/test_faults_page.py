"""The page of faults names a test for every one of them, and each of these tests is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "results" / "faults.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/\S+\.py)::(\w+)`", PAGE)))


def names_in(file: Path) -> set[str]:
    """The names of a file's test functions, those of its classes included."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_fault_has_its_row_and_every_row_a_test() -> None:
    rows = re.findall(r"^\| (\d+) \|.*\| `tests/\S+::\w+` \|$", PAGE, re.MULTILINE)
    assert [int(number) for number in rows] == list(range(1, 55))
    assert all(
        "`tests/" in line for line in PAGE.splitlines() if line.startswith("| ") and "what was found" not in line
    )


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_test_that_the_page_names_is_there(file: str, name: str) -> None:
    assert name in names_in(ROOT / file)
