"""The texts: the same in every language, and a word for everything that the server may say."""

import hashlib
import re
from importlib.resources import files
from string import Formatter
from typing import get_args

import pytest

from faceid.explanations import _EXPLANATIONS
from faceid.records import Decision, EnrollmentStatus, JobKind, JobState
from faceid.service.page.catalogue import LANGUAGES, words_in
from faceid.service.problems import CODES

PAGE = files("faceid.service.page")


def fields(text: str) -> set[str | None]:
    return {field for _, field, _, _ in Formatter().parse(text) if field is not None}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_every_text_with_the_same_values_in_it(language: str) -> None:
    english, other = words_in("en").texts, words_in(language).texts
    assert english.keys() == other.keys()
    assert {name: fields(text) for name, text in english.items()} == {n: fields(t) for n, t in other.items()}
    assert all(text.strip() == text != "" for text in other.values())


def test_there_are_words_for_every_code() -> None:
    texts = words_in("en").texts
    wanted = [f"problem.{code}" for code in CODES]
    wanted += [f"reason.{code}" for code in _EXPLANATIONS]
    wanted += [f"status.{status}" for status in get_args(EnrollmentStatus)]
    wanted += [f"kind.{kind}" for kind in get_args(JobKind)] + [f"state.{state}" for state in get_args(JobState)]
    wanted += [f"identify.{decision}" for decision in set(get_args(Decision)) - {"identified", "unknown"}]
    assert not [name for name in wanted if name not in texts]


def test_templates_hold_no_text_of_their_own() -> None:
    for template in (PAGE / "templates").iterdir():
        bare = re.sub(r"{#.*?#}|{%.*?%}|{{.*?}}|<[^>]*>|&\w+;", " ", template.read_text("utf-8"), flags=re.DOTALL)
        assert not re.findall(r"[A-Za-z]{3,}", bare), template.name


def test_numbers_are_written_as_the_language_does() -> None:
    english, german = words_in("en"), words_in("de")
    assert (english.number(0.5134, 3), german.number(0.5134, 3)) == ("0.513", "0,513")
    assert (english.count(12345), german.count(12345)) == ("12,345", "12.345")
    assert [english.percent(share) for share in (0.1, 0.003, 0.00012)] == ["10\xa0%", "0.3\xa0%", "0.012\xa0%"]
    assert [english.probability(p) for p in (1.0, 0.0, 0.5)] == ["above 99.9\xa0%", "below 0.1\xa0%", "50\xa0%"]


def test_what_is_vendored_is_what_its_makers_published() -> None:
    static = PAGE / "static"
    listed = [line.split() for line in (static / "checksums.sha256").read_text().splitlines()]
    assert [name for _, name in listed] == ["htmx.min.js", "pico.classless.min.css"]
    for digest, name in listed:
        assert hashlib.sha256((static / name).read_bytes()).hexdigest() == digest
        assert name in (static / "LICENCES").read_text("utf-8")
