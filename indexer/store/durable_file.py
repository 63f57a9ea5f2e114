"""Files that are either the old one or the whole new one, whatever happens while they are written."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from indexer.errors import GalleryError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Hand out a temporary file beside `path`; when the block ends it takes that place, after an fsync.

    Raises GalleryError where the disk does not let it; then nothing has changed and nothing is left behind.
    """
    temporary = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        replace_durably(temporary, path)
    except OSError as error:
        raise GalleryError(f"{path} could not be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def replace_durably(temporary: Path, path: Path) -> None:
    """Put a finished file in another's place so that it survives a power cut: fsync, rename, fsync the directory."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
