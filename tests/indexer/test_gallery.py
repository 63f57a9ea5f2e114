"""What a user of the gallery sees: enrolling, searching, curating people, one writer, many readers."""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer.errors import FaceIdError, GalleryError, GalleryLocked, InvalidName, ModelMismatch, VectorError
from indexer.gallery import Gallery
from indexer.search.scores import canonical_scores
from tests.indexer.made_up_people import DIMENSION, MODEL, OTHER_MODEL, digest_of, photo, unit_vectors
from tests.indexer.raw_database import raw_database


def outcomes(added):
    return [(one.status, *one.reason_codes) for one in added]


def names(gallery):
    return [person.name for person in gallery.identities()]


def who(gallery, template):
    """The name that the photo's own vector is searched to, None if nobody is that near."""
    best = gallery.search(template.vector[None], 1)[0].candidates
    return best[0].name if best and best[0].similarity > 0.999 else None


# Enrolling


def test_enrolling_the_same_photos_again_changes_nothing(gallery):
    folder = [photo("Ann", "ann1"), photo("Ann", "ann2"), photo("Bob", "bob1")]
    first = gallery.add(folder)
    revision = gallery.revision
    second = gallery.add(folder)
    assert outcomes(first) == [("enrolled",)] * 3
    assert outcomes(second) == [("already_enrolled",)] * 3
    assert [one.template_id for one in first] == [one.template_id for one in second]
    assert gallery.revision == revision
    assert [(one.name, one.templates) for one in gallery.identities()] == [("Ann", 2), ("Bob", 1)]


def test_one_photo_twice_in_a_call_is_one_template(gallery):
    added = gallery.add([photo("Ann", "ann1"), replace(photo("Ann", "ann1"), source="photos/copy")])
    assert outcomes(added) == [("enrolled",), ("already_enrolled",)]
    assert added[0].template_id == added[1].template_id
    assert gallery.identities()[0].templates == 1


def test_two_people_may_bear_one_name_and_the_external_id_tells_them_apart(gallery):
    gallery.add([photo("Ann", "a", "7"), photo("Ann", "b", "8"), photo("Ann", "c"), photo("Anne", "d", "7")])
    people = gallery.identities()
    assert [(one.name, one.external_id, one.templates) for one in people] == [
        ("Ann", "7", 2),
        ("Ann", "8", 1),
        ("Ann", None, 1),
    ]
    assert [one.id for one in gallery.find("Ann")] == [1, 2, 3]
    assert [one.external_id for one in gallery.find("8")] == ["8"]
    assert [one.id for one in gallery.find(3)] == [3]


def test_a_photo_of_somebody_else_is_rejected_and_creates_nobody(gallery):
    gallery.add([photo("Ann", "shared")])
    assert outcomes(gallery.add([photo("Bob", "shared")])) == [("rejected", "enrolled_as_someone_else")]
    assert names(gallery) == ["Ann"]
    # In one call the first one wins.
    both = gallery.add([photo("Cleo", "other"), photo("Dan", "other"), photo("Dan", "own")])
    assert outcomes(both) == [("enrolled",), ("rejected", "enrolled_as_someone_else"), ("enrolled",)]


def test_names_are_normalised_and_bad_ones_rejected_one_by_one(gallery):
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    added = gallery.add([photo(composed, "1"), photo(decomposed, "2"), photo("a\nb", "3"), photo("x" * 256, "4")])
    assert outcomes(added) == [("enrolled",)] * 2 + [("rejected", "invalid_name")] * 2
    assert names(gallery) == [composed]
    assert gallery.find(decomposed)[0].templates == 2
    for wrong in ("", "  ", "\u0000", "\u00e4" * 128):
        with pytest.raises(InvalidName):
            gallery.rename(1, wrong)


@pytest.mark.parametrize(
    "vector",
    [
        np.full(DIMENSION, np.nan, np.float32),
        np.zeros(DIMENSION, np.float32),
        unit_vectors(1, DIMENSION + 1)[0],
        unit_vectors(1)[0].astype(np.float64),
    ],
)
def test_one_bad_vector_refuses_the_whole_call(gallery, vector):
    with pytest.raises(VectorError):
        gallery.add([photo("Ann", "good"), photo("Bob", "bad", vector=vector)])
    assert gallery.identities() == []


def test_photos_already_known_are_reported_by_digest(gallery):
    gallery.add([photo("Ann", "a1"), photo("Bob", "b1", "7")])
    gallery.remove(1)
    found = gallery.enrolled([digest_of("a1"), digest_of("b1"), digest_of("never")])
    assert set(found) == {digest_of("a1"), digest_of("b1")}
    assert [(one.name, one.removed) for one in found[digest_of("a1")]] == [("Ann", True)]
    assert [(one.identity_id, one.external_id, one.removed) for one in found[digest_of("b1")]] == [(2, "7", False)]


def test_templates_tell_their_sources(gallery):
    gallery.add([photo("Ann", f"a{i}") for i in range(4500)])
    rows = list(gallery.templates())
    assert [row.id for row in rows] == list(range(1, 4501))
    assert (rows[0].name, rows[0].source, rows[0].source_digest) == ("Ann", "photos/a0", digest_of("a0"))
    assert (rows[0].box, rows[0].precision) == ((10.0, 20.0, 30.0, 40.0), "float32")
    assert gallery.remove_templates([1, 2, 2]) == 2
    assert [row.id for row in gallery.templates()][:2] == [3, 4]
    assert [row.removed for row in gallery.templates(include_removed=True)][:3] == [True, True, False]


# Searching


def brute_force(gallery, queries, fusion):
    data = gallery.embeddings()
    answers = []
    for query in queries:
        best = {}
        for person in np.unique(data.identity_ids).tolist():
            own = data.vectors[data.identity_ids == person]
            if fusion == "mean":
                mean = own.mean(axis=0, dtype=np.float64)
                own = (mean / np.linalg.norm(mean)).astype(np.float32)[None]
            best[person] = float(canonical_scores(query, own).max())
        answers.append(sorted(best.items(), key=lambda pair: (-pair[1], pair[0])))
    return answers


@pytest.mark.parametrize("fusion", ["max", "mean"])
def test_the_best_identities_are_those_of_brute_force(tmp_path, fusion):
    rng = np.random.default_rng(1)
    crowd = np.repeat(unit_vectors(40), rng.integers(1, 9, 40), axis=0)  # exact duplicates among and within people
    new = [photo(f"p{rng.integers(0, 30)}", str(i), vector=vector) for i, vector in enumerate(crowd)]
    with Gallery.create(tmp_path / "g", MODEL, fusion) as gallery:
        gallery.add(new)
        queries = np.concatenate([unit_vectors(5, seed=9), crowd[:5]])
        expected = brute_force(gallery, queries, fusion)
        for k in (1, 2, 7, 100):
            found = gallery.search(queries, k)
            assert [[(one.id, one.similarity) for one in row.candidates] for row in found] == [
                row[:k] for row in expected
            ]
            assert all([one.rank for one in row.candidates] == list(range(1, len(row.candidates) + 1)) for row in found)
            assert all(row.exact_decision and row.exact_candidates for row in found)


def test_one_person_with_very_many_templates_does_not_push_the_others_out(gallery):
    near = unit_vectors(1)[0]
    gallery.add([photo("Many", f"m{i}", vector=near) for i in range(500)])
    gallery.add([photo("Few", "f", vector=unit_vectors(1, seed=5)[0]), photo("Other", "o")])
    found = [one.name for one in gallery.search(near[None], 3)[0].candidates]
    assert found[0] == "Many"
    assert set(found) == {"Many", "Few", "Other"}


def test_an_empty_gallery_answers_with_nobody(gallery):
    assert [one.candidates for one in gallery.search(unit_vectors(2), 5)] == [(), ()]
    assert gallery.size == 0
    assert gallery.check() == []


def test_searches_follow_every_change(gallery):
    ann, bob = photo("Ann", "a"), photo("Bob", "b")
    gallery.add([ann])
    assert who(gallery, ann) == "Ann"
    assert who(gallery, bob) is None
    gallery.add([bob])
    assert who(gallery, bob) == "Bob"
    gallery.rename(2, "Robert")
    assert who(gallery, bob) == "Robert"
    gallery.remove(1)
    assert who(gallery, ann) is None
    gallery.merge(2, gallery.add([photo("Cleo", "c")])[0].identity_id)
    assert who(gallery, bob) == "Cleo"
    gallery.restore(1)
    assert who(gallery, ann) == "Ann"
    assert gallery.size == 2


# Curating


def test_a_removed_person_stays_removed_until_restored(gallery):
    folder = [photo("Ann", "a1"), photo("Ann", "a2")]
    gallery.add(folder)
    gallery.remove(1)
    assert gallery.identities() == []
    assert outcomes(gallery.add([*folder, photo("Ann", "a3")])) == [("rejected", "removed")] * 3
    assert gallery.size == 0
    restored = gallery.add([*folder, photo("Ann", "a3")], restore=True)
    assert outcomes(restored) == [("enrolled", "restored")] * 2 + [("enrolled",)]
    assert [(one.id, one.templates) for one in gallery.identities()] == [(1, 3)]


def test_a_removed_photo_stays_removed_until_restored(gallery):
    gallery.add([photo("Ann", "a1"), photo("Ann", "a2")])
    gallery.remove_templates([1])
    assert outcomes(gallery.add([photo("Ann", "a1"), photo("Ann", "a2")])) == [
        ("rejected", "removed"),
        ("already_enrolled",),
    ]
    assert outcomes(gallery.add([photo("Ann", "a1")], restore=True)) == [("enrolled", "restored")]
    assert gallery.identities()[0].templates == 2
    with pytest.raises(GalleryError, match="no template 99"):
        gallery.remove_templates([1, 99])
    assert gallery.identities()[0].templates == 2


def test_a_photo_that_moved_on_while_its_person_was_removed_stays_where_it_went(gallery):
    gallery.add([photo("Misnamed", "face"), photo("Misnamed", "second")])
    gallery.remove(1)
    assert outcomes(gallery.add([photo("Right", "face")])) == [("enrolled",)]
    gallery.restore(1)
    assert who(gallery, photo("", "face")) == "Right"
    assert who(gallery, photo("", "second")) == "Misnamed"
    assert gallery.check() == []


def test_after_a_merge_the_old_folder_reaches_the_new_person(gallery):
    gallery.add([photo("Ann", "a1"), photo("Anna", "b1"), photo("Anja", "c1")])
    gallery.merge(3, 1)
    gallery.merge(1, 2)
    assert [(one.name, one.templates) for one in gallery.identities(include_removed=True)] == [("Anna", 3)]
    assert outcomes(gallery.add([photo("Ann", "a1"), photo("Anja", "c2")])) == [("already_enrolled",), ("enrolled",)]
    assert [one.name for one in gallery.find("Ann")] == ["Anna"]
    for wrong in (lambda: gallery.merge(2, 2), lambda: gallery.merge(1, 2), lambda: gallery.rename(1, "x")):
        with pytest.raises(GalleryError):
            wrong()


def test_a_merge_keeps_the_active_one_of_two_copies_of_a_photo(gallery):
    gallery.add([photo("Ann", "same"), photo("Ann", "a")])
    gallery.remove_templates([1])
    gallery.add([photo("Bob", "same")])
    gallery.merge(2, 1)
    assert who(gallery, photo("", "same")) == "Ann"
    assert gallery.check() == []


def test_a_name_that_is_taken_is_refused_also_by_a_removed_person(gallery):
    gallery.add([photo("Ann", "a"), photo("Bob", "b"), photo("Bob", "c", "7")])
    gallery.remove(1)
    with pytest.raises(GalleryError, match=r"already the name of identity 1 \(removed\)"):
        gallery.rename(2, "Ann")
    gallery.rename(3, "Ann")
    assert [one.id for one in gallery.find("Ann")] == [1, 3]


def test_unknown_ids_are_refused(gallery):
    for act in (gallery.remove, gallery.restore, gallery.erase, lambda i: gallery.rename(i, "x")):
        with pytest.raises(GalleryError, match="no identity 5"):
            act(5)


def test_ids_are_never_used_again(gallery):
    gallery.add([photo("Ann", "a"), photo("Bob", "b")])
    gallery.erase(2)
    added = gallery.add([photo("Bob", "b")])
    assert (added[0].identity_id, added[0].template_id) == (3, 3)


# One writer, many readers


def test_a_second_writer_is_refused_and_readers_are_not(gallery):
    gallery.add([photo("Ann", "a")])
    with pytest.raises(GalleryLocked, match="another process is writing"):
        Gallery.open(gallery.path, writable=True)
    with Gallery.open(gallery.path) as reader:
        assert who(reader, photo("", "a")) == "Ann"
        with pytest.raises(GalleryError, match="opened for reading"):
            reader.add([photo("Bob", "b")])


def test_a_reader_sees_the_next_revision_at_its_next_call(gallery):
    gallery.add([photo("Ann", "a")])
    with Gallery.open(gallery.path) as reader:
        assert who(reader, photo("", "b")) is None
        gallery.add([photo("Bob", "b")])
        assert who(reader, photo("", "b")) == "Bob"
        assert reader.revision == gallery.revision


@pytest.mark.slow
def test_a_writer_in_another_process_does_not_pull_the_log_away_from_readers_here(gallery):
    gallery.add([photo("Ann", "a")])
    gallery.close()
    code = (
        "import sys; from indexer.gallery import Gallery; from tests.indexer.made_up_people import photo\n"
        "with Gallery.open(sys.argv[1], writable=True) as writer: writer.add([photo(sys.argv[2], sys.argv[2])])"
    )
    with Gallery.open(gallery.path) as reader:
        assert reader.size == 1
        # Opening and closing it once more must not give up the locks that the first reader holds on the file.
        Gallery.open(gallery.path).close()
        for number, name in enumerate(("Bob", "Cleo"), start=2):
            subprocess.run([sys.executable, "-c", code, str(gallery.path), name], check=True)
            assert reader.size == number
            assert who(reader, photo("", name)) == name


def test_after_closing_the_next_writer_gets_in(gallery):
    gallery.close()
    with Gallery.open(gallery.path, writable=True) as again:
        again.add([photo("Ann", "a")])
        with pytest.raises(GalleryError, match="was closed"):
            gallery.add([photo("Bob", "b")])


def test_another_models_vectors_are_refused_with_both_digests(gallery):
    with pytest.raises(ModelMismatch, match=f"(?s){MODEL.digest}.*{OTHER_MODEL.digest}.*reembed"):
        Gallery.open(gallery.path, model_digest=OTHER_MODEL.digest)
    assert Gallery.open(gallery.path, model_digest=MODEL.digest).model == MODEL


@pytest.mark.folder
def test_creating_over_something_is_refused(gallery, tmp_path):
    with pytest.raises(GalleryError, match="not empty"):
        Gallery.create(tmp_path, MODEL)
    gallery.close()
    with pytest.raises(GalleryError, match="not empty"):
        Gallery.create(gallery.path, MODEL)
    with pytest.raises(GalleryError, match="no gallery in"):
        Gallery.open(tmp_path / "nowhere")


@pytest.mark.folder
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork to give up root's rights")
@pytest.mark.no_person_keys
def test_a_read_only_directory_can_be_searched(gallery):
    gallery.add([photo("Ann", "a")])
    assert who(gallery, photo("", "a")) == "Ann"
    gallery.close()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "read-only"
        shutil.copytree(gallery.path, path)
        (path / "index.json").unlink()
        for file in path.iterdir():
            file.chmod(0o444)
        path.chmod(0o555)
        Path(folder).chmod(0o755)
        try:
            as_an_ordinary_user(lambda: look_and_try_to_write(path))
        finally:
            path.chmod(0o700)


@pytest.mark.folder
def test_a_reader_who_may_not_write_to_the_folder_follows_who_may(gallery, monkeypatch):
    """A container's read-only mount, say: while nobody writes, SQLite is told that nobody ever will."""
    gallery.add([photo("Ann", "a"), photo("Bob", "b")])
    gallery.close()
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **how: mode != os.W_OK and may(path, mode, **how))
    with Gallery.open(gallery.path) as reader:
        assert who(reader, photo("", "a")) == "Ann"
        with Gallery.open(gallery.path, writable=True) as writer:
            writer.add([photo("Cleo", "c")])
            assert who(reader, photo("", "c")) == "Cleo"
            writer.remove(1)
        assert [one.name for one in reader.identities()] == ["Bob", "Cleo"]
    with Gallery.open(gallery.path) as reader:
        assert who(reader, photo("", "b")) == "Bob"
        with Gallery.open(gallery.path, writable=True) as writer:
            writer.erase(2)
        assert who(reader, photo("", "b")) is None


def look_and_try_to_write(path):
    with Gallery.open(path) as reader:
        assert who(reader, photo("", "a")) == "Ann"
        assert reader.check(deep=True) == []
        with pytest.raises(GalleryError, match="cannot take a copy"):
            reader.backup(path / "backup")
    with pytest.raises(GalleryError, match="cannot be written"):
        Gallery.open(path, writable=True)
    with pytest.raises(GalleryError, match="cannot be made a gallery"):
        Gallery.create(path / "new", MODEL)


def as_an_ordinary_user(act):
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            act()
            os._exit(0)
        except BaseException as error:  # the parent must hear of it, not run on as a second test session
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


# Care


def test_the_trail_tells_what_was_done_and_names_nobody(gallery):
    gallery.add([photo("Ann", "a"), photo("Bob", "b")])
    gallery.rename(1, "Anna")
    gallery.merge(2, 1)
    gallery.remove(1)
    gallery.restore(1)
    with raw_database(gallery.path / "gallery.db") as raw:
        rows = raw.execute("SELECT action, identity_id, details FROM audit ORDER BY id").fetchall()
    assert [row[:2] for row in rows] == [
        ("enroll", 1),
        ("enroll", 2),
        ("rename", 1),
        ("merge", 2),
        ("remove", 1),
        ("restore", 1),
    ]
    assert not any(name in str(rows) for name in ("Ann", "Bob"))


def test_stats_count(gallery):
    gallery.add([photo("Ann", "a1"), photo("Ann", "a2"), photo("Ann", "a3"), photo("Bob", "b"), photo("Cleo", "c")])
    gallery.remove(3)
    gallery.remove_templates([1])
    stats = gallery.stats()
    assert (stats.identities, stats.removed_identities) == (2, 1)
    assert (stats.templates, stats.removed_templates) == (3, 2)
    assert (stats.templates_per_identity, stats.max_templates_per_identity) == (1.5, 2)
    assert stats.precisions == {"float32": 5}
    assert (stats.revision, stats.fusion, stats.model) == (gallery.revision, "max", MODEL)
    assert stats.database_bytes > 0


@pytest.mark.parametrize("kind", [np.int64, np.int32, bool])
def test_an_id_of_another_integer_type_is_that_id(gallery, kind):
    gallery.add([photo("Ann", "a")])
    gallery.remove(kind(1))
    gallery.restore(kind(1))
    gallery.rename(kind(1), "Anna")
    gallery.remove_templates([kind(1)])
    assert gallery.check(deep=True) == []
    with pytest.raises(TypeError):
        gallery.remove("1")


@pytest.mark.parametrize("odd", [None, True, np.zeros((2, 2)), 2**70, -1, float("nan"), "x", b"x", [1]], ids=repr)
def test_odd_arguments_raise_what_a_caller_expects_and_change_nothing_unseen(gallery, odd):
    gallery.add([photo("Ann", "a")])
    one_argument = ("find", "remove", "restore", "remove_templates", "enrolled", "use_index", "undo", "add", "import_")
    for method in (*one_argument, "merge_from", "save_calibrations"):
        with suppress(FaceIdError, TypeError, ValueError):
            getattr(gallery, method)(odd)
    for method in ("rename", "merge", "search"):
        with suppress(FaceIdError, TypeError, ValueError):
            getattr(gallery, method)(odd, odd)
    assert gallery.check(deep=True) == []


def test_what_is_remembered_is_made_once_a_revision_also_by_many_threads(gallery):
    made = []

    def make():
        made.append(gallery.revision)
        return len(made)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: gallery.remember("it", make), range(40))) == {1}
    gallery.add([photo("Ann", "a")])
    assert [gallery.remember("it", make), gallery.remember("it", make)] == [2, 2]


def test_what_was_remembered_while_somebody_wrote_is_made_again(gallery):
    def disturbed():
        gallery.add([photo("Ann", "a")])
        return "of one revision or the other"

    gallery.remember("it", disturbed)
    assert gallery.remember("it", lambda: "of this one") == "of this one"


@pytest.mark.folder
def test_a_folder_may_be_called_whatever_a_file_system_takes(tmp_path):
    """The name's bytes need be no UTF-8, and a URI's own signs mean nothing in it."""
    folder = tmp_path / os.fsdecode(b"st\xe4ff?#%41")
    with Gallery.create(folder, MODEL) as gallery:
        gallery.add([photo("Ann", "a")])
        gallery.export(folder.with_name(folder.name + ".parquet"))
        gallery.backup(folder.with_name(folder.name + ".backup"))
    with Gallery.open(folder.with_name(folder.name + ".backup"), writable=True) as again:
        assert names(again) == ["Ann"]
        assert again.import_(folder.with_name(folder.name + ".parquet"))[0].status == "already_enrolled"
