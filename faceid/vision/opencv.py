"""OpenCV, imported without what its loader does to the process: a longer LD_LIBRARY_PATH and another `sys.path`."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SEARCHED = ("LD_LIBRARY_PATH", "PATH")  # where the loader adds its folder; children of the host would inherit it


@contextmanager
def _process_as_it_was() -> Iterator[None]:
    searched = {name: os.environ.get(name) for name in _SEARCHED}
    path, entries = sys.path, list(sys.path)
    try:
        yield
    finally:
        for name, value in searched.items():
            if os.environ.get(name) == value:
                continue
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        path[:] = entries
        sys.path = path


with _process_as_it_was():
    import cv2

__all__ = ["cv2"]
