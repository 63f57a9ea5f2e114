"""Results of a run, whoever wrote them: `faceid benchmark`, or the MegaFace devkit."""

import hashlib
import re
from pathlib import Path

from benchmarks.formats.megaface_devkit import RESULTS_NAME, read_devkit_results
from benchmarks.results.results import DataUsed, Provenance, Results, read_results


def read_run(path: Path) -> tuple[Results, Provenance]:
    """Read results.json (or the one in a folder), or a results file of the devkit, which its name tells.

    Of the devkit's only the file itself is known as provenance. Raises ResultsError or DevkitError.
    """
    if not re.fullmatch(RESULTS_NAME, path.name):
        return read_results(path)
    results = read_devkit_results(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    data = (DataUsed("devkit results", path.name, digest, 1),)
    return results, Provenance(None, data, {}, 0.0, None, "", "")
