"""Limits that a process of ours sets itself before it reads what may cost without end. NumPy is not imported here."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

OUT_OF_CPU_TIME = -24
"""How a process ends (SIGXCPU) that took more seconds than it had."""


def limit_this_process(memory: int, seconds: int) -> None:
    """Limit this process to so many bytes beyond what it has, and to so many seconds of CPU, where the system can.

    It can no longer write files either. What it asks for beyond the memory fails as if the machine had no more.
    """
    with suppress(ImportError, OSError, ValueError):
        import resource

        # At the soft limit the signal says why; at the hard one, which must lie higher, the process is just gone.
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        own = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (own + memory, own + memory))
