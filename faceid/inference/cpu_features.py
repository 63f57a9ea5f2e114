"""What the processor can do that decides how an embedding is best computed; shown by `faceid doctor`."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

# The names Linux gives them in /proc/cpuinfo; bfloat16 pays with any of the first three (`bf16` is Arm's).
BFLOAT16 = ("amx_bf16", "avx512_bf16", "bf16")
REPORTED = (*BFLOAT16, "amx_int8", "amx_tile", "avx512f", "avx512_vnni", "avx_vnni", "avx2", "asimd")


@cache
def cpu_features() -> frozenset[str]:
    """Return the features of REPORTED that the processor has; empty where the system does not tell (not Linux)."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        name, _, words = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(words.split()) & frozenset(REPORTED)
    return frozenset()


def has_bfloat16() -> bool:
    """Tell whether the processor multiplies bfloat16 natively."""
    return not cpu_features().isdisjoint(BFLOAT16)


def available_cores() -> int:
    """Return how many cores this process may use (its affinity, where the system has one)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
