"""A gallery of turned vectors answers as one of plain ones; what lies in it fits no other gallery."""

import numpy as np
import pytest

from benchmarks.measurements.durability.scenario import needles, photos_of, traces
from indexer.calibration.calibration import calibrate_from_strangers
from indexer.crypto.cancelable import new_turning
from indexer.crypto.keys import KeyVariable
from indexer.errors import GalleryError, KeyMissing, ModelMismatch, VectorError, WrongKey
from indexer.gallery import Gallery
from indexer.search.scores import canonical_scores
from tests.indexer.made_up_people import MODEL, OTHER_MODEL, photo, unit_vectors

PEOPLE = [photo(f"Person {i % 30}", f"folder/{i}") for i in range(60)]
PROBES = unit_vectors(20, seed=5)
ROUNDING = 3e-7


@pytest.fixture(autouse=True)
def _no_usual_keys(monkeypatch):
    monkeypatch.delenv("FACEID_TURN_KEY", raising=False)
    for number, name in enumerate(("ONE", "OTHER", "THIRD"), start=1):
        monkeypatch.setenv(name, bytes([number] * 32).hex())


ONE, OTHER, THIRD = KeyVariable("ONE"), KeyVariable("OTHER"), KeyVariable("THIRD")


@pytest.fixture
def turned(tmp_path):
    with Gallery.create(tmp_path / "turned", MODEL, turn_key=ONE) as gallery:
        gallery.add(PEOPLE)
        yield gallery


@pytest.fixture
def plain(tmp_path):
    with Gallery.create(tmp_path / "plain", MODEL) as gallery:
        gallery.add(PEOPLE)
        yield gallery


def stored(gallery):
    """What lies in the database: [n, D], in order of id."""
    with gallery._database.read() as connection:
        blobs = connection.exec_driver_sql("SELECT vector FROM embedding ORDER BY template_id").scalars().all()
    return np.frombuffer(b"".join(blobs), "<f4").reshape(len(blobs), -1)


def alike(one, other):
    """Whether two answers name the same people with the same scores, but for rounding."""
    for a, b in zip(one, other, strict=True):
        assert [c.id for c in a.candidates] == [c.id for c in b.candidates]
        scores = [[c.similarity for c in answer.candidates] for answer in (a, b)]
        assert np.abs(np.subtract(*scores)).max() < ROUNDING
        assert (a.exact_decision, a.exact_candidates) == (b.exact_decision, b.exact_candidates)
    return True


def test_it_finds_whom_the_plain_one_finds_with_the_same_certificates(turned, plain):
    assert alike(turned.search(PROBES, 12, threshold=0.4), plain.search(PROBES, 12, threshold=0.4))
    assert alike(
        turned.search(PROBES, 12, threshold=0.4, on="context"), plain.search(PROBES, 12, threshold=0.4, on="context")
    )
    turned.set_fusion("mean")
    plain.set_fusion("mean")
    assert alike(turned.search(PROBES, 12), plain.search(PROBES, 12))


def test_it_is_searched_as_well_from_its_files(tmp_path, turned, plain):
    turned.close()
    with Gallery.open(tmp_path / "turned", turn_key=ONE) as reader:
        assert alike(reader.search(PROBES, 5), plain.search(PROBES, 5))
        assert reader.check(deep=True) == []


def test_what_lies_in_it_is_not_what_the_model_gave(tmp_path, turned):
    turned.close()
    vectors = np.stack([one.vector for one in PEOPLE])
    with Gallery.open(tmp_path / "turned", turn_key=ONE) as reader:
        lying = stored(reader)
        assert np.abs(canonical_scores(lying, vectors)).mean() < 0.3
        assert np.abs(reader.embeddings().vectors - vectors).max() < ROUNDING
        assert (
            np.abs(
                reader.sample(10).vectors - reader.embeddings().vectors[[0, 6, 13, 19, 26, 32, 39, 45, 52, 59]]
            ).max()
            == 0
        )
    assert not [found for found in traces(tmp_path / "turned", needles(PEOPLE)) if "float" in found or "int8" in found]


def test_two_galleries_of_one_key_do_not_compare(tmp_path, turned):
    with Gallery.create(tmp_path / "again", MODEL, turn_key=ONE) as again:
        again.add(PEOPLE)
        assert np.abs(canonical_scores(stored(turned), stored(again))).mean() < 0.3
        assert np.abs(again.embeddings().vectors - turned.embeddings().vectors).max() < ROUNDING


def test_it_opens_with_its_key_alone(tmp_path, turned, monkeypatch):
    turned.close()
    with pytest.raises(KeyMissing, match="are turned by the key") as missing:
        Gallery.open(tmp_path / "turned")
    with pytest.raises(WrongKey, match="are turned by the key") as wrong:
        Gallery.open(tmp_path / "turned", turn_key=OTHER)
    assert (missing.value.exit_code, wrong.value.exit_code) == (7, 8)
    monkeypatch.setenv("FACEID_TURN_KEY", "env:ONE")
    Gallery.open(tmp_path / "turned").close()


def test_a_plain_gallery_is_not_taken_for_a_turned_one(tmp_path, plain):
    plain.close()
    with pytest.raises(GalleryError, match="lie as the model gave them: unset FACEID_TURN_KEY"):
        Gallery.open(tmp_path / "plain", turn_key=ONE)


def test_turning_anew_needs_no_photo_and_changes_no_answer(tmp_path, turned):
    before, was = turned.search(PROBES, 5), stored(turned)
    turned.keep_strangers(unit_vectors(9, seed=8), np.arange(9))
    turned.close()
    with Gallery.open(tmp_path / "turned", writable=True, turn_key=ONE) as gallery:
        gallery.turn(OTHER)
        assert alike(gallery.search(PROBES, 5), before)
        assert np.abs(gallery.kept_strangers().vectors - unit_vectors(9, seed=8)).max() < ROUNDING
    with pytest.raises(WrongKey):
        Gallery.open(tmp_path / "turned", turn_key=ONE)
    with Gallery.open(tmp_path / "turned", turn_key=OTHER) as gallery:
        assert alike(gallery.search(PROBES, 5), before)
        assert gallery.check(deep=True) == []
        assert np.abs(canonical_scores(stored(gallery)[:60], was)).mean() < 0.3
    old = {f"{n}": was[n].tobytes() for n in range(60)}
    assert traces(tmp_path / "turned", old) == [], "the vectors of before are out of every file"


def test_a_plain_gallery_becomes_a_turned_one(tmp_path, plain):
    before = plain.search(PROBES, 5)
    plain.turn(ONE)
    assert alike(plain.search(PROBES, 5), before)
    assert plain.stats().turned_by is not None
    plain.close()
    with Gallery.open(tmp_path / "plain", turn_key=ONE) as gallery:
        assert alike(gallery.search(PROBES, 5), before)
    assert not [one for one in traces(tmp_path / "plain", needles(PEOPLE)) if "float" in one or "int8" in one]


def test_a_reader_of_before_is_refused_when_the_vectors_were_turned(tmp_path, turned):
    with Gallery.open(tmp_path / "turned", turn_key=ONE) as reader:
        reader.search(PROBES, 1)
        turned.turn(OTHER)
        with pytest.raises(WrongKey):
            reader.search(PROBES, 1)
        with pytest.raises(WrongKey):
            reader.embeddings()


def test_turning_many_times_leaves_the_vectors_where_they_were(turned):
    for number in range(30):
        turned.turn(OTHER if number % 2 else THIRD)
    vectors = np.stack([one.vector for one in PEOPLE])
    assert np.abs(turned.embeddings().vectors - vectors).max() < 1e-6


def test_vectors_that_another_writer_turned_meanwhile_are_turned_on_from_there(plain, monkeypatch):
    def slowly(folder, key):
        monkeypatch.setattr("indexer.gallery.new_turning", new_turning)
        plain.turn(OTHER)  # in the database of a server there are several writers
        return new_turning(folder, key)

    answers = plain.search(PROBES, 5)
    monkeypatch.setattr("indexer.gallery.new_turning", slowly)
    plain.turn(ONE)
    assert alike(plain.search(PROBES, 5), answers)


def test_the_cohort_scores_as_in_the_plain_one(turned, plain):
    cohort = unit_vectors(40, seed=6)
    for on in ("similarity", "context"):
        here, there = (gallery.ask_cohort(cohort, "c", on).scores for gallery in (turned, plain))
        assert np.abs(here - there).max() < ROUNDING
    assert turned.ask_cohort(cohort, "c") is turned.ask_cohort(cohort, "c")


def test_a_calibration_of_before_holds_and_one_of_after_says_the_same(turned, plain):
    before = calibrate_from_strangers(plain, PROBES, data="x")
    assert np.abs(calibrate_from_strangers(turned, PROBES, data="x").scores - before.scores).max() < ROUNDING
    plain.save_calibrations([before])
    plain.turn(ONE)
    assert np.array_equal(plain.calibrations()[0].scores, before.scores)


def test_an_export_carries_the_vectors_as_they_lie_and_says_so(tmp_path, turned, plain):
    turned.export(tmp_path / "e.parquet")
    assert stored(turned)[0].tobytes() in (tmp_path / "e.parquet").read_bytes()
    assert PEOPLE[0].vector.tobytes() not in (tmp_path / "e.parquet").read_bytes()
    with Gallery.create(tmp_path / "other", MODEL, turn_key=OTHER) as other:
        with pytest.raises(WrongKey, match=r"e\.parquet are turned by the key"):
            other.import_(tmp_path / "e.parquet")
        assert other.size == 0
        other.import_(tmp_path / "e.parquet", source_turn_key=ONE)
        assert alike(other.search(PROBES, 5), plain.search(PROBES, 5))
    with Gallery.create(tmp_path / "straight", MODEL) as straight:
        with pytest.raises(KeyMissing):
            straight.import_(tmp_path / "e.parquet")
        straight.import_(tmp_path / "e.parquet", source_turn_key=ONE)
        assert alike(straight.search(PROBES, 5), plain.search(PROBES, 5))


def test_a_plain_export_is_turned_when_it_is_imported(tmp_path, plain):
    plain.export(tmp_path / "e.parquet")
    with Gallery.create(tmp_path / "other", MODEL, turn_key=OTHER) as other:
        other.import_(tmp_path / "e.parquet")
        assert alike(other.search(PROBES, 5), plain.search(PROBES, 5))
        assert np.abs(canonical_scores(stored(other), stored(plain))).mean() < 0.3


@pytest.mark.folder
def test_two_galleries_of_different_keys_merge_through_both_keys(tmp_path, turned, plain):
    with Gallery.create(tmp_path / "other", MODEL, turn_key=OTHER) as other:
        other.add([photo("Somebody", "else")])
        with pytest.raises(WrongKey, match="are turned by the key"):
            other.merge_from(turned.path)
        assert other.size == 1
        other.merge_from(turned.path, source_turn_key=ONE)
        plain.add([photo("Somebody", "else")])
        for mine, theirs in zip(other.search(PROBES, 31), plain.search(PROBES, 31), strict=True):
            assert [one.name for one in mine.candidates] == [one.name for one in theirs.candidates]
            pairs = zip(mine.candidates, theirs.candidates, strict=True)
            assert max(abs(a.similarity - b.similarity) for a, b in pairs) < ROUNDING


@pytest.mark.folder
def test_a_backup_is_turned_as_the_gallery_was(tmp_path, turned):
    turned.backup(tmp_path / "backup")
    turned.turn(OTHER)
    with pytest.raises(WrongKey):
        Gallery.open(tmp_path / "backup", turn_key=OTHER)
    with Gallery.open(tmp_path / "backup", turn_key=ONE) as backup:
        assert alike(backup.search(PROBES, 5), turned.search(PROBES, 5))


def test_a_new_model_s_vectors_are_turned_too(turned):
    ids = [one.id for one in turned.templates()]
    turned.add_embeddings(OTHER_MODEL, ids[:30], unit_vectors(30, 8))
    turned.turn(OTHER)
    turned.add_embeddings(OTHER_MODEL, ids[30:], unit_vectors(30, 8, seed=1))
    turned.switch_model(OTHER_MODEL)
    expected = np.concatenate([unit_vectors(30, 8), unit_vectors(30, 8, seed=1)])
    assert np.abs(turned.embeddings().vectors - expected).max() < ROUNDING
    assert np.abs(stored(turned) - expected).max() > 0.1
    turned.rebuild()
    assert turned.check(deep=True) == []


def test_bad_vectors_are_refused_as_ever(turned):
    with pytest.raises(VectorError):
        turned.search(2 * PROBES, 1)
    for wrong in (2 * PEOPLE[0].vector, np.full(16, np.nan, np.float32), PEOPLE[0].vector[:3]):
        with pytest.raises(VectorError):
            turned.add([photo("X", "x", vector=wrong)])
    with pytest.raises(VectorError):
        turned.keep_strangers(2 * PROBES, np.arange(20))
    with pytest.raises(ModelMismatch):
        turned.add_embeddings(type(MODEL)("x", OTHER_MODEL.digest, 16), [1], unit_vectors(1)) or turned.add_embeddings(
            OTHER_MODEL, [1], unit_vectors(1, 8)
        )


@pytest.mark.folder
def test_it_may_be_encrypted_too_and_copied_so(tmp_path, turned):
    before = turned.search(PROBES, 5)
    Gallery.encrypt(turned.path, tmp_path / "sealed", THIRD)
    with Gallery.open(tmp_path / "sealed", key=THIRD, turn_key=ONE) as sealed:
        assert alike(sealed.search(PROBES, 5), before)
    assert traces(tmp_path / "sealed", needles([one for n in range(40) for one in photos_of(n)])) == []


def test_a_turning_that_was_stopped_happened_or_did_not(tmp_path, turned, monkeypatch):
    before, was = turned.search(PROBES, 5), stored(turned)
    with monkeypatch.context() as patched:
        patched.setattr("indexer.store.turned_vectors.bump_revision", _stop)
        with pytest.raises(KeyboardInterrupt):
            turned.turn(OTHER)
    assert alike(turned.search(PROBES, 5), before)
    with monkeypatch.context() as patched:
        patched.setattr(Gallery, "_finish_erase", _stop)
        with pytest.raises(KeyboardInterrupt):
            turned.turn(OTHER)
        patched.setattr(Gallery, "close", lambda self: self._database.close())
        turned.close()
    with Gallery.open(tmp_path / "turned", writable=True, turn_key=OTHER) as gallery:
        assert alike(gallery.search(PROBES, 5), before)
    assert traces(tmp_path / "turned", {f"{n}": was[n].tobytes() for n in range(60)}) == []


def _stop(*_):
    raise KeyboardInterrupt
