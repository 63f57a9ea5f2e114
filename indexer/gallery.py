"""The gallery: unit vectors and names, searched exactly, written by one process at a time.

A gallery is a directory: `gallery.db` (SQLite, the truth), `gallery.revision` (the last revision that was
acknowledged), `index.json` and `index-*.safetensors` (caches), `writer.lock`, and of an encrypted one `gallery.key`.
Or it is a schema of a PostgreSQL database, and each machine that uses it keeps the caches in a folder of its own.
"""

import hashlib
import itertools
import operator
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

import numpy as np
from sqlalchemy import Connection, update

from indexer import checks
from indexer.cache import index_cache
from indexer.cache.cohort_scores import (
    CohortScores,
    ask_cohort,
    changes_since,
    read_scores,
    remove_scores,
    write_scores,
)
from indexer.cache.file_bytes import SegmentDamaged
from indexer.cache.index_cache import IN_MEMORY, IndexCache
from indexer.cache.index_manifest import MANIFEST
from indexer.cache.loading import OutdatedRead
from indexer.cache.snapshot import Snapshot
from indexer.crypto.cancelable import Turning, new_turning, turning_of
from indexer.crypto.keys import VARIABLE, KeyProvider, usual_key, usual_turn_key
from indexer.decided_on import DECIDED_ON, DEFAULT_DECIDED_ON, DecidedOn
from indexer.decision.context import LISTED, context_proved
from indexer.decision.decision import Calibration
from indexer.decision.morph import MorphScores
from indexer.errors import FileNotWritten, GalleryBusy, GalleryError, KeyMissing, ModelMismatch
from indexer.fusion import DEFAULT_FUSION, FUSIONS, Fusion
from indexer.outside.addresses import is_outside
from indexer.outside.kept import KeptOutside
from indexer.outside.searching import OutsideSearch
from indexer.records import (
    Added,
    Candidate,
    Contents,
    Embeddings,
    Enrolled,
    FloatMatrix,
    Identity,
    Ids,
    KeptStrangers,
    MergedPerson,
    ModelBinding,
    NewTemplate,
    Problem,
    SearchResult,
    Stats,
    TemplateRow,
)
from indexer.search.certified_search import Found, Proof, best_is_known, search
from indexer.search.index_kinds import AUTO, check_kind
from indexer.search.scores import check_vectors
from indexer.store import (
    adding,
    answered,
    crops,
    curation,
    morphs,
    reembedding,
    rejections,
    strangers,
    transfer,
    turned_vectors,
    undo,
)
from indexer.store import queries as store
from indexer.store.adding import add_templates, check_templates
from indexer.store.content import Content
from indexer.store.copying import copy_gallery
from indexer.store.person_keys import usual_person_keys
from indexer.store.place import PostgresPlace, place_of
from indexer.store.schema import gallery
from indexer.store.store import Store
from indexer.store.stores import create_store, discard_store, has_store, is_encrypted, open_store, rotate_key
from indexer.store.undo import Undoable

_TEMPLATES_AT_ONCE = 2_000
_PATIENCE = 10  # times that a writer may come in between
ERASING_PATIENCE = 30.0  # seconds that erasing waits for another process of this machine to save its caches

Where = str | Path | PostgresPlace
"""What a gallery is opened by: its folder, or postgresql://USER@HOST:PORT/DATABASE/NAME."""

_Answer = TypeVar("_Answer")


class Gallery:
    """Enrolled people and their templates, bound to one model. Made by `create` or `open`; a context manager.

    `place` says where it is; `path` is the folder of its files on this machine, for one in PostgreSQL the caches alone.

    Every call that changes something is one transaction: when it returns, the change is on the disk. Every call that
    reads sees one revision. One process may write at a time, any number may read meanwhile.
    """

    def __init__(self, database: Store, turn_key: KeyProvider | None = None) -> None:
        """Use `create` or `open`."""
        self.place = database.place
        self.path = database.files
        self._database = database
        self._turn_key = turn_key
        self._known_turning: Turning | None = None
        self._cache = IndexCache(self.path, lambda: database.sealing)
        self._tended: Snapshot | None = None
        self._erasure_notes: tuple[str, ...] = ()
        self._alone = threading.Lock()
        self._kind = AUTO
        self._outside = KeptOutside(database)
        self._searcher: OutsideSearch | None = None
        self._cohorts: dict[str, CohortScores] = {}
        self._making: dict[str, threading.RLock] = {}
        self._remembered: dict[str, tuple[int, Any]] = {}

    @classmethod
    def create(
        cls,
        path: Where,
        model: ModelBinding,
        fusion: Fusion = DEFAULT_FUSION,
        *,
        key: KeyProvider | None = None,
        turn_key: KeyProvider | None = None,
        person_keys: Path | None = None,
    ) -> "Gallery":
        """Make an empty gallery in a directory that is empty or does not exist, and open it for writing.

        Or under a name that is new in a database: postgresql://USER@HOST:PORT/DATABASE/NAME.
        With a `key` (None: the one that FACEID_KEY names) it is encrypted, with a `turn_key` (FACEID_TURN_KEY) its
        vectors lie turned by that key's rotation. With `person_keys` (FACEID_PERSON_KEYS), a folder elsewhere, each
        person of an encrypted one has a key there, and what backups and copies hold of a person is lost with it. Raises
        GalleryError where something is already there, GalleryLocked while another process creates it, KeyMissing.
        """
        place = place_of(path)
        key, turn_key = key or usual_key(), turn_key or usual_turn_key()
        if fusion not in FUSIONS:
            raise GalleryError(f"fusion is {' or '.join(map(repr, FUSIONS))}, not {fusion!r}")
        people = person_keys or usual_person_keys()
        if people is not None and key is None:
            raise KeyMissing(f"people's keys are for encrypted galleries: say where the gallery's own is ({VARIABLE})")
        turn = None if turn_key is None else new_turning(Path(str(place)), turn_key).mark
        create_store(place, model, fusion, key, turn, people)
        return cls.open(place, writable=True, key=key, turn_key=turn_key, person_keys=people)

    @classmethod
    def open(
        cls,
        path: Where,
        *,
        writable: bool = False,
        model_digest: str | None = None,
        create: ModelBinding | None = None,
        key: KeyProvider | None = None,
        turn_key: KeyProvider | None = None,
        person_keys: Path | None = None,
    ) -> "Gallery":
        """Open a gallery, a folder's or postgresql://USER@HOST:PORT/DATABASE/NAME.

        `model_digest` (hex), if given, must be that of the model it is bound to.
        With `create`, open it for writing, bound to that model; where there is none yet, make it. `key` hands out the
        key of an encrypted one (None: what FACEID_KEY names), `turn_key` that of one whose vectors are turned
        (FACEID_TURN_KEY), `person_keys` is the folder of people's keys (FACEID_PERSON_KEYS). Raises GalleryError where
        there is none, or a key is given for one without, KeyMissing, WrongKey, StoreDamaged, ModelMismatch,
        GalleryUnreachable, and for writing GalleryLocked.
        """
        place = place_of(path)
        key, turn_key = key or usual_key(), turn_key or usual_turn_key()
        if create is not None:
            if not has_store(place):
                return cls.create(place, create, key=key, turn_key=turn_key, person_keys=person_keys)
            writable, model_digest = True, create.digest
        self = cls(open_store(place, key, person_keys, writable=writable), turn_key)
        try:
            self._turning(self._row())
            self._check_model(model_digest)
            if writable:
                with self._database.saving() as ours:
                    if ours:
                        index_cache.remove_leftovers(self.path, self._database.sealing)
                if self._row().erase_pending:
                    self._finish_erase()
        except BaseException:
            self._database.close()
            raise
        return self

    @staticmethod
    def encrypt(
        source: Where,
        folder: str | Path,
        key: KeyProvider,
        *,
        source_key: KeyProvider | None = None,
        person_keys: Path | None = None,
    ) -> None:
        """Copy a gallery, plain or encrypted, as `backup` does into a new folder, encrypted under a key of its own.

        `key` wraps that key; `source_key` opens an encrypted source (None: what FACEID_KEY names). Where each person
        has a key, in the folder `person_keys`, the copy's are there, too. The source stays as it is, and may be in use;
        indexes elsewhere are its alone. Raises what `open` and `backup` raise.
        """
        place = place_of(source)
        of_source = (source_key or usual_key()) if is_encrypted(place) else None
        opened = open_store(place, of_source, person_keys, writable=False)
        try:
            opened.encrypted_copy(Path(folder), key)
        finally:
            opened.close()

    @staticmethod
    def copy(
        source: Where, target: Where, *, key: KeyProvider | None = None, source_key: KeyProvider | None = None
    ) -> int:
        """Copy a gallery into a new one, between folders and databases; the number of rows, all of them verified.

        Ids, revision, trail and what can be undone go along, and the copy is a gallery of its own from then on. `key`
        encrypts a folder's (None: what FACEID_KEY names), `source_key` opens an encrypted source. The source may be in
        use. Raises what `open` and `create` raise, and where something goes wrong leaves nothing at the target.
        """
        place, new = place_of(source), place_of(target)
        opened = open_store(place, (source_key or usual_key()) if is_encrypted(place) else None, writable=False)
        try:
            with opened.read() as connection:
                row = store.gallery_row(connection)
            own_key = key or (usual_key() if isinstance(new, Path) else None)
            create_store(new, row.model, row.fusion, own_key)
            try:
                made = open_store(new, own_key, writable=True)
                try:
                    return copy_gallery(opened, made)
                finally:
                    made.close()
            except BaseException:
                discard_store(new)
                raise
        finally:
            opened.close()

    @staticmethod
    def rotate(path: Where, new_key: KeyProvider, *, key: KeyProvider | None = None) -> str:
        """Let another key open an encrypted gallery, and the old one (None: what FACEID_KEY names) no longer.

        Only the envelope is written anew, in one step; returns the new key's id. Raises what `open` raises.
        """
        old = key or usual_key()
        if old is None:
            raise KeyMissing(f"to change the key of {path}, say where the present one is ({VARIABLE})")
        return rotate_key(place_of(path), old, new_key)

    def turn(self, turn_key: KeyProvider) -> str:
        """Turn every vector by a new rotation that follows from this key; returns the key's id. No photo is needed.

        Vectors that were copied before fit nothing here any more. Scores stay as they are but for float32's rounding,
        and so do thresholds. Opens from now on with this key.
        """
        self._require_writable()
        coming = new_turning(self.path, turn_key)
        coming.matrix(self.model.dimension)  # refused before anything is written
        self._cohorts = {}
        self._cache.drop()
        with self._database.write() as connection:
            before = self._turning(store.gallery_row(connection))  # another writer may have turned them meanwhile
            turned_vectors.turn_vectors(connection, lambda vectors: coming.turned_on(vectors, before), coming.mark)
        self._turn_key, self._known_turning = turn_key, coming
        self._finish_erase()
        return coming.mark.key_id

    def close(self) -> None:
        """Bring the cache up to date (after writing), and let go of the files and the lock."""
        if self._database.closed:
            return
        if self._database.inherited:  # only the parent may save the caches and let go of the lock
            self._database.close()
            return
        try:
            if self._database.writable and self._row().erase_pending:
                self._finish_erase()
            if self._keeps_caches:
                with suppress(GalleryError, FileNotWritten):  # the database has it all; caches only save time
                    self._save_cache()
            if self._database.writable:
                with suppress(GalleryError):  # what is wrong with the database is told where it is used
                    self._outside.follow()
        finally:
            self._outside.close()
            self._database.close()

    def __enter__(self) -> "Gallery":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What it is

    @property
    def model(self) -> ModelBinding:
        """The model that embedded every template in here."""
        return self._row().model

    @property
    def fusion(self) -> Fusion:
        """An identity's score: its best template's ('max') or that of the mean of its templates ('mean')."""
        return self._row().fusion

    @property
    def decided_on(self) -> DecidedOn:
        """What is held against a threshold here: the best similarity, or that in its context ('context')."""
        return self._row().decided_on

    @property
    def has_person_keys(self) -> bool:
        """Whether each person has a key, which `erase` destroys: what backups hold of the person is lost with it."""
        return self._database.has_person_keys

    @property
    def revision(self) -> int:
        """Grows with every change that a search or a listing could show."""
        return self._row().revision

    @property
    def size(self) -> int:
        """N: the identities that a search can return."""
        with self._database.read() as connection:
            known = self._cache.known
            if known is not None and known.row.revision == store.revision(connection):
                return known.people  # counted once a revision: a query takes a second at a million templates
            return store.size(connection)

    # Enrolling and searching

    def enrolled(self, digests: Sequence[bytes]) -> dict[bytes, list[Enrolled]]:
        """For photos by SHA-256 (32 bytes), the templates they already have; a photo without one is left out."""
        with self._database.read() as connection:
            return store.enrolled(connection, digests)

    def meant(self, names: Sequence[tuple[str, str | None]]) -> list[int | None]:
        """Return whom each name with its external id means, as `add` takes it: an id, None for somebody new.

        A former name, and one that was merged, mean the person it led to.
        """
        with self._database.read() as connection:
            return adding.meant(connection, names)

    def rejected(self, digests: Sequence[bytes], policy: str) -> dict[bytes, tuple[str, ...]]:
        """For photos by SHA-256 (32 bytes), why they were rejected under this policy, as `remember_rejected` was told.

        A photo that was not is left out.
        """
        with self._database.read() as connection:
            return rejections.rejected(connection, digests, policy)

    def remember_rejected(self, reasons: Mapping[bytes, Sequence[str]], policy: str) -> None:
        """Keep reason codes of photos that were rejected, so that nobody looks at them again under this policy.

        A policy is any text that changes with what the verdict depends on; a photo is remembered under its last one.
        `erase` forgets all of them, `purge` the old ones.
        """
        with self._database.write() as connection:
            rejections.remember(connection, reasons, policy)

    def add(self, templates: Sequence[NewTemplate], *, restore: bool = False) -> list[Added]:
        """Enrol templates, in one transaction; one Added for each, in order. Enrolling twice changes nothing.

        An identity is the external id, or without one the name. What was removed is rejected unless `restore`. A photo
        that is enrolled under somebody else is rejected. Raises VectorError, and adds nothing, for bad vectors.
        """
        _check_type(templates, NewTemplate)
        with self._database.write() as connection:
            templates = self._templates_turned(templates, store.gallery_row(connection))
            last = store.last_id(connection, "template")
            added = add_templates(connection, templates, restore)
        new = {
            one.template_id or 0: its.vector for one, its in zip(added, templates, strict=True) if _is_new(one, last)
        }
        if new:
            ids = sorted(new)
            self._cache.offer(np.array(ids, np.int64), np.stack([new[one] for one in ids]))
        if self._cache.in_memory > IN_MEMORY:
            self._make_room()
        return added

    def search(
        self,
        vectors: FloatMatrix,
        k: int,
        *,
        threshold: float | None = None,
        on: DecidedOn = DEFAULT_DECIDED_ON,
        fast: bool = False,
    ) -> list[SearchResult]:
        """Return the min(k, N) best identities of each vector [Q, D] float32 of unit length, best first, ties by id.

        The result says which revision was searched. Names are those of the moment of the answer, and nobody is in it
        who was removed or erased before. Similarities are canonical: float64 inner products of the stored float32
        vectors, rounded to float32. With `fast`, a large gallery is only sampled: somebody may be missed, and the
        result says so. `threshold` and what it is `on` change nothing but what `exact_decision` speaks of; on context
        it takes a list of 1 + CONTEXT at least, ValueError for a shorter one. Raises VectorError.
        """
        if on == "context" and k < LISTED:
            raise ValueError(f"a decision on context needs {LISTED} candidates, not {k}")
        proof = partial(context_proved, threshold=threshold) if on == "context" else None
        if self._searcher is not None:
            return self._search_outside(self._searcher, vectors, k, proof or best_is_known(threshold), fast)
        for _ in range(_PATIENCE):
            try:
                snapshot = self._latest()
                found = self._found(snapshot, vectors, k, threshold, proof, fast)
            except OutdatedRead:  # caches were saved a moment after the transaction began
                continue
            except SegmentDamaged:
                self._cache.distrust()
                continue
            with self._database.read() as connection:
                if self._still_holds(connection, snapshot.row, found):
                    return _results(snapshot.row, found, store.names(connection, np.unique(found.ids).tolist()))

        def ask(connection: Connection, snapshot: Snapshot) -> list[SearchResult]:
            found = self._found(snapshot, vectors, k, threshold, proof, fast)
            return _results(snapshot.row, found, store.names(connection, np.unique(found.ids).tolist()))

        return self._at_once(ask)  # a writer came in between every time: inside one transaction it cannot

    def ask_cohort(self, vectors: FloatMatrix, key: str, on: DecidedOn = DEFAULT_DECIDED_ON) -> CohortScores:
        """Return the best score of each stranger of a cohort, vectors [n, D] under a `key` that no other cohort has.

        Kept by revision in memory, and by a writer in the gallery's folder: new templates alone cost only themselves.
        With `on` context the scores are what such a decision is made on, and any change asks everybody anew. Raises
        VectorError.
        """
        if on == "context":
            key = hashlib.sha256(f"context {key}".encode()).hexdigest()

        def act() -> tuple[CohortScores, bool]:
            snapshot = self._latest()
            check_vectors(vectors, snapshot.row.model.dimension)
            with self._database.read() as connection:
                known = self._cohorts.get(key) or read_scores(self.path, key, connection, self._database.sealing)
                since = changes_since(known, key, len(vectors), snapshot, connection)
            asked = vectors if since.nothing_changed(snapshot) else self._turned(vectors, snapshot.row)
            scores = ask_cohort(asked, key, snapshot, since, on)
            return scores, scores is not known

        scores, are_new = self._in_step(act)
        if are_new:
            with suppress(FileNotWritten), self._database.saving() as ours:  # the scores can be computed again
                if ours:
                    with self._database.read() as connection:
                        write_scores(self.path, scores, connection, self._database.sealing)
        self._cohorts[key] = scores
        return scores

    @property
    def searched_rows(self) -> int:
        """The rows that a search compares with: templates, or with fusion 'mean' people."""
        return self._in_step(lambda: sum(map(len, self._latest().parts)))

    def remember(self, name: str, make: Callable[[], _Answer]) -> _Answer:
        """Return what `make` gives at this revision, made once: what is costly and depends on the contents alone.

        Other threads that ask meanwhile wait for it.
        """
        with self._making.setdefault(name, threading.RLock()):
            revision = self.revision  # of before: what a writer changes while it is made, is made again
            known = self._remembered.get(name)
            if known is None or known[0] != revision:
                known = (revision, make())
                self._remembered[name] = known
        value: _Answer = known[1]
        return value

    def contents(self) -> Contents:
        """Say what searches see at this revision: a digest of the templates and whose they are, and their numbers."""
        with self._database.read() as connection:
            ids, owners = store.active_templates(connection)
        digest = hashlib.sha256(ids.astype("<i8").tobytes() + owners.astype("<i8").tobytes())
        _, counts = np.unique(owners, return_counts=True)
        return Contents(digest.hexdigest(), len(ids), np.sort(counts))

    def use_index(self, kind: str) -> None:
        """Search with this kind of index from now on: of `indexer.search.index_kinds`, or the address of one elsewhere.

        Raises VectorError for one that does not exist or that this machine cannot run, GalleryError for an address that
        `add_outside_index` was not told, OutsideError where nobody serves there. None stands in for another.
        """
        if is_outside(kind):
            self._searcher = self._outside.searcher(kind)
            return
        check_kind(kind)
        self._kind, self._searcher = kind, None

    def add_outside_index(self, address: str, *, plain: bool = False) -> None:
        """Let an engine elsewhere hold the vectors too, from now on: this gallery's writer keeps it up.

        Of an encrypted gallery only if `plain` allows that they lie there in the plain. Raises OutsideError where it
        does not serve: then it is noted, and brought up when it does.
        """
        self._require_writable()
        self._outside.add(address, plain=plain)

    def forget_outside_index(self, address: str) -> None:
        """Take away what an engine elsewhere holds of this gallery; raises OutsideError where it does not serve."""
        self._require_writable()
        self._outside.forget(address)

    def outside_indexes(self) -> list[str]:
        """Return the addresses of the engines elsewhere that hold the vectors too."""
        return self._outside.places()

    def embeddings(self) -> Embeddings:
        """Every active template's vector with its template id and identity id, in order of template id."""
        with self._database.read() as connection:
            found = store.embeddings(connection)
            return replace(found, vectors=self._turned_back(found.vectors, store.gallery_row(connection)))

    def embeddings_of(self, identity_ids: Ids) -> Embeddings:
        """As `embeddings`, of some people alone: at least one."""
        with self._database.read() as connection:
            ids, owners = store.templates_of_people(connection, identity_ids)
            vectors = self._turned_back(store.vectors_of(connection, ids), store.gallery_row(connection))
            return Embeddings(ids, owners, vectors)

    def sample(self, count: int) -> Embeddings:
        """Return at most `count` active templates, spread evenly over all; the same ones for the same contents."""
        with self._database.read() as connection:
            ids, owners = store.active_templates(connection)
            chosen = np.unique(np.linspace(0, len(ids) - 1, min(count, len(ids))).astype(np.int64))
            vectors = self._turned_back(store.vectors_of(connection, ids[chosen]), store.gallery_row(connection))
            return Embeddings(ids[chosen], owners[chosen], vectors)

    # People

    def identities(self, include_removed: bool = False) -> list[Identity]:
        """Everybody in order of id."""
        with self._database.read() as connection:
            return store.identities(connection, include_removed)

    def find(self, ref: str | int) -> list[Identity]:
        """Whom `ref` may mean, removed people included: by id, external id or name. Two people may bear one name."""
        with self._database.read() as connection:
            return store.find(connection, ref)

    def templates(self, include_removed: bool = False) -> Iterator[TemplateRow]:
        """Every template with its source, in order of id; safe to change the gallery while iterating."""
        count = store.PageCount()
        while True:
            with self._database.read() as connection:
                page = store.template_page(connection, include_removed, count.last_id, _TEMPLATES_AT_ONCE)
                count = store.counted_page(connection, count, page, is_last=page.rows < _TEMPLATES_AT_ONCE)
            yield from page.templates
            if page.rows < _TEMPLATES_AT_ONCE:
                return

    def templates_of(self, identity_id: int, include_removed: bool = False) -> list[TemplateRow]:
        """One person's templates with their sources, in order of id; none for an id that nobody has."""
        with self._database.read() as connection:
            return store.templates_of(connection, _id(identity_id), include_removed)

    def crop(self, template_id: int) -> bytes | None:
        """Return the JPEG of a template's face; None where the gallery keeps none. Raises StoreDamaged."""
        with self._database.read() as connection:
            return crops.crop_of(connection, _id(template_id))

    def with_crops(self, identity_ids: Sequence[int]) -> dict[int, list[int]]:
        """Return, by identity, the templates whose face's picture is kept, removed ones too, oldest first."""
        with self._database.read() as connection:
            return crops.with_crops(connection, [_id(one) for one in identity_ids])

    def rename(self, identity_id: int, new_name: str) -> None:
        """Give a person another name. Raises InvalidName, and GalleryError if the name is somebody else's key."""
        with self._database.write() as connection:
            curation.rename(connection, _id(identity_id), new_name)

    def merge(self, source_id: int, into_id: int) -> None:
        """Make `source_id` the same person as `into_id`, which keeps its name; the old key leads there from now on."""
        with self._database.write() as connection:
            curation.merge(connection, _id(source_id), _id(into_id))

    def remove(self, identity_id: int) -> None:
        """Hide a person from searches; stays hidden when the photos are enrolled again, until restored."""
        with self._database.write() as connection:
            curation.remove(connection, _id(identity_id))

    def restore(self, identity_id: int) -> None:
        """Bring a removed person back, without photos that were removed singly or are somebody else's by now."""
        with self._database.write() as connection:
            curation.restore(connection, _id(identity_id))

    def remove_templates(self, template_ids: Sequence[int]) -> int:
        """Hide single templates; how many were active until now. Raises GalleryError for an unknown id."""
        with self._database.write() as connection:
            return curation.remove_templates(connection, [_id(one) for one in template_ids])

    def note_places(self, sources: Mapping[int, str]) -> None:
        """Note where the photos of some templates (by id) are by now: `reembed` looks for them there."""
        with self._database.write() as connection:
            curation.note_places(connection, {_id(one): source for one, source in sources.items()})

    def move_templates(self, template_ids: Sequence[int], into_id: int) -> int:
        """Give templates of one person to another, whose photos they are; how many moved.

        Raises GalleryError, and moves none, where one is unknown or hidden, or of a photo that the other has already.
        """
        with self._database.write() as connection:
            return curation.move_templates(connection, [_id(one) for one in template_ids], _id(into_id))

    def rejected_findings(self) -> set[str]:
        """Return the keys of a review's findings (`indexer.hygiene.review`) that were called wrong."""
        with self._database.read() as connection:
            return answered.rejected(connection)

    def reject_findings(self, keys: Sequence[str]) -> None:
        """Remember that findings of a review are wrong: it does not make them again. Raises GalleryError."""
        with self._database.write() as connection:
            answered.answer(connection, keys, reject=True)

    def ask_again(self, keys: Sequence[str]) -> None:
        """Forget that findings were called wrong. Raises GalleryError for what is no key of a finding."""
        with self._database.write() as connection:
            answered.answer(connection, keys, reject=False)

    def erase(self, identity_id: int) -> Literal["done", "pending"]:
        """Destroy a person: afterwards no byte of the templates, names, digests or paths is in the gallery's files.

        'pending' while another process still reads an older revision: the person is gone from every new search, the
        bytes go when the gallery is next opened or closed for writing without such a reader. Of the audit trail a
        salted digest of the name remains, of the undo records nothing; exports and backups are not reached, unless each
        person has a key: then it is destroyed, and no backup tells the names, vectors, paths or pictures any more.
        """
        with self._database.write() as connection:
            curation.erase(connection, _id(identity_id))
        return "done" if self._finish_erase() else "pending"

    @property
    def erase_pending(self) -> bool:
        """Whether bytes that were destroyed are still in the files: they go with the next change, as `erase` says."""
        return self._row().erase_pending

    @property
    def erasure_notes(self) -> tuple[str, ...]:
        """What the last erasing did in the database's files, what is out of its reach or in its way, in words.

        That is `erase`, `purge`, `forget_strangers`, `turn`, or what was pending when the gallery was opened.
        """
        return self._erasure_notes

    def undoable(self) -> list[Undoable]:
        """List what `undo` can take back, newest first."""
        with self._database.read() as connection:
            return undo.undoable(connection)

    def undo(self, entry: int | None = None) -> Undoable:
        """Take back what was done to people and templates: the newest one, or an `entry` of `undoable`.

        That is remove, merge, rename, move_templates and remove_templates.

        Raises GalleryError if there is nothing to undo, or if something later about the same people must be undone
        first. Photos enrolled since a merge stay with the person they went to.
        """
        with self._database.write() as connection:
            return undo.take_back(connection, None if entry is None else _id(entry))

    def purge(self, older_than: timedelta = timedelta(0)) -> int:
        """Give up undoing what is at least that old, and destroy the former names kept for it; how many entries.

        Photos that were rejected as long ago are forgotten, too.
        """
        with self._database.write() as connection:
            count = undo.purge(connection, older_than)
            forgotten = rejections.forget_old(connection, older_than)
            if forgotten:
                connection.execute(update(gallery).values(erase_pending=1))
                store.seal(connection)
        if count or forgotten:
            self._finish_erase()
        return count

    # Thresholds

    def calibrations(self) -> list[Calibration]:
        """List what was measured on this gallery with its present model, oldest first."""
        with self._database.read() as connection:
            return store.calibrations(connection)

    def save_calibrations(self, calibrations: Sequence[Calibration]) -> None:
        """Keep measurements; one of the same target, data and gallery size is replaced."""
        _check_type(calibrations, Calibration)
        with self._database.write() as connection:
            store.save_calibrations(connection, calibrations)
            store.record_audit(connection, "calibrate", [(None, {"calibrations": len(calibrations)})])
            store.bump_revision(connection)

    def morph_scores(self) -> MorphScores | None:
        """Return what morphs of people's documents score, as `keep_morph_scores` was told; None where nothing was."""
        with self._database.read() as connection:
            return morphs.kept_morphs(connection)

    def keep_morph_scores(self, scores: MorphScores) -> None:
        """Keep what morphs score, in the place of what is kept."""
        with self._database.write() as connection:
            morphs.keep_morphs(connection, scores)

    def kept_strangers(self) -> KeptStrangers:
        """Return the faces of people who are not enrolled that are kept here to measure with; perhaps none."""
        with self._database.read() as connection:
            found = strangers.kept(connection)
            return replace(found, vectors=self._turned_back(found.vectors, store.gallery_row(connection)))

    def keep_strangers(self, vectors: FloatMatrix, persons: Ids) -> None:
        """Keep vectors [n, D] of strangers `persons` [n], in the place of those that are kept. Raises VectorError."""
        with self._database.write() as connection:
            row = store.gallery_row(connection)
            check_vectors(vectors, row.model.dimension)
            strangers.keep(connection, self._turned(vectors, row), persons)

    def forget_strangers(self) -> int:
        """Destroy the strangers that are kept, as `erase` destroys a person; how many faces."""
        with self._database.write() as connection:
            count = strangers.forget(connection)
            if count:
                connection.execute(update(gallery).values(erase_pending=1))
                store.seal(connection)
        if count:
            self._finish_erase()
        return count

    def set_decided_on(self, on: DecidedOn) -> None:
        """Decide on something else from now on; thresholds are measured anew, and those of the other do not count."""
        if on not in DECIDED_ON:
            raise GalleryError(f"decisions are on {' or '.join(map(repr, DECIDED_ON))}, not {on!r}")
        if on == self.decided_on:
            return
        with self._database.write() as connection:
            connection.execute(update(gallery).values(decided_on=on))
            store.record_audit(connection, "decided_on", [(None, {"decided_on": on})])
            store.bump_revision(connection)

    def set_fusion(self, fusion: Fusion) -> None:
        """Score people by another fusion from now on; the caches are made anew, thresholds follow or are refused."""
        if fusion not in FUSIONS:
            raise GalleryError(f"fusion is {' or '.join(map(repr, FUSIONS))}, not {fusion!r}")
        if fusion == self.fusion:
            return
        with self._database.write() as connection:
            connection.execute(update(gallery).values(fusion=fusion))
            store.record_audit(connection, "fusion", [(None, {"fusion": fusion})])
            store.bump_revision(connection)

    # Another model

    def reembedding_left(self, new_model: ModelBinding) -> Iterator[TemplateRow]:
        """Return the templates, removed ones included, that have no vector of `new_model` yet, in order of id."""
        after = 0
        while True:
            with self._database.read() as connection:
                rows = reembedding.left(connection, new_model, after, _TEMPLATES_AT_ONCE)
            yield from rows
            if len(rows) < _TEMPLATES_AT_ONCE:
                return
            after = rows[-1].id

    def add_embeddings(self, new_model: ModelBinding, template_ids: Sequence[int], vectors: FloatMatrix) -> None:
        """Store vectors [n, D] of a model the gallery will switch to; searches do not see them yet. Repeatable."""
        check_vectors(vectors, new_model.dimension)
        with self._database.write() as connection:
            turned = self._turned(vectors, store.gallery_row(connection))
            reembedding.add(connection, new_model, template_ids, turned)

    def switch_model(self, new_model: ModelBinding, drop: Sequence[int] = ()) -> None:
        """Bind the gallery to a model for which every template has a vector; the old vectors go.

        `drop` names templates that cannot be embedded again and are deleted. Raises GalleryError if others lack one.
        """
        self._cohorts = {}
        self._cache.drop()  # also the old model's vectors that no search has asked for yet
        with self._database.write() as connection:
            reembedding.switch(connection, new_model, drop)

    # Care

    def export(self, file: str | Path, *, plain: bool = False) -> int:
        """Write everybody, removed people included, into one Parquet file; the number of templates.

        Of an encrypted gallery the file is encrypted under the same user's key, unless `plain`. Raises GalleryError
        where the file cannot be written, or pyarrow (the extra `export`) is not installed.
        """
        with self._database.read() as connection:
            return transfer.write_export(connection, Path(file), None if plain else self._database.key)

    def import_(
        self,
        file: str | Path,
        *,
        revive_erased: bool = False,
        source_key: KeyProvider | None = None,
        source_turn_key: KeyProvider | None = None,
    ) -> list[Added]:
        """Add what another gallery of the same model exported; importing twice changes nothing.

        `source_key` opens an encrypted file (None: this gallery's, or what FACEID_KEY names), `source_turn_key` one of
        turned vectors (this gallery's, or FACEID_TURN_KEY): they lie here as this gallery's do. Photos of people who
        were erased here are rejected (`erased`) unless `revive_erased`. Raises GalleryError for a file that is damaged
        or no export, ModelMismatch for another model's, KeyMissing, WrongKey.
        """
        content = transfer.read_export(Path(file), source_key or self._database.key or usual_key())
        content = self._turned_by_none(content, Path(file), source_turn_key)
        with self._database.write() as connection:
            here = self._turned(content.vectors, store.gallery_row(connection))
            return transfer.add_content(connection, replace(content, vectors=here), str(file), revive_erased)

    def merge_from(
        self,
        other: Where,
        *,
        revive_erased: bool = False,
        source_key: KeyProvider | None = None,
        source_turn_key: KeyProvider | None = None,
    ) -> list[MergedPerson]:
        """Add everybody of another gallery of the same model, as `import_` does; one MergedPerson for each of them.

        `source_key` and `source_turn_key` open an encrypted one and one of turned vectors, as in `import_`.
        Repeatable. What is here stays as it is: a photo that is somebody else's here, was removed here, or belonged to
        somebody who was erased here (unless `revive_erased`) is a conflict of its person. Raises what `open` raises for
        the other gallery, ModelMismatch for another model's.
        """
        place = place_of(other)
        key = source_key or self._database.key or usual_key()
        source = open_store(place, key if is_encrypted(place) else None, writable=False)
        try:
            with source.read() as connection:
                content = transfer.read_content(connection)
        finally:
            source.close()
        content = self._turned_by_none(content, Path(str(place)), source_turn_key)
        with self._database.write() as connection:
            here = self._turned(content.vectors, store.gallery_row(connection))
            added = transfer.add_content(connection, replace(content, vectors=here), str(place), revive_erased)
        return transfer.outcomes(content, added)

    def backup(self, folder: str | Path) -> None:
        """Copy the gallery's truth, as it is at one moment, into a new folder; it may be in use meanwhile.

        The copy is a gallery; its caches are made when it is next opened for writing. Raises GalleryError where
        something is there already, or the disk is full.
        """
        self._database.backup(Path(folder))

    def check(self, *, deep: bool = False) -> list[Problem]:
        """Everything that is wrong with the gallery's files: an empty list if it is sound.

        `deep` reads every byte: each row's checksum, each chunk of the caches, and whether the two agree.
        """
        with self._database.read() as connection:
            return checks.find_problems(self._database, connection, deep=deep)

    def stats(self) -> Stats:
        """Return counts and sizes."""
        with self._database.read() as connection:
            return checks.collect_stats(self._database, connection)

    def rebuild(self) -> None:
        """Make every cache anew from the database."""
        self._require_writable()
        self._cache.remove()
        remove_scores(self.path)
        self._cohorts = {}
        self._save_cache()
        self._outside.rebuild()

    def flush(self) -> None:
        """Write what was enrolled into the caches, as `close` does, and let go of its vectors in memory.

        Done by itself now and then while much is added. Raises FileNotWritten where the disk does not let it.
        """
        self._require_writable()
        self._save_cache()
        self._outside.follow()

    # Within

    def _require_writable(self) -> None:
        if not self._database.writable:
            raise GalleryError(f"{self.place} was opened for reading; open it with writable=True")

    def _row(self) -> store.GalleryRow:
        with self._database.read() as connection:
            return store.gallery_row(connection)

    def _turning(self, row: store.GalleryRow) -> Turning | None:
        """Return the rotation of a revision's vectors: another process may have turned them since."""
        known = self._known_turning
        if known is not None and known.mark == row.turn:
            return known
        turning = turning_of(self.path, row.turn, self._turn_key)
        self._known_turning = turning
        return turning

    def _turned(self, vectors: FloatMatrix, row: store.GalleryRow) -> FloatMatrix:
        """Return vectors [n, D] as those of a revision lie."""
        turning = self._turning(row)
        return vectors if turning is None else turning.turned(vectors)

    def _turned_back(self, vectors: FloatMatrix, row: store.GalleryRow) -> FloatMatrix:
        """Return vectors [n, D] of a revision as the model gave them."""
        turning = self._turning(row)
        return vectors if turning is None else turning.turned_back(vectors)

    def _templates_turned(self, templates: Sequence[NewTemplate], row: store.GalleryRow) -> Sequence[NewTemplate]:
        if row.turn is None or not templates:
            return templates
        check_templates(templates, row.model)
        vectors = self._turned(np.stack([one.vector for one in templates]), row)
        return [replace(one, vector=vector) for one, vector in zip(templates, vectors, strict=True)]

    def _turned_by_none(self, content: Content, origin: Path, source_turn_key: KeyProvider | None) -> Content:
        """Return what comes from elsewhere with its vectors as the model gave them."""
        key = source_turn_key or self._turn_key or usual_turn_key()
        source = turning_of(origin, content.turn, key if content.turn else None)
        vectors = content.vectors if source is None else source.turned_back(content.vectors)
        return replace(content, vectors=vectors, turn=None)

    def _check_model(self, digest: str | None) -> None:
        bound = self.model
        if digest is not None and digest != bound.digest:
            raise ModelMismatch(
                f"the gallery {self.place} was embedded by {bound.name} (SHA-256 {bound.digest}), the model at hand has"
                f" {digest}; use that model, or `faceid gallery reembed` to move the gallery to this one"
            )

    def _found(
        self,
        snapshot: Snapshot,
        vectors: FloatMatrix,
        k: int,
        threshold: float | None,
        proof: Proof | None,
        fast: bool,
    ) -> Found:
        check_vectors(vectors, snapshot.row.model.dimension)
        vectors = self._turned(vectors, snapshot.row)
        return search(snapshot.parts, vectors, k, kind=self._kind, threshold=threshold, proof=proof, fast=fast)

    def _search_outside(
        self, searcher: OutsideSearch, vectors: FloatMatrix, k: int, proof: Proof, fast: bool
    ) -> list[SearchResult]:
        """Search as `search` does, by the list of an engine elsewhere."""
        row = self._row()
        check_vectors(vectors, row.model.dimension)
        for _ in range(_PATIENCE):
            found, row = searcher.search(self._database.read, self._turned(vectors, row), k, proof, fast=fast)
            with self._database.read() as connection:
                if self._still_holds(connection, row, found):
                    people = np.unique(found.ids[found.ids >= 0]).tolist()
                    return _results(row, found, store.names(connection, people))
        raise GalleryBusy(f"{self.path} was written again and again while it was searched; try again")

    def _still_holds(self, connection: Connection, row: store.GalleryRow, found: Found) -> bool:
        """Whether those who were found at a revision are there, as the gallery is now: a search holds no transaction.

        Somebody may have been removed, merged or erased while it ran.
        """
        if store.revision(connection) == row.revision:
            return True
        people = np.unique(found.ids[found.ids >= 0]).tolist()
        return len(store.searchable(connection, people)) == len(people)

    def _at_once(self, ask: Callable[[Connection, Snapshot], _Answer]) -> _Answer:
        """Ask the snapshot within the transaction of its revision, whatever writers do and the caches' files are."""

        def act() -> _Answer:
            # One at a time: each waits for the caches with a connection in hand; many would leave none to refresh them.
            with self._alone, self._database.read() as connection:
                return ask(connection, self._cache.at(connection))

        return self._in_step(act)

    def _in_step(self, act: Callable[[], _Answer]) -> _Answer:
        """Do something with the caches; again, if they were replaced meanwhile or are no good."""
        for attempt in itertools.count():
            try:
                return act()
            except OutdatedRead:  # the caches are newer than the transaction, or than a database that was put back
                if attempt >= _PATIENCE:
                    self._cache.distrust()
            except SegmentDamaged:
                self._cache.distrust()
        raise AssertionError("unreachable")

    @property
    def _keeps_caches(self) -> bool:
        """Whether to bring the files up to date: the one writer does; of those who share them, whoever has searched.

        There a writer does so, too, unless it would have to fetch much that nobody on this machine has asked for.
        """
        if not self._database.shares_files:
            return self._database.writable
        return self._cache.known is not None or (self._database.writable and self._caches_are_cheap())

    def _caches_are_cheap(self) -> bool:
        if (self.path / MANIFEST).exists():
            return True
        with self._database.read() as connection:
            numbers = store.last_id(connection, "template") * store.gallery_row(connection).model.dimension
        return 4 * numbers <= IN_MEMORY

    def _latest(self) -> Snapshot:
        """Return the snapshot of the present revision; whoever shares the caches' files sees after them now and then.

        That is when much is in memory alone, or the files still hold somebody who was erased elsewhere.
        """
        snapshot = self._cache.latest(self._database.read)
        if self._database.shares_files and snapshot is not self._tended:
            self._tended = snapshot
            if self._cache.in_memory > IN_MEMORY or self._cache.holds_erased(self._database.read):
                with suppress(FileNotWritten):
                    self._save_cache()
        return snapshot

    def _save_cache(self, *, erased: bool = False) -> bool:
        """Bring the files to the present revision; False where another process is at it."""
        with self._database.saving(ERASING_PATIENCE if erased else 0) as ours:
            if ours:
                self._in_step(lambda: self._cache.save(self._database.read, erased=erased))
            return ours

    def _make_room(self) -> None:
        """Keep a writer that stays open from holding in memory all that it enrolled."""
        if self._keeps_caches:
            with suppress(FileNotWritten):  # what was enrolled is safe in the database
                self._save_cache()
        self._cache.forget_offers()

    def _finish_erase(self) -> bool:
        """Get erased bytes out of the files; False while a reader of an older revision is in the way."""
        self._cache.forget_offers()
        self._cohorts = {}
        remove_scores(self.path)
        if self._database.renew_sealing():  # copies of the caches that somebody has kept can no longer be read
            self._cache.remove()
        try:
            if not self._save_cache(erased=True):
                self._erasure_notes = ("another program is saving the caches",)
                return False
        except FileNotWritten:  # a full disk: the caches can be made again, the erasing cannot wait for it
            self._cache.remove()
        gone_elsewhere, scrubbed = self._outside.erase(), self._database.scrub()
        away = () if gone_elsewhere else ("an index elsewhere cannot be reached",)
        self._erasure_notes = (*scrubbed.notes, *away)
        if not (gone_elsewhere and scrubbed.done):
            return False
        with self._database.write() as connection:
            connection.execute(update(gallery).values(erase_pending=0))
            store.seal(connection)
        return True


def _results(row: store.GalleryRow, found: Found, named: dict[int, store.Named]) -> list[SearchResult]:
    certified = zip(found.exact_decision.tolist(), found.exact_candidates.tolist(), strict=True)
    return [
        SearchResult(
            tuple(
                Candidate(person, who.name, similarity, rank, who.external_id, who.namesakes)
                for rank, (person, similarity) in enumerate(zip(people, scores, strict=True), start=1)
                if person >= 0  # an engine elsewhere may list too few
                for who in [named[person]]
            ),
            *proofs,
            row.revision,
        )
        for people, scores, proofs in zip(found.ids.tolist(), found.scores.tolist(), certified, strict=True)
    ]


def _check_type(items: Sequence[object], kind: type) -> None:
    for one in items:
        if not isinstance(one, kind):
            raise TypeError(f"{kind.__name__} is what is taken, not {type(one).__name__}")


def _id(value: int) -> int:
    """Return an id as an int of Python, whose checksum is that of what SQLite gives back; TypeError for no integer."""
    number = int(operator.index(value))
    if not 0 <= number < 2**63:
        raise GalleryError(f"there is no id {number} in any gallery")
    return number


def _is_new(one: Added, last: int) -> bool:
    return one.status == "enrolled" and one.template_id is not None and one.template_id > last
