"""Messages in the lines of the terminal they are read in."""

import shutil
import sys
import textwrap


def wrapped(message: str) -> str:
    """Break a message between words where the terminal's line ends; what goes into a file stays one line."""
    if not sys.stderr.isatty():
        return message
    width = shutil.get_terminal_size().columns
    lines = message.split("\n")
    return "\n".join(textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False) for line in lines)
