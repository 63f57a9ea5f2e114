"""In somebody else's program: each thing that a process has one of is as it was after all that an engine does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measurements.host_globals import OF_LIBRARIES, OF_PYTHON

OWN, BARE = "with settings of its own", "that imported NumPy alone"
CASES = [(OWN, name) for name in (*OF_PYTHON, *OF_LIBRARIES)] + [(BARE, name) for name in OF_PYTHON]

# The host reads its globals before anything of ours is imported, and again after each step.
PROGRAM = """
import json, sys
from pathlib import Path
from benchmarks.measurements.host_globals import changes, import_libraries, settle_in, watch

host, people, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
if host == "with settings of its own":
    import_libraries()
    settle_in()
read = watch()
before = read()
changed = {}

def look(step):
    for name, what in changes(before, read()).items():
        changed.setdefault(name, f"{step}: {what}")

import faceid
from faceid import FaceEngine, Gallery, calibrate_gallery, identification_threshold, photos_of_people, user_threshold
look("importing faceid")
engine = FaceEngine()
look("making an engine")
photos = list(photos_of_people(people))
asked = [one for one in photos if one.path.stem == "3"]
with Gallery.open(folder, create=engine.binding) as gallery:
    enrolled = engine.enroll(gallery, [one for one in photos if one.path.stem != "3"])
    assert all(one.status == "enrolled" for one in enrolled), enrolled
    look("enrolling")
    threshold = identification_threshold(engine.model, gallery, fpir=0.1)
    answers = engine.identify(gallery, [one.path for one in asked], threshold)
    assert [one.candidates[0].name for one in answers] == [one.path.parent.name for one in asked], answers
    look("identifying")
    assert engine.verify(asked[0].path, photos[0].path, user_threshold(0.5)).same
    look("verifying")
    answers[0].record()
    assert engine.analyse(asked[0].path.read_bytes())[0].faces
    look("analysing bytes")
    gallery.remove(1)
    gallery.undo()
    gallery.erase(2)
    gallery.rebuild()
    gallery.flush()
    assert gallery.check(deep=True) == []
    look("curating")

import numpy as np
from indexer.search.certified_search import Part, search
from indexer.search.shortlist import Segment
vectors = np.random.default_rng(0).standard_normal((40_000, 64)).astype(np.float32)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
parts = [Part(Segment(np.arange(40_000), vectors), np.arange(40_000))]
for kind, fast in [("flat", False), ("int8", False), ("pq", True)]:
    found = search(parts, vectors[:70], 1, kind=kind, fast=fast)
    assert (found.ids[:, 0] == np.arange(70)).all()
    look(f"searching with {kind}")
print(json.dumps({"read": sorted(before), "changed": changed, "torch": "torch" in sys.modules}))
"""


@pytest.fixture(scope="module")
def ended(drawn_people: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, str]]]:
    """Each host's last words: which globals it read, and which were changed by what."""
    processes = {
        host: subprocess.Popen(
            [sys.executable, "-c", PROGRAM, host, str(drawn_people), str(tmp_path_factory.mktemp("guest") / "gallery")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for host in (OWN, BARE)
    }
    said = {}
    for host, process in processes.items():
        words, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert errors == "", "a guest does not speak"
        said[host] = json.loads(words)
    return said


@pytest.mark.slow
@pytest.mark.parametrize(("host", "name"), CASES)
def test_an_engine_leaves_its_host_as_it_was(ended: dict[str, dict[str, dict[str, str]]], host: str, name: str) -> None:
    if name not in ended[host]["read"]:
        pytest.skip("that library is not installed")
    assert name not in ended[host]["changed"], ended[host]["changed"][name]


@pytest.mark.slow
def test_a_host_without_torch_gets_none(ended: dict[str, dict[str, dict[str, str]]]) -> None:
    assert not ended[BARE]["torch"]
