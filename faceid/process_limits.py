"""Processes of ours for what may cost without end: how they are started, and the limits they set themselves.

NumPy is not imported here.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

OUT_OF_CPU_TIME, OUT_OF_TIME = -24, 124
"""How a process ends that took more seconds than it had: by SIGXCPU, or where there is none."""


def python_running(module: str) -> list[str]:
    """Return the command of a Python process that runs `main` of one of our modules.

    `-I` keeps the environment and the current folder out, so it is told where the modules are.
    """
    program = f"import sys, json; sys.path[:] = json.loads(sys.argv[1]); from {module} import main; main()"
    return [sys.executable, "-I", "-c", program, json.dumps(sys.path)]


def limit_this_process(memory: int, seconds: int) -> None:
    """Limit this process to so many bytes beyond what it has, and to so many seconds of CPU, where the system can.

    Elsewhere the seconds are those of a clock. It can no longer write files either. What it asks for beyond the memory
    fails as if the machine had no more.
    """
    try:
        import resource
    except ImportError:
        clock = threading.Timer(seconds, os._exit, [OUT_OF_TIME])
        clock.daemon = True
        clock.start()
        return
    # At the soft limit the signal says why; at the hard one, which must lie higher, the process is just gone.
    limits = {resource.RLIMIT_CPU: (seconds, seconds + 1), resource.RLIMIT_CORE: (0, 0), resource.RLIMIT_FSIZE: (0, 0)}
    with suppress(OSError):
        own = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        limits[resource.RLIMIT_AS] = (own + memory, own + memory)
    for what, (soft, hard) in limits.items():
        with suppress(OSError, ValueError):  # one that cannot be set, or is lower already, leaves the others
            resource.setrlimit(what, (soft, hard))
