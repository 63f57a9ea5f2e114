"""A folder and a server, driven by the same commands: every answer is the same, errors included."""

import itertools
import os
import re
import shutil
import tempfile
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from benchmarks.measurements.durability.scenario import calibration
from indexer.errors import FaceIdError
from indexer.gallery import Gallery
from indexer.store.place import place_of
from tests.indexer.made_up_people import MODEL, OTHER_MODEL, photo, unit_vectors
from tests.postgres_server import url_of

pytest.importorskip("psycopg", reason="psycopg is not installed (the extra postgres)")

_numbers = itertools.count()
_TIMES = {"created_at", "at"}  # a second may pass between the two

NAMES = st.sampled_from(["Ann", "Bob", "Zoë Ö"])
EXTERNAL = st.sampled_from([None, None, "7"])
SOURCES = st.lists(st.sampled_from([f"photo{i}" for i in range(6)]), min_size=1, max_size=3)
IDS = st.integers(1, 8)
COMMANDS = st.one_of(
    st.tuples(st.just("add"), NAMES, EXTERNAL, SOURCES, st.booleans()),
    st.tuples(st.sampled_from(["remove", "restore", "erase", "find", "templates_of"]), IDS),
    st.tuples(st.sampled_from(["merge", "move"]), IDS, IDS),
    st.tuples(st.just("rename"), IDS, NAMES),
    st.tuples(st.just("remove_templates"), st.lists(IDS, min_size=1, max_size=2)),
    st.tuples(st.just("undo"), st.none() | IDS),
    st.tuples(st.sampled_from(["purge", "flush", "reopen", "calibrate", "keep", "forget", "reject", "reembed"])),
    st.tuples(st.just("fusion"), st.sampled_from(["max", "mean"])),
)


class BothStores(RuleBasedStateMachine):
    """`database` is set by the test: the URL of a server's database."""

    database = ""

    @initialize(fusion=st.sampled_from(["max", "mean"]))
    def create(self, fusion):
        self.home = Path(tempfile.mkdtemp())
        server = place_of(url_of(self.database, f"two{os.getpid()}_{next(_numbers)}"))
        self.places = [self.home / "folder", replace(server, caches=self.home / "caches")]
        self.both = [Gallery.create(place, MODEL, fusion) for place in self.places]

    def teardown(self):
        for gallery in self.both:
            gallery.flush()
            assert gallery.check(deep=True) == []
            gallery.close()
        shutil.rmtree(self.home)

    @rule(command=COMMANDS)
    def do(self, command):
        one, other = (answer(lambda n=n: self.act(n, *command)) for n in range(2))
        assert one == other

    def act(self, number, name, *given):
        gallery = self.both[number]
        if name == "add":
            person, external_id, sources, restore = given
            return gallery.add([photo(person, source, external_id) for source in sources], restore=restore)
        if name == "reopen":
            gallery.close()
            self.both[number] = Gallery.open(self.places[number], writable=True)
            return None
        return {
            "move": lambda: gallery.move_templates([given[0]], given[1]),
            "fusion": lambda: gallery.set_fusion(given[0]),
            "calibrate": lambda: gallery.save_calibrations([calibration()]),
            "keep": lambda: gallery.keep_strangers(unit_vectors(3), np.arange(3)),
            "forget": gallery.forget_strangers,
            "reject": lambda: gallery.remember_rejected({b"r" * 32: ["no_face"]}, "policy"),
            "reembed": lambda: gallery.add_embeddings(OTHER_MODEL, [1, 2], unit_vectors(2, OTHER_MODEL.dimension)),
        }.get(name, lambda: getattr(gallery, name)(*given))()

    @invariant()
    def every_answer_is_the_same(self):
        asked = [
            lambda gallery: gallery.identities(include_removed=True),
            lambda gallery: list(gallery.templates(include_removed=True)),
            lambda gallery: gallery.search(np.concatenate([unit_vectors(2), photo("", "photo1").vector[None]]), 9),
            lambda gallery: gallery.find("Ann") + gallery.find("7"),
            lambda gallery: gallery.enrolled([photo("", "photo1").source_digest]),
            lambda gallery: gallery.rejected([b"r" * 32], "policy"),
            lambda gallery: gallery.undoable(),
            lambda gallery: gallery.contents(),
            lambda gallery: gallery.embeddings(),
            lambda gallery: gallery.calibrations(),
            lambda gallery: gallery.kept_strangers(),
            lambda gallery: (gallery.size, gallery.revision, gallery.fusion, gallery.model, gallery.searched_rows),
        ]
        for ask in asked:
            one, other = (answer(lambda gallery=gallery: ask(gallery)) for gallery in self.both)  # noqa: B023
            assert one == other


def answer(ask):
    """What a call gives, or the error it raises, without what may differ: times and places."""
    try:
        return plain(ask())
    except FaceIdError as error:
        return type(error).__name__, re.sub(r"\S*(/folder|postgresql://)\S*", "PLACE", str(error))


def plain(value):
    if is_dataclass(value):
        value = {name: its for name, its in asdict(value).items() if name not in _TIMES}
    if isinstance(value, dict):
        return {name: plain(its) for name, its in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(one) for one in (sorted(value) if isinstance(value, set) else value)]
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return value


@pytest.mark.slow
@pytest.mark.folder
def test_two_stores_give_the_same_answers(postgres):
    BothStores.database = postgres
    run_state_machine_as_test(
        BothStores,
        settings=settings(
            max_examples=10,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
        ),
    )
