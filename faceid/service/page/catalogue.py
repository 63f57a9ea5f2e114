"""All texts of the page, one file a language: a second language is a second file in `words/`."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from starlette.requests import Request

LANGUAGES = ("en", "de")
"""The first is spoken to those who ask for none of them."""
COOKIE = "faceid_language"

_NEARLY_ONE = 0.999
_DECIMAL_POINT = {"en": ".", "de": ","}
_THOUSANDS = {"en": ",", "de": "."}
_PERCENT = "\N{NO-BREAK SPACE}%"


class Words:
    """The texts of one language by their dotted names: `words("people.title", count=3)`."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.texts = _flat(tomllib.loads((files(__package__) / "words" / f"{language}.toml").read_text("utf-8")))

    def __call__(self, name: str, /, **values: object) -> str:
        """Return a text with its values put in; KeyError for a name that there is none of."""
        return self.texts[name].format(**values)

    def known(self, name: str, otherwise: str) -> str:
        """Return a text that outside words lead to (codes, actions); `otherwise` where there is none."""
        return self.texts.get(name, otherwise)

    def number(self, value: float, digits: int) -> str:
        """Return a number as it is written in this language."""
        return f"{value:.{digits}f}".replace(".", _DECIMAL_POINT[self.language])

    def count(self, value: int) -> str:
        """Return a whole number, its thousands apart."""
        return f"{value:,}".replace(",", _THOUSANDS[self.language])

    def percent(self, share: float) -> str:
        """Return a share in per cent, to two digits that count."""
        value = 100 * share
        text = f"{value:.3g}" if value >= 10 else f"{value:.2g}"
        return f"{text.replace('.', _DECIMAL_POINT[self.language])}{_PERCENT}"

    def probability(self, value: float) -> str:
        """Return a probability as a share in per cent; none is ever certain."""
        if value > _NEARLY_ONE:
            return self("identify.above", percent=self.percent(_NEARLY_ONE))
        if value < 1 - _NEARLY_ONE:
            return self("identify.below", percent=self.percent(1 - _NEARLY_ONE))
        return f"{self.number(100 * value, 1 if value > 0.99 or value < 0.01 else 0)}{_PERCENT}"


def words_for(request: Request) -> Words:
    """Return the language that was chosen (in the address, else the cookie), else the browser's, else the first."""
    chosen = request.query_params.get("language") or request.cookies.get(COOKIE)
    return words_in(chosen if chosen in LANGUAGES else _preferred(request.headers.get("accept-language", "")))


@cache
def words_in(language: str) -> Words:
    """Return the texts of a language, read once."""
    return Words(language)


def _preferred(header: str) -> str:
    """Return the language that stands first among ours in an Accept-Language header: browsers list by preference."""
    for part in header.split(","):
        language = part.split(";")[0].strip().lower().split("-")[0]
        if language in LANGUAGES:
            return language
    return LANGUAGES[0]


def _flat(table: dict[str, Any], before: str = "") -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, value in table.items():
        texts |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
    return texts
