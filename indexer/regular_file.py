"""Regular files, and nothing else, opened for reading: a pipe in a file's place waits for ever, a device never ends."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_regular(path: Path, *, follow: bool = True) -> BufferedReader:
    """Open a file for reading; without `follow` not through a link. Raises OSError, also for what is no regular file.

    Nothing is waited for.
    """
    # Windows has only the last of these; elsewhere a descriptor is closed on exec by itself.
    ways = ["O_NONBLOCK", "O_BINARY"] if follow else ["O_NONBLOCK", "O_BINARY", "O_NOFOLLOW"]
    file = os.open(path, os.O_RDONLY | sum(getattr(os, way, 0) for way in ways))
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(file, "rb")


def read_regular(path: Path, most: int, *, follow: bool = True) -> bytes:
    """Read a file of at most `most` bytes. Raises OSError, as `open_regular` and for a larger one."""
    with open_regular(path, follow=follow) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= most:
            content = file.read(size + 1)  # `most` would ask for so much memory
            if len(content) > size:  # it grows, or is one of those that state no size
                content += file.read(most + 1 - len(content))
            if len(content) <= most:
                return content
    raise OSError(errno.EFBIG, f"larger than {most:,} bytes", str(path))
