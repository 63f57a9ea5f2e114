"""Files that are either the old one or the whole new one, whatever happens while they are written."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from indexer.errors import FileNotWritten
from indexer.text import printable

PRIVATE = 0o600
"""The mode of files that hold people's data: readable by their owner alone."""


_OTHER_KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


# What a gallery, or a server, cannot be made again from anything else than a backup.
_THE_TRUTH = ("gallery.db", "gallery.db-wal", "gallery.key", "service.db", "service.db-wal")


def require_file(path: Path) -> None:
    """Raise FileNotWritten where something is at `path`, or where its link leads, that an output must not replace.

    A pipe or a device would be lost, and whoever reads from it would wait for ever; a gallery's own database, with all
    that it holds.
    """
    with _told(path):
        try:
            kind = _OTHER_KINDS.get(stat.S_IFMT(path.stat().st_mode))
        except FileNotFoundError:
            return
    if kind is not None:
        raise FileNotWritten(f"{printable(path)} could not be written: it is a {kind}; give the path of a file")
    if Path(os.path.realpath(path)).name in _THE_TRUTH:
        raise FileNotWritten(
            f"{printable(path)} could not be written: it is a gallery's or a server's own database or key; give the"
            " path of another file"
        )


@contextmanager
def writing(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Do as `replacing` does with a file that the user named: a link stays, and what it leads to is replaced.

    Raises FileNotWritten also for what is no file, before anything is written.
    """
    require_file(path)
    with replacing(Path(os.path.realpath(path)), mode) as temporary:
        yield temporary


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Hand out an empty temporary file beside `path`; when the block ends it takes that place, after an fsync.

    It takes the place of a link, too: in a folder of ours nobody's link leads us elsewhere. Folders that lack are made.
    The umask takes from `mode`, as always. Raises FileNotWritten where the disk does not let it; then nothing has
    changed and nothing is left behind.
    """
    # Names end at 255 bytes, and a letter may take four.
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.tmp")
    try:
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
            yield temporary
            replace_durably(temporary, path)
    finally:
        with suppress(NotADirectoryError):  # a file stands where the folder should be
            temporary.unlink(missing_ok=True)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileNotWritten(f"{printable(path)} could not be written: {error.strerror or error}") from error


def replace_durably(temporary: Path, path: Path) -> None:
    """Put a finished file in another's place so that it survives a power cut: fsync, rename, fsync the directory."""
    _sync(temporary)
    temporary.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
