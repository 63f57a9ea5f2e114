"""Text from outside (names, paths) on its way out: to terminals, tables, CSV files, JSON and error messages."""

import os
import unicodedata

# Not printable by Python's rule, and yet part of how names and emoji are written: the two joiners, and other blanks.
_JOINERS = "\u200c\u200d"
# What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection"): also after a tab or a newline.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def printable(path: str | os.PathLike[str]) -> str:
    """Return the path as text that any JSON file or database takes.

    Bytes that are not UTF-8 appear as `\\xNN`; everything else is kept, newlines and quotes included.
    """
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:  # a text that the locale's encoding of file names lacks: it came from elsewhere
        encoded = os.fspath(path).encode("utf-8", "surrogateescape")
    return encoded.decode("utf-8", "backslashreplace")


def plain(text: str) -> str:
    """Return the text as a terminal may show it: control and direction characters appear as `\\x1b` and `\\u202e`.

    Nothing is obeyed that a file's name contains: no escape sequence, no new line, no change of direction.
    """
    if text.isprintable():
        return text
    return "".join(char if _is_plain(char) else repr(char)[1:-1] for char in text)


def plain_lines(text: str) -> str:
    """Return a message as a terminal may show it, its own new lines kept."""
    return "\n".join(plain(line) for line in text.split("\n"))


def counted(number: int, one: str, many: str) -> str:
    """Return the number with its noun: 1 person, 2,000 people."""
    return f"{number:,} {one if number == 1 else many}"


def csv_cell(text: str) -> str:
    """Return the text as a cell that a spreadsheet takes for text: plain, and no formula (a `'` before it)."""
    return "'" + plain(text) if text.startswith(_FORMULA) else plain(text)


def _is_plain(char: str) -> bool:
    # isprintable() is False for every control, direction, surrogate and unassigned character, and for line separators.
    return char.isprintable() or char in _JOINERS or unicodedata.category(char) == "Zs"
