"""Files that are either the old one or the whole new one, whatever happens while they are written."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from indexer.errors import FileNotWritten
from indexer.text import printable

PRIVATE = 0o600
"""The mode of files that hold people's data: readable by their owner alone."""


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Hand out an empty temporary file beside `path`; when the block ends it takes that place, after an fsync.

    Folders that lack are made. The umask takes from `mode`, as always. Raises FileNotWritten where the disk does not
    let it; then nothing has changed and nothing is left behind.
    """
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        yield temporary
        replace_durably(temporary, path)
    except OSError as error:
        raise FileNotWritten(f"{printable(path)} could not be written: {error.strerror or error}") from error
    finally:
        with suppress(NotADirectoryError):  # a file stands where the folder should be
            temporary.unlink(missing_ok=True)


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
