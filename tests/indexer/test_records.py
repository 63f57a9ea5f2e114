"""Names that look alike are one name; joiners that are part of a word stay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import InvalidName
from indexer.records import Candidate, clean_name


@pytest.mark.parametrize(
    "spelling",
    [" Bob Lee", "Bob Lee ", "Bob  Lee", "Bob\u00a0Lee", "Bob\u2003Lee", "B\u200bob Lee", "\ufeffBob Lee",
     "Bob\u200d Lee", "\u202eBob Lee", "Bob\u2066 Lee\u2069", "Bo\u00adb Lee", "Bob\u034f Lee", "Bob\ufe0f Lee",
     "\u115fBob Lee", "Bob Lee\u3164", "B\u17b4ob Lee", "Bob\u180b Lee", "\u2800Bob Lee", "Bob Lee\U000e0101",
     "Bob\u2065 Lee", "\ufff0Bob Lee", "Bob Lee\U000e0000", "Bob\U000e0fff Lee"],
)  # fmt: skip
def test_what_looks_like_bob_lee_is_bob_lee(spelling: str) -> None:
    assert clean_name(spelling) == "Bob Lee"


@pytest.mark.parametrize("name", ["نور\u200cالدین", "👩\u200d🚀", "क्\u200dष", 'O\'Hara "Bo"', "田中", "../../outside"])
def test_how_a_name_is_written_stays(name: str) -> None:
    assert clean_name(name) == name


@pytest.mark.parametrize("word", ["محمد", "Ng\u0303"])
@pytest.mark.parametrize("joiner", ["\u200c", "\u200d"])
def test_a_joiner_that_joins_nothing_makes_no_other_person(word: str, joiner: str) -> None:
    assert clean_name(word + joiner) == clean_name(word)
    assert clean_name(f"{word}{joiner} Lee") == clean_name(f"{word} Lee")


@pytest.mark.parametrize(
    "name", ["", " ", "\u3164", "\u2800\u034f", "\u200b", "\u200d", "\u202e", "a\nb", "a\x1bb", "n" * 256, "\udcff"]
)
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


def test_no_two_people_have_one_label() -> None:
    people = [(1, "Bob", "#2"), (2, "Bob", None), (3, "Bob (E1)", None), (4, "Bob", "E1"), (5, "Bob", "E1) (#3")]
    labels = [Candidate(id_, name, 0.5, 1, external, name == "Bob").label for id_, name, external in people]
    assert labels == ["Bob (#1)", "Bob (#2)", "Bob (E1) (#3)", "Bob (E1)", "Bob (#5)"]
