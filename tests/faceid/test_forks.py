"""Forked workers (gunicorn --preload, Celery, multiprocessing's fork): an answer or one sentence, never a wait."""

import subprocess
import sys
from pathlib import Path

import pytest

from faceid import FaceEngine, Gallery, photos_of_people

PARENT = """
import os, sys
from faceid import FaceEngine, FaceIdError, Gallery, user_threshold
folder, photo = sys.argv[1:]
engine, gallery = FaceEngine(), Gallery.open(folder, writable=True)
ask = lambda engine, gallery: engine.identify(gallery, photo, user_threshold(0.5))[0].decision
assert ask(engine, gallery) == "identified"
vectors = gallery.embeddings().vectors

def in_child(act):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            print("answered", act(), flush=True)
        except FaceIdError as error:
            print(type(error).__name__, error, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

in_child(lambda: ask(engine, gallery))
in_child(lambda: FaceEngine())
in_child(lambda: gallery.revision)
in_child(lambda: gallery.remove(1))
in_child(gallery.close)
in_child(lambda: [one.candidates[0].id for one in Gallery.open(folder).search(vectors, 1)] and "a search")
in_child(lambda: Gallery.open(folder, writable=True))
gallery.remove(1)
print("parent", ask(engine, gallery), gallery.check())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_child_answers_or_says_at_once_what_to_do(
    shipped_engine: FaceEngine, drawn_people: Path, tmp_path: Path
) -> None:
    with Gallery.open(tmp_path / "g", create=shipped_engine.binding) as gallery:
        shipped_engine.enroll(gallery, [one for one in photos_of_people(drawn_people) if one.path.stem != "3"])
    arguments = [sys.executable, "-c", PARENT, str(tmp_path / "g"), str(drawn_people / "person-0002" / "3.jpg")]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    said = ended.stdout.splitlines()
    forked = "ForkedProcess this process was forked from one that had made a FaceEngine"
    opened_before = f"ForkedProcess {tmp_path / 'g'} was opened before this process was forked; open it anew"
    assert said[0].startswith(opened_before) or said[0].startswith(forked)
    assert said[1].startswith(forked)
    assert "`spawn` or `forkserver`" in said[1]
    assert said[2].startswith(opened_before)
    assert said[3].startswith(opened_before), "a child does not write under its parent's lock"
    assert said[4:6] == ["answered None", "answered a search"]
    assert said[6].startswith("GalleryLocked"), "closing in the child left the parent its lock"
    assert said[7] == "parent identified []"
