"""What may lie in the place of a file: things that are waited for, never end, or are no file at all."""

import os
from pathlib import Path


def put_odd_file(path: Path, kind: str) -> None:
    """Put a `pipe`, a `folder`, a `huge` sparse file or an `endless` device at `path`, where nothing is yet."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "huge":
        path.touch()
        os.truncate(path, 20 << 30)
    else:
        assert kind == "endless"
        path.symlink_to("/dev/zero")
