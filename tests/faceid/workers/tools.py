"""What workers are made of in these tests: they import this file."""

import os
import signal
import time
from pathlib import Path

from indexer.errors import FaceIdError


def make_tool():
    return os.getpid()


def make_nothing():
    raise FaceIdError("there is no model here")


def die_at_once():
    os.kill(os.getpid(), signal.SIGKILL)


def squared(tool, item):
    return item * item


def who_squared(tool, item):
    time.sleep(0.05)
    return tool, item * item


def squared_unless_odd(tool, item):
    if item % 2:
        raise FaceIdError(f"{item} is odd")
    return item * item


def raise_what_cannot_be_sent(tool, item):
    class Local(Exception):
        pass

    raise Local("a reason")


def die_the_first_time(folder, tool, item):
    """Note each time that an item is begun; the worker that begins item 5 first is killed over it."""
    with (Path(folder) / str(item)).open("a") as log:
        log.write("begun\n")
    if item == 5 and (Path(folder) / "5").read_text().count("begun") == 1:
        die_at_once()
    return item * item


def die_over_five(tool, item):
    if item == 5:
        die_at_once()
    return item


def stay(tool, item):
    Path(item).write_text(str(os.getpid()))
    time.sleep(60)


class Unsendable:
    def __reduce__(self):
        raise OSError("image file is truncated")
