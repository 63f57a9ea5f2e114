"""Names that look alike are one name; joiners that are part of a word stay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import InvalidName
from indexer.records import Candidate, clean_name


@pytest.mark.parametrize(
    "spelling",
    [" Bob Lee", "Bob Lee ", "Bob  Lee", "Bob\u00a0Lee", "Bob\u2003Lee", "B\u200bob Lee", "\ufeffBob Lee",
     "Bob\u200d Lee", "\u202eBob Lee", "Bob\u2066 Lee\u2069", "Bo\u00adb Lee"],
)  # fmt: skip
def test_what_looks_like_bob_lee_is_bob_lee(spelling: str) -> None:
    assert clean_name(spelling) == "Bob Lee"


@pytest.mark.parametrize("name", ["نور\u200cالدین", "👩\u200d🚀", "क्\u200dष", 'O\'Hara "Bo"', "田中", "../../outside"])
def test_how_a_name_is_written_stays(name: str) -> None:
    assert clean_name(name) == name


@pytest.mark.parametrize("name", ["", " ", "\u200b", "\u200d", "\u202e", "a\nb", "a\x1bb", "n" * 256, "\udcff"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        clean_name(name)


@given(st.text())
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    try:
        cleaned = clean_name(text)
    except InvalidName:
        return
    assert clean_name(cleaned) == cleaned
    assert cleaned == cleaned.strip()


def test_a_name_that_others_bear_is_read_with_what_tells_it_apart() -> None:
    assert Candidate(3, "Ann", 0.5, 1).label == "Ann"
    assert Candidate(3, "Ann", 0.5, 1, None, True).label == "Ann (#3)"
    assert Candidate(3, "Ann", 0.5, 1, "E-7", True).label == "Ann (E-7)"
