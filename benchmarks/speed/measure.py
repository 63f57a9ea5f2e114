"""The speed benchmark: each task in one run beside a bound measured there and beside installed peers."""

import os
import platform
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.demo.people import write_people
from benchmarks.results.provenance import package_versions
from benchmarks.speed.rows import Speed, SpeedRow
from faceid.engine import FaceEngine

SEED = 7


@dataclass(frozen=True)
class Sizes:
    """How much of each task; the defaults take about a minute on two cores."""

    photos: int = 32
    gallery: int = 100_000
    dimension: int = 512
    queries: int = 64
    probes: int = 512
    distractors: int = 50_000


def measure_speed(
    engine: FaceEngine,
    photos: Sequence[Path] | None = None,
    sizes: Sizes = Sizes(),
    say: Callable[[str], None] = lambda _: None,
) -> Speed:
    """Measure detection, embedding, enrolment, search and the MegaFace pass.

    On `photos` (the first `sizes.photos` of them; raises ImageError and NothingToTime as `photo_rows`), or on drawn
    ones; on generated vectors. Timings mean something only on a machine that does nothing else.
    """
    from benchmarks.speed.photo_tasks import photo_rows
    from benchmarks.speed.vector_tasks import megaface_rows, search_rows

    rows: list[SpeedRow] = []
    with tempfile.TemporaryDirectory() as folder:
        say("timing detection, embedding and enrolment")
        if photos is None:
            photos = write_people(Path(folder) / "people", sizes.photos, 1, SEED)
        rows += photo_rows(engine, photos[: sizes.photos])
    say("timing search")
    rows += search_rows(sizes.gallery, sizes.dimension, sizes.queries)
    say("timing the MegaFace pass")
    rows += megaface_rows(sizes.probes, sizes.distractors, sizes.dimension)
    return Speed(
        tuple(rows), machine(), package_versions(), engine.model.spec.name, datetime.now(UTC).isoformat("T", "seconds")
    )


def machine() -> dict[str, str]:
    """Return what the figures depend on: processor, cores that we may use, memory, threads, operating system."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": str(cores),
        "memory": _memory(),
        "threads": str(torch.get_num_threads()),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:  # not Linux
        found = None
    return found[1] if found else platform.processor() or "unknown"


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    except (ValueError, OSError, AttributeError):
        return "unknown"
