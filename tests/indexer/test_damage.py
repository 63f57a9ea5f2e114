"""A flipped bit in the truth is never answered from: each answer is refused (StoreDamaged) or as before, and found.

Each test puts damage into a sound gallery's file as a disk does, below SQLite: the bytes change, no checksum follows.
"""

import pytest

from benchmarks.measurements.durability.damage import damage_all
from benchmarks.measurements.durability.scenario import calibration
from indexer.cache import index_cache
from indexer.errors import StoreDamaged
from indexer.gallery import Gallery
from indexer.store.sqlite_store import DATABASE
from tests.indexer.made_up_people import OTHER_MODEL, photo, unit_vectors
from tests.indexer.raw_database import raw_database

VECTOR = photo("Ann", "a1").vector[None]


@pytest.fixture(params=["with caches", "without caches"])
def folder(gallery, request):
    """Three people and a past, closed."""
    gallery.add([photo("Ann", "a1"), photo("Ann", "a2"), photo("Bob", "b1"), photo("Cleo", "c1")])
    gallery.remove(3)
    gallery.save_calibrations([calibration()])
    gallery.close()
    if request.param == "without caches":
        index_cache.remove_all(gallery.path)
    return gallery.path


def spoil(folder, statement):
    """Change rows as a disk does: SQLite's own checks are off, checksums and tallies stay as they were."""
    with raw_database(folder / DATABASE) as raw:
        raw.execute("PRAGMA ignore_check_constraints=ON")
        raw.execute("PRAGMA foreign_keys=OFF")
        raw.execute(statement)


ASKED = {
    "search": lambda gallery: [one.candidates for one in gallery.search(VECTOR, 3)],
    "people": lambda gallery: gallery.identities(include_removed=True),
    "templates": lambda gallery: list(gallery.templates(include_removed=True)),
    "find": lambda gallery: [
        [(one.id, one.name, one.removed) for one in gallery.find(n)] for n in ("Ann", "Ann Other")
    ],
    "thresholds": lambda gallery: [(one.scores.tobytes(), one.trials) for one in gallery.calibrations()],
    "undoable": lambda gallery: gallery.undoable(),
    "size": lambda gallery: gallery.size,
}


def asked(folder):
    """Every answer, or that it was refused."""
    answers = {}
    try:
        with Gallery.open(folder) as gallery:
            for name, ask in ASKED.items():
                try:
                    answers[name] = ask(gallery)
                except StoreDamaged:
                    answers[name] = "refused"
    except StoreDamaged:
        return dict.fromkeys(ASKED, "refused")
    return answers


def found(folder):
    try:
        with Gallery.open(folder) as gallery:
            return [one.kind for one in gallery.check() if not one.rebuild_mends]
    except StoreDamaged:
        return ["refused"]


@pytest.mark.parametrize(
    ("statement", "refused"),
    [
        ("UPDATE identity SET removed_at = '' WHERE id = 1", "people"),
        ("UPDATE identity SET removed_at = NULL WHERE id = 3", "people"),
        ("UPDATE template SET removed_at = '' WHERE id = 1", "templates"),
        ("UPDATE template SET identity_id = 2 WHERE id = 1", "templates"),
        ("UPDATE template SET quality = 0.75 WHERE id = 1", "templates"),
        ("UPDATE identity SET name = 'Bnn' WHERE id = 1", "search"),
        pytest.param("UPDATE identity SET name = CAST(name AS BLOB) WHERE id = 1", "search", marks=pytest.mark.folder),
        ("UPDATE identity SET merged_into = 2, removed_at = '' WHERE id = 1", "people"),
        ("UPDATE identity SET external_id = 'x' WHERE id = 1", "people"),
        ("DELETE FROM identity WHERE id = 3", "people"),
        ("DELETE FROM template WHERE id = 2", "templates"),
        ("UPDATE calibration SET trials = 116", "thresholds"),
        pytest.param("UPDATE calibration SET trials = 'many'", "thresholds", marks=pytest.mark.folder),
        ("DELETE FROM calibration", "thresholds"),
        ("UPDATE undo SET payload = '[]'", "undoable"),
        ("DELETE FROM undo", "undoable"),
        ("UPDATE audit SET action = 'rename' WHERE action = 'remove'", "undoable"),
        ("UPDATE gallery SET fusion = 'mean'", "search"),
        ("UPDATE gallery SET model_since = 0", "search"),
        ("UPDATE gallery SET id = 5", "search"),
        ("UPDATE model SET name = 'other'", "search"),
        ("UPDATE tally SET total = total + 1 WHERE name = 'identity'", "people"),
        ("UPDATE tally SET last_id = 2 WHERE name = 'identity'", "people"),
        ("DELETE FROM tally WHERE name = 'active'", "size"),
    ],
)
def test_a_changed_column_is_never_answered_from_and_check_finds_it(folder, statement, refused):
    before = asked(folder)
    spoil(folder, statement)
    after = asked(folder)
    assert after[refused] == "refused"
    assert [name for name in ASKED if after[name] not in ("refused", before[name])] == []
    assert found(folder)


def test_without_caches_a_search_refuses_a_gallery_from_which_somebody_vanished_or_who_changed_hands(folder):
    index_cache.remove_all(folder)
    spoil(folder, "UPDATE identity SET removed_at = '' WHERE id = 2")
    assert asked(folder)["search"] == "refused"


def test_two_templates_that_changed_places_are_noticed(folder):
    spoil(folder, "UPDATE template SET identity_id = 3 - identity_id WHERE id IN (1, 3)")
    index_cache.remove_all(folder)
    assert asked(folder)["search"] == "refused"


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM change", "UPDATE change SET template_id = 99", "UPDATE change SET revision = revision - 1"],
)
def test_a_damaged_log_of_changes_misleads_no_cache(gallery, statement):
    gallery.add([photo("Ann", "a1"), photo("Bob", "b1")])
    gallery.close()
    with Gallery.open(gallery.path, writable=True) as writer:
        caches = {file: file.read_bytes() for file in gallery.path.glob("index*")}
        writer.remove(1)
    for file in gallery.path.glob("index*"):
        file.unlink()
    for file, content in caches.items():  # one revision behind
        file.write_bytes(content)
    spoil(gallery.path, statement)
    with Gallery.open(gallery.path) as reader:
        assert [one.name for one in reader.search(VECTOR, 2)[0].candidates] == ["Bob"]
        assert "bad_tally" in [one.kind for one in reader.check()]


@pytest.mark.parametrize("version", ["0000", "0001", "0003", "0099", "000t", "'; --"])
def test_a_flipped_bit_in_the_schemas_version_is_no_older_gallery(folder, version):
    with raw_database(folder / DATABASE) as raw:
        raw.execute("UPDATE alembic_version SET version_num = ?", (version,))
    for writable in (False, True):
        with pytest.raises(StoreDamaged):
            Gallery.open(folder, writable=writable)


@pytest.mark.folder
def test_a_changed_definition_of_a_table_is_refused(folder):
    spoil(folder, "DROP INDEX ix_template_source_digest")
    with pytest.raises(StoreDamaged, match="schema is not as it was made"):
        Gallery.open(folder)


@pytest.mark.folder
def test_a_changed_letter_of_a_columns_name_is_refused(folder):
    with raw_database(folder / DATABASE) as raw:
        raw.execute("PRAGMA writable_schema=ON")
        raw.execute("UPDATE sqlite_master SET sql = replace(sql, 'checksum', 'chEcksum') WHERE name = 'tally'")
    with pytest.raises(StoreDamaged, match="schema is not as it was made"):
        Gallery.open(folder)


@pytest.mark.folder
@pytest.mark.parametrize("number", [5, 6, 12, 20, 255])
def test_a_changed_number_of_the_file_format_is_damage(folder, number):
    with (folder / DATABASE).open("r+b") as file:
        file.seek(47)
        is_it_by_chance = file.read(1) == bytes([number])  # as any number, where the file is encrypted
        file.seek(47)
        file.write(bytes([number ^ is_it_by_chance]))
    with pytest.raises(StoreDamaged):
        Gallery.open(folder)


@pytest.mark.folder
@pytest.mark.plain  # its pages are looked into
def test_check_finds_an_entry_of_an_index_that_leads_nowhere(folder):
    """SQLite looks each row up by its key, and so misses an entry of which only the key can be read."""
    with Gallery.open(folder, writable=True) as gallery:
        gallery.add([photo("Dan", "d1"), photo("Dan", "d2")])
    with raw_database(folder / DATABASE) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = raw.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_embedding_1'"
        ).fetchone()
        (size,) = raw.execute("PRAGMA page_size").fetchone()
    content = bytearray((folder / DATABASE).read_bytes())
    # The payload's size, the header's, and the types of (template_id, model_id = 1, rowid), all of template 6.
    entry = content.index(bytes([6, 4, 1, 9, 1, 6, 6]), (page - 1) * size, page * size)
    content[entry + 1] = 5
    (folder / DATABASE).write_bytes(content)
    assert found(folder) in (["integrity"], ["refused"])


@pytest.mark.folder
def test_ids_are_never_given_twice_whatever_the_databases_own_counter_says(folder):
    with Gallery.open(folder, writable=True) as gallery:
        gallery.add([photo("Dan", "d1")])
        gallery.erase(4)
    for statement in ("UPDATE sqlite_sequence SET seq = 0", "DELETE FROM sqlite_sequence"):
        spoil(folder, statement)
        with Gallery.open(folder, writable=True) as gallery:
            (one,) = gallery.add([photo("Eve", statement)])
            assert one.identity_id == 5
            assert one.template_id is not None
            assert one.template_id > 5
    spoil(folder, "UPDATE sqlite_sequence SET seq = 70 WHERE name = 'template'")
    assert "bad_sequence" in found(folder)


def test_a_writer_seals_no_damage(folder):
    """What is damaged is not made sound by a change of another of its columns."""
    spoil(folder, "UPDATE identity SET external_id = 'x' WHERE id = 2")
    with Gallery.open(folder, writable=True) as gallery:
        with pytest.raises(StoreDamaged):
            gallery.rename(2, "Robert")
        with pytest.raises(StoreDamaged):
            gallery.remove(2)
    assert "bad_row" in found(folder)


def test_a_row_in_the_place_of_the_next_one_is_damage_and_no_mistake_of_the_user(folder):
    spoil(folder, "INSERT INTO identity VALUES (4, 'Ghost', NULL, '', NULL, NULL, 0, NULL)")
    with Gallery.open(folder, writable=True) as gallery, pytest.raises(StoreDamaged, match="nothing was changed"):
        gallery.add([photo("Dan", "d1")])


@pytest.mark.folder
def test_types_that_are_not_what_the_schema_says_are_refused_in_plain_words(folder):
    spoil(folder, "UPDATE embedding SET vector = 7 WHERE template_id = 1")
    spoil(folder, "UPDATE template SET box_x = 'left' WHERE id = 2")
    with Gallery.open(folder) as gallery:
        with pytest.raises(StoreDamaged):
            gallery.embeddings()
        with pytest.raises(StoreDamaged):
            list(gallery.templates())
        assert {"bad_vector", "bad_row"} <= {one.kind for one in gallery.check(deep=True)}


@pytest.mark.folder
@pytest.mark.parametrize("drop", [[3], []], ids=["losing a template", "losing none"])
def test_a_way_to_another_model_and_back_makes_every_older_cache_foreign(gallery, drop):
    gallery.add([photo("Ann", "a1"), photo("Bob", "b1"), photo("Bob", "b2")])
    first = gallery.model
    gallery.close()
    caches = {file: file.read_bytes() for file in gallery.path.glob("index*")}
    with Gallery.open(gallery.path, writable=True) as writer:
        kept = [1, 2, 3][: 3 - len(drop)]
        writer.add_embeddings(OTHER_MODEL, kept, unit_vectors(len(kept), OTHER_MODEL.dimension))
        writer.switch_model(OTHER_MODEL, drop=drop)
        back = unit_vectors(len(kept), first.dimension, seed=5)
        writer.add_embeddings(first, kept, back)
        writer.switch_model(first)
    for file in gallery.path.glob("index*"):
        file.unlink()
    for file, content in caches.items():
        file.write_bytes(content)
    with Gallery.open(gallery.path) as reader:
        assert reader.search(back[:1], 1)[0].candidates[0].similarity == pytest.approx(1)
        for gone in ("a1", "b2"):
            assert reader.search(photo("", gone).vector[None], 1)[0].candidates[0].similarity < 0.99
        assert [one.kind for one in reader.check()] == ["stale_cache"]


def test_a_reader_that_was_open_all_the_way_sees_the_new_vectors(gallery):
    gallery.add([photo("Ann", "a1")])
    first = gallery.model
    with Gallery.open(gallery.path) as reader:
        reader.search(VECTOR, 1)
        gallery.add_embeddings(OTHER_MODEL, [1], unit_vectors(1, OTHER_MODEL.dimension))
        gallery.switch_model(OTHER_MODEL)
        back = unit_vectors(1, first.dimension, seed=5)
        gallery.add_embeddings(first, [1], back)
        gallery.switch_model(first)
        assert reader.search(back, 1)[0].candidates[0].similarity == pytest.approx(1)


def test_a_pending_erase_is_told_by_check_and_stats(gallery):
    gallery.add([photo("Ann", "a1"), photo("Bob", "b1")])
    with Gallery.open(gallery.path) as reader, reader._database.read() as connection:
        connection.exec_driver_sql("SELECT COUNT(*) FROM identity").one()
        assert gallery.erase(1) == "pending"
        assert gallery.stats().erase_pending
        assert [one.kind for one in gallery.check()] == ["erase_pending"]
    gallery.close()
    with Gallery.open(gallery.path, writable=True) as writer:
        assert not writer.stats().erase_pending
        assert writer.check() == []


@pytest.mark.slow
def test_a_damaged_byte_in_any_file_is_refused_or_mended_or_means_nothing(tmp_path):
    results = damage_all(tmp_path, 20, every=2999)
    assert [failure for one in results for failure in one.failures] == []
    assert sum(one.mended for one in results) > 20
    assert sum(one.refused for one in results) > 20
