"""Kills a writer at each of its write steps in turn and looks at what it left.

Run as `python -m tests.indexer.killed_writer DIR`.
The steps are the statements that write, each commit (before and after), the scrubbing of an erase, and the writing,
syncing and renaming of files. Prints JSON: {"steps": n, "failures": [...]}.
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import safetensors.numpy
from sqlalchemy import event
from sqlalchemy.engine import Engine

from indexer.database import Database
from indexer.gallery import Gallery
from tests.indexer.made_up_people import MODEL, OTHER_MODEL, photo, unit_vectors

ERASED = photo("Erased Person", "erased/1")
WORK = [
    ("enrol", lambda gallery, aside: gallery.add([photo("Ann", "a1"), photo("Bob", "b1"), ERASED])),
    ("enrol more", lambda gallery, aside: gallery.add([photo("Ann", "a2"), photo("Cleo", "c1"), photo("Dan", "d1")])),
    ("rename", lambda gallery, aside: gallery.rename(2, "Robert")),
    ("merge", lambda gallery, aside: gallery.merge(4, 1)),
    ("remove", lambda gallery, aside: gallery.remove(2)),
    ("restore", lambda gallery, aside: gallery.add([photo("Robert", "b1"), photo("Robert", "b2")], restore=True)),
    ("remove photos", lambda gallery, aside: gallery.remove_templates([1])),
    ("erase", lambda gallery, aside: gallery.erase(3)),
    ("import", lambda gallery, aside: gallery.import_(aside)),
    ("rebuild", lambda gallery, aside: gallery.rebuild()),
    ("embed again", lambda gallery, aside: gallery.add_embeddings(OTHER_MODEL, all_ids(gallery), new_vectors(gallery))),
    ("switch", lambda gallery, aside: gallery.switch_model(OTHER_MODEL)),
    ("close", lambda gallery, aside: gallery.close()),
]


def all_ids(gallery):
    return [row.id for row in gallery.templates(include_removed=True)]


def new_vectors(gallery):
    return unit_vectors(len(all_ids(gallery)), OTHER_MODEL.dimension)


def main(folder):
    aside = folder / "export"
    with Gallery.create(folder / "elsewhere", MODEL) as elsewhere:
        elsewhere.add([photo("Eve", "e1"), photo("Ann", "a2")])
        elsewhere.export(aside)
    Gallery.create(folder / "empty", MODEL).close()
    shutil.copytree(folder / "empty", folder / "sound")
    with Gallery.open(folder / "sound", writable=True) as sound:
        states = [state(sound)]
        for _, act in WORK[:-1]:
            act(sound, aside)
            states.append(state(sound))
    states.append(states[-1])

    def create(path, acknowledge):
        Gallery.create(path, MODEL).close()
        acknowledge()

    def work(path, acknowledge):
        gallery = Gallery.open(path, writable=True)
        for _, act in WORK:
            act(gallery, aside)
            acknowledge()

    created = kill_at_every_step(folder, None, create, [None, states[0]])
    worked = kill_at_every_step(folder, folder / "empty", work, states)
    sys.stdout.write(json.dumps({"steps": created[0] + worked[0], "failures": created[1] + worked[1]}))


def kill_at_every_step(folder, start, act, states):
    """Let `act` run on a copy of `start` until its first write, its second, ...: how many there are, what broke."""
    failures, step = [], 0
    while True:
        step += 1
        path = folder / "killed"
        shutil.rmtree(path, ignore_errors=True)
        if start is not None:
            shutil.copytree(start, path)
        done, killed = run_until(step, path, act, folder / "acknowledged")
        failures += [f"step {step}, after {done} acknowledged: {what}" for what in wrong(path, done, states)]
        if not killed:
            return step - 1, failures


def run_until(step, path, act, acknowledged):
    """Do the work in a process that dies at its `step`-th write; how many calls had returned, and whether it died."""
    acknowledged.write_bytes(b"")
    child = os.fork()
    if child == 0:
        try:
            die_at(step)
            with acknowledged.open("ab", buffering=0) as log:
                act(path, lambda: log.write(b"."))
            os._exit(0)
        except BaseException as error:  # the parent must see it, not run on as a second parent
            sys.stderr.write(f"step {step}: {error!r}\n")
            os._exit(1)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if not killed and status != 0:
        raise SystemExit(f"the writer failed by itself at step {step}")
    return acknowledged.stat().st_size, killed


def die_at(step):
    left = step

    def count():
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    @event.listens_for(Engine, "before_cursor_execute")
    def before(connection, cursor, statement, parameters, context, executemany):
        if statement.split()[0] in ("INSERT", "UPDATE", "DELETE", "CREATE"):
            count()

    @event.listens_for(Engine, "commit")
    def commit(connection):
        count()

    def around(owner, name):
        original = getattr(owner, name)

        def replacement(*arguments, **options):
            count()
            result = original(*arguments, **options)
            count()
            return result

        setattr(owner, name, replacement)

    around(Engine, "dispose")
    around(Database, "scrub")
    around(safetensors.numpy, "save_file")
    around(os, "fsync")
    around(Path, "replace")
    around(Path, "unlink")


def wrong(path, done, states):
    """What a user would find wrong with the gallery after `done` calls were acknowledged."""
    if not (path / "gallery.db").exists():
        if done:
            yield "the gallery is gone"
        with Gallery.create(path, MODEL):  # nothing half-made stands in the way
            return
    with Gallery.open(path, writable=True) as gallery:
        found = state(gallery)
        if found not in (states[done], states[min(done + 1, len(states) - 1)]):
            yield f"{found} is neither {states[done]} nor the next"
        erased = not gallery.find("Erased Person")
    with Gallery.open(path) as gallery:
        yield from (problem.text for problem in gallery.check())
    leftovers = [file.name for file in path.iterdir() if file.name.startswith(".index")]
    yield from (f"{name} was left behind" for name in leftovers)
    if erased and done >= 8 and len(states) > 2:
        for file in path.iterdir():
            if ERASED.source_digest in file.read_bytes():
                yield f"{file.name} holds an erased digest"


def state(gallery):
    """Everything a user can see, times aside."""
    embeddings = gallery.embeddings()
    return (
        [(one.id, one.name, one.templates, one.removed) for one in gallery.identities(include_removed=True)],
        [(one.id, one.identity_id, one.source, one.removed) for one in gallery.templates(include_removed=True)],
        embeddings.template_ids.tolist(),
        embeddings.vectors.tobytes().hex(),
        gallery.model.digest,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
