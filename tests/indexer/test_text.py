"""Text from outside: shown as it is where that is harmless, as an escape where it is not."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.text import csv_cell, plain, plain_lines, printable


def test_bytes_that_are_not_utf8_are_shown_as_escapes() -> None:
    assert printable(os.fsdecode(b"a\xff\xc3\xa9")) == "a\\xffé"


@pytest.mark.parametrize(
    "kept", ["Zoë", "田中 太郎", "نور\u200cالدین", "👩\u200d🚀", 'O\'Hara "Bo"', "a\u00a0b", "a\u3000b"]
)
def test_names_in_any_script_are_kept(kept: str) -> None:
    assert plain(kept) == kept


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("photo\u202egpj.exe", "photo\\u202egpj.exe"),
        ("a\u2066b\u2069\u200f\u061c", "a\\u2066b\\u2069\\u200f\\u061c"),
        ("a\x9bb\x7f\u2028\ufeff\udcff", "a\\x9bb\\x7f\\u2028\\ufeff\\udcff"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(hostile: str, shown: str) -> None:
    assert plain(hostile) == shown


@given(st.text())
def test_plain_text_is_one_line_that_utf8_can_write(text: str) -> None:
    shown = plain(text)
    assert len(shown.splitlines()) <= 1
    assert not any(char in shown for char in "\x1b\x07\x9b\u202e\u2066")
    shown.encode()


def test_a_message_keeps_its_own_lines() -> None:
    assert plain_lines("one\ntwo\x1b") == "one\ntwo\\x1b"


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_a_spreadsheet_is_given_no_formula(formula: str) -> None:
    assert csv_cell(formula) == "'" + plain(formula)
    assert csv_cell("a" + formula) == plain("a" + formula)
