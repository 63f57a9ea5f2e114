"""An engine and forks: what computes has threads of its own; a fork does not copy them, and a child would wait."""

import os

from indexer.errors import ForkedProcess

_has_threads = False  # an engine was made in this process
_lost_threads = False  # ... in the one that this process was forked from


def require_own_threads() -> None:
    """Note that this process uses an engine; raises ForkedProcess in a child of one that did."""
    global _has_threads
    if _lost_threads:
        raise ForkedProcess(
            "this process was forked from one that had made a FaceEngine, whose threads are not here: start workers "
            "with `spawn` or `forkserver`, or make engines in the workers alone (gunicorn: without --preload)"
        )
    _has_threads = True


def _after_fork_in_child() -> None:
    global _lost_threads
    _lost_threads = _lost_threads or _has_threads


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
