"""Whatever befalls a cache, also while it is open, or however cunningly it was made: the answer is the database's."""

import hashlib
import itertools
import json
import os

import numpy as np
import pytest

from indexer.cache import index_manifest
from indexer.cache.segment_file import row_sums
from indexer.gallery import Gallery
from indexer.search import codes
from tests.indexer.cache_files import arrays_of, content_of, manifest_of, sealing_of, write_arrays, write_content
from tests.indexer.made_up_people import MODEL, OTHER_MODEL, photo, unit_vectors

PEOPLE = [photo(f"p{i}", str(i)) for i in range(40)]
QUERIES = np.concatenate([unit_vectors(3), PEOPLE[7].vector[None]])


@pytest.fixture(params=["plain", "coded", "mean"])
def closed(tmp_path, request, monkeypatch):
    """A gallery with its caches, closed; with 8-bit codes in them as in a large one, or without; or of means."""
    if request.param == "coded":
        monkeypatch.setattr(codes, "CODED_FROM", 8)
        monkeypatch.setattr("indexer.search.index_kinds.CODED_FROM", 8)
        monkeypatch.setattr("indexer.search.certified_search._FIRST_WIDTH", 1)
    path = tmp_path / "g"
    with Gallery.create(path, MODEL, "mean" if request.param == "mean" else "max") as gallery:
        gallery.add(PEOPLE)
    return path


def people_and_scores(gallery):
    return [[(one.name, one.similarity) for one in answer.candidates] for answer in gallery.search(QUERIES, 2)]


def answer(path):
    with Gallery.open(path) as reader:
        return people_and_scores(reader)


def kinds(path):
    with Gallery.open(path) as reader:
        return [problem.kind for problem in reader.check(deep=True)]


def forge(path, **changes):
    """Rewrite the manifest with right checksums of its own."""
    content = json.loads(content_of(path / "index.json"))
    del content["sha256"]
    content.update(changes)
    forged = json.dumps({**content, "sha256": index_manifest._digest(content)})
    write_content(path / "index.json", forged.encode())


def record_of(file):
    content = file.read_bytes()
    sealed = sealing_of(file.parent) is not None
    chunks = [] if sealed else [content[start : start + (1 << 20)] for start in range(0, len(content), 1 << 20)]
    return {
        "file": file.name,
        "bytes": len(content),
        "sha256": [hashlib.sha256(one).hexdigest() for one in chunks],
    }


def rewrite_owners(path, owners, array="owners"):
    name = manifest_of(path).owners.file
    write_arrays(path / name, {**arrays_of(path / name), array: owners})
    forge(path, owners=record_of(path / name))


@pytest.mark.parametrize(
    "harm",
    [
        lambda file: os.truncate(file, 0),
        lambda file: os.truncate(file, file.stat().st_size // 2),
        lambda file: file.write_bytes(bytes(file.stat().st_size)),
        lambda file: file.write_bytes(os.urandom(file.stat().st_size)),
    ],
    ids=["emptied", "cut", "zeros", "noise"],
)
def test_a_file_that_changes_under_an_open_reader_changes_no_answer(closed, harm):
    expected = answer(closed)
    with Gallery.open(closed) as cold, Gallery.open(closed) as warm:
        assert people_and_scores(warm) == expected
        cold._cache.latest(cold._database.read)
        for name in manifest_of(closed).files:
            harm(closed / name)
        assert people_and_scores(warm) == expected
        assert people_and_scores(cold) == expected
    assert answer(closed) == expected
    with Gallery.open(closed, writable=True) as writer:
        assert people_and_scores(writer) == expected
    assert kinds(closed) == []


def test_owners_that_were_forged_with_right_hashes_are_not_believed(closed):
    expected = answer(closed)
    owners = arrays_of(closed / manifest_of(closed).owners.file)["owners"]
    swapped, hidden = owners.copy(), owners.copy()
    swapped[[3, 7]] = swapped[[7, 3]]
    hidden[7] = -1
    for forged in (swapped, hidden, owners[:-1].copy(), owners.astype(np.float32), owners * 2):
        rewrite_owners(closed, forged)
        assert answer(closed) == expected


@pytest.mark.parametrize("closed", ["mean"], indirect=True)
@pytest.mark.parametrize("array", ["templates", "template_owners"])
def test_members_of_means_that_were_forged_with_right_hashes_are_not_believed(closed, array):
    expected = answer(closed)
    sound = arrays_of(closed / manifest_of(closed).owners.file)[array]
    swapped, other = sound.copy(), sound.copy()
    swapped[[3, 7]] = swapped[[7, 3]]
    other[7] = 99
    for forged in (swapped, other, sound[:-1].copy(), sound.astype(np.float32), sound.reshape(2, 20)):
        rewrite_owners(closed, forged, array)
        assert answer(closed) == expected
        with Gallery.open(closed, writable=True) as writer:
            writer.rebuild()


def test_a_forged_list_of_active_templates_is_compared_with_the_database(closed):
    expected = answer(closed)
    owners = arrays_of(closed / manifest_of(closed).owners.file)["owners"]
    owners[[3, 7]] = owners[[7, 3]]
    rewrite_owners(closed, owners)
    from indexer.store.tally import pair_sum

    forge(closed, active=[40, pair_sum(np.arange(1, 41), owners)])
    assert answer(closed) == expected


def segment_with(path, **changes):
    """Put other arrays into the one segment, under right hashes."""
    (record,) = manifest_of(path).segments
    arrays = {**arrays_of(path / record.file), **changes}
    write_arrays(path / record.file, {name: one for name, one in arrays.items() if one is not None})
    forge(path, segments=[record_of(path / record.file)])


@pytest.mark.parametrize(
    "changes",
    [
        {"ids": np.arange(1, 41)[::-1].copy()},
        {"ids": np.ones(40, np.int64)},
        {"ids": np.arange(1, 41, dtype=np.float32)},
        {"ids": np.arange(1, 81).reshape(40, 2)},
        {"vectors": unit_vectors(40, 8)},
        {"vectors": unit_vectors(39, 16)},
        {"vectors": unit_vectors(40, 16).astype(np.float16)},
        {"vectors": None},
        {"codes": np.zeros((3, 16), np.int8), "scales": np.zeros(3, np.float32), "residuals": np.zeros(3, np.float32)},
        {"codes": np.zeros((40, 16), np.int8)},
    ],
)
@pytest.mark.parametrize("closed", ["plain"], indirect=True)
def test_arrays_of_other_shapes_and_types_are_not_believed(closed, changes):
    expected = answer(closed)
    segment_with(closed, **changes)
    assert answer(closed) == expected


@pytest.mark.parametrize("closed", ["coded"], indirect=True)
def test_a_vector_that_is_not_the_one_whose_sum_was_written_is_not_believed(closed):
    expected = answer(closed)
    (record,) = manifest_of(closed).segments
    arrays = arrays_of(closed / record.file)
    segment_with(closed, vectors=arrays["vectors"] * np.float32(1.36))
    assert answer(closed) == expected


@pytest.mark.parametrize("dimension", [16, 15])
def test_the_sum_of_a_vector_changes_with_every_bit_and_with_pairs_of_them(dimension):
    (vector,) = unit_vectors(1, dimension)
    bits = np.eye(32 * dimension, dtype=np.uint8)
    single = np.packbits(bits, axis=1) ^ np.frombuffer(vector.tobytes(), np.uint8)
    sums = row_sums(single.view(np.float32))
    original = row_sums(vector[None])[0]
    assert (sums != original).all()
    negated = np.tile(vector, (dimension * (dimension - 1) // 2, 1))
    for row, pair in enumerate(itertools.combinations(range(dimension), 2)):
        negated[row, list(pair)] *= -1
    assert len({int(original), *row_sums(negated).tolist()}) == 1 + len(negated)


@pytest.mark.parametrize(
    "changes",
    [
        {"revision": "7"},
        {"revision": 2.0},
        {"revision": None},
        {"revision": [1]},
        {"revision": True},
        {"last_template": "40"},
        {"trail": [1]},
        {"trail": "ab"},
        {"trail": [10**30, 0]},
        {"last_template": 10**30},
        {"last_template": -(10**30)},
        {"revision": 1 << 63},
        {"trail": [1.5, 2]},
        {"active": [40]},
        {"active": {"a": 1, "b": 2}},
        {"segments": None},
        {"segments": {"file": 1}},
        {"segments": [{"file": "../../etc/passwd", "bytes": 1, "sha256": []}]},
        {"segments": [{"file": "index-0123456789abcdef.safetensors", "bytes": "1", "sha256": []}]},
        {"segments": [{"file": "index-0123456789abcdef.safetensors", "bytes": 1, "sha256": [["a"]]}]},
        {"segments": [{"file": ["x"], "bytes": 1, "sha256": []}]},
        {"owners": 5},
        {"owners": {"file": "index-0123456789abcdef.safetensors", "bytes": -5, "sha256": []}},
        {"gallery": None},
        {"fusion": ["max"]},
        {"model": 3},
        {"codes": "int8-0"},
        {"unheard_of": 1},
    ],
    ids=lambda changes: json.dumps(changes)[:40],
)
@pytest.mark.parametrize("closed", ["plain"], indirect=True)
def test_odd_values_in_a_manifest_with_right_checksums_are_not_believed(closed, changes):
    expected = answer(closed)
    forge(closed, **changes)
    assert answer(closed) == expected
    with Gallery.open(closed, writable=True) as writer:
        writer.search(QUERIES, 1)
    assert kinds(closed) == []


@pytest.mark.parametrize("closed", ["plain"], indirect=True)
def test_json_nested_without_end_is_not_believed(closed):
    expected = answer(closed)
    write_content(closed / "index.json", b"[" * 200_000)
    assert answer(closed) == expected
    write_content(closed / "index.json", b'{"a":' * 200_000)
    assert answer(closed) == expected


@pytest.mark.folder
@pytest.mark.parametrize("closed", ["plain"], indirect=True)
@pytest.mark.parametrize("put", ["pipe", "folder", "link", "endless"])
def test_only_regular_files_are_opened_and_nothing_is_waited_for(closed, put):
    expected = answer(closed)
    for name in ("index.json", manifest_of(closed).segments[0].file, manifest_of(closed).owners.file):
        place, aside = closed / name, closed.parent / name
        place.rename(aside)
        if put == "pipe":
            os.mkfifo(place)
        elif put == "folder":
            place.mkdir()
        elif put == "link":
            place.symlink_to(aside)
        else:
            place.symlink_to("/dev/zero")
        assert answer(closed) == expected
        place.rmdir() if put == "folder" else place.unlink()
        aside.rename(place)
    assert kinds(closed) == []


@pytest.mark.parametrize("closed", ["plain"], indirect=True)
def test_a_writer_clears_a_pipe_away_and_leaves_a_folder(closed):
    expected = answer(closed)
    os.mkfifo(closed / "index-0123456789abcdef.safetensors")
    (closed / "index-0123456789abcdee.safetensors").mkdir()
    with Gallery.open(closed, writable=True) as writer:
        assert people_and_scores(writer) == expected
    assert not (closed / "index-0123456789abcdef.safetensors").exists()
    assert (closed / "index-0123456789abcdee.safetensors").is_dir()


@pytest.mark.folder
def test_caches_of_a_model_that_came_back_are_not_those_of_before(closed):
    # To another model and back, and a template dropped on the way: the caches of the first time are of no use.
    old = {file.name: file.read_bytes() for file in closed.iterdir() if file.name.startswith("index")}
    everybody = list(range(1, 41))
    again = unit_vectors(40, seed=77)
    with Gallery.open(closed, writable=True) as writer:
        writer.add_embeddings(OTHER_MODEL, everybody, unit_vectors(40, OTHER_MODEL.dimension))
        writer.switch_model(OTHER_MODEL, drop=[8])
        rest = [one for one in everybody if one != 8]
        writer.add_embeddings(MODEL, rest, again[np.array(rest) - 1])
        writer.switch_model(MODEL)
    with Gallery.open(closed) as reader:
        expected = people_and_scores(reader)
    assert expected[3][0][1] < 0.99, "the dropped template is not found"
    for file in closed.glob("index*"):
        file.unlink()
    for name, content in old.items():
        (closed / name).write_bytes(content)
    assert answer(closed) == expected
    with Gallery.open(closed) as reader:
        assert [one.kind for one in reader.check()] == ["stale_cache"]


def test_a_reader_that_was_open_all_the_time_follows_to_another_model_and_back(closed):
    everybody = list(range(1, 41))
    with Gallery.open(closed) as reader, Gallery.open(closed, writable=True) as writer:
        people_and_scores(reader)
        writer.add_embeddings(OTHER_MODEL, everybody, unit_vectors(40, OTHER_MODEL.dimension))
        writer.switch_model(OTHER_MODEL, drop=[8])
        rest = [one for one in everybody if one != 8]
        writer.add_embeddings(MODEL, rest, unit_vectors(39, seed=77))
        writer.switch_model(MODEL)
        assert people_and_scores(reader) == people_and_scores(writer)
        assert people_and_scores(reader)[3][0][1] < 0.99
