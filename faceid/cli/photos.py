"""Photos as a command takes them: paths, a list of paths in a file, and `-` for standard input."""

import codecs
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from faceid.cli.output import say

if TYPE_CHECKING:
    from io import BufferedReader

    from faceid.vision.picture import Picture

AnyFunction = Callable[..., Any]
STDIN = Path("-")
_BLOCK = 2**16  # bytes of a list that are read at once: more than a path is long, so that the first shows what ends it


def verbose_option(function: AnyFunction) -> AnyFunction:
    """Add `--verbose`: what a listing of photos passes over is told, a line each."""
    return click.option(
        "--verbose",
        is_flag=True,
        expose_value=False,
        callback=_tell_what_is_passed_over,
        help="Also list what is passed over: thumbnails, sidecars, hidden files.",
    )(function)


def _tell_what_is_passed_over(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    if not value:
        return
    listing = logging.getLogger("faceid.vision.photo_list")
    level, handler = listing.level, _Teller()
    listing.setLevel(logging.INFO)
    listing.addHandler(handler)

    def leave_as_it_was() -> None:
        listing.removeHandler(handler)
        listing.setLevel(level)

    ctx.call_on_close(leave_as_it_was)


class _Teller(logging.Handler):
    """Shows log records to the person at the terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def photos_arguments(function: AnyFunction) -> AnyFunction:
    """Add PHOTOS and `--from-file`."""
    argument = click.argument("photos", nargs=-1, type=click.Path(path_type=Path))
    option = click.option(
        "--from-file",
        "list_file",
        type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
        help="Also the photos that this file lists, a path a line (or ended by NUL); - reads the list from stdin.",
    )
    return argument(option(function))


def pictures(photos: tuple[Path, ...], list_file: Path | None, written: Path | None = None) -> Iterator["Picture"]:
    """Return the pictures of PHOTOS and of the list; PHOTOS `-` is one photo on standard input.

    What lies in `written`, a folder below one of PHOTOS to which the command itself writes pictures, is none of them.
    It is said where there is no picture at all. Raises click.UsageError where there is nothing to take, or standard
    input is to be both.
    """
    if not photos and list_file is None:
        raise click.UsageError("give photos, or a list of them with --from-file")
    if STDIN in photos and list_file == STDIN:
        raise click.UsageError("standard input is either one photo (-) or a list (--from-file -)")

    def listed() -> Iterator["Picture"]:
        given = ([picture_of(path)] if path == STDIN else _pictures_in(path, written) for path in photos)
        lines = (_pictures_in(path, written) for path in (() if list_file is None else _lines(list_file)))
        none = True
        for picture in chain.from_iterable(chain(given, lines)):
            none = False
            yield picture
        if none:
            say("There is no photo in what was given.")

    return listed()


def _pictures_in(path: Path, written: Path | None) -> Iterator["Picture"]:
    from faceid.vision.images import is_folder
    from faceid.vision.photo_list import photos_in

    if written is None or not is_folder(path):
        return photos_in(path)
    folder, ours = (Path(os.path.realpath(one)) for one in (path, written))
    if folder not in ours.parents:
        return photos_in(path)
    below = path / ours.relative_to(folder)
    return (one for one in photos_in(path) if one.path is None or below not in one.path.parents)


def picture_of(path: Path) -> "Picture":
    """Return the picture of one path; `-` is a photo on standard input."""
    from faceid.vision.picture import Picture

    return Picture(sys.stdin.buffer.read(), "stdin") if path == STDIN else Picture(path)


def _lines(list_file: Path) -> Iterable[Path]:
    """Yield paths as they come, bytes as in file names: of lines, or of what `find -print0` writes."""
    with cast("BufferedReader", click.open_file(str(list_file), "rb")) as file:
        block = file.read1(_BLOCK)
        if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # its zeros would end paths, down to "/"
            raise click.UsageError(f"the list {list_file} is UTF-16; save it as UTF-8")
        ended_by = b"\0" if b"\0" in block else b"\n"  # a name may hold line breaks where NUL ends it
        rest = block.removeprefix(codecs.BOM_UTF8)
        while block:
            *whole, rest = rest.split(ended_by)
            yield from _paths(whole, ended_by)
            block = file.read1(_BLOCK)
            rest += block
        yield from _paths([rest], ended_by)


def _paths(names: Iterable[bytes], ended_by: bytes) -> Iterator[Path]:
    for name in names:
        if path := name if ended_by == b"\0" else name.rstrip(b"\r"):
            yield Path(os.fsdecode(path))
