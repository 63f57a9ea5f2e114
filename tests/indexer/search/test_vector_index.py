"""Whatever the kind of index: its answer is that of scoring every vector, in canonical scores, ties by id."""

import math
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.errors import VectorError
from indexer.search.vector_index import VectorIndex, canonical_scores, score_error
from tests.indexer.made_up_people import unit_vectors

PROVED = ("flat", "float16", "sq8", "int8")
UNPROVED = ("pq", "rabitq", "ivf-pq")


def oracle(owners, vectors, queries, k):
    """Every score by exact summation (math.fsum); each owner's best, sorted by score and owner."""
    answers = []
    for query in queries:
        best = {}
        for owner, vector in zip(owners, vectors, strict=True):
            score = float(np.float32(math.fsum(float(a) * float(b) for a, b in zip(query, vector, strict=True))))
            best[owner] = max(best.get(owner, -9.0), score)
        answers.append(sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))[:k])
    return answers


def pairs(found):
    return [list(zip(*one, strict=True)) for one in zip(found.ids.tolist(), found.scores.tolist(), strict=True)]


def filled(vectors, ids=None, kind="auto", owners=None):
    index = VectorIndex(vectors.shape[1], kind)
    index.add(np.arange(len(vectors)) if ids is None else ids, vectors, owners)
    return index


@pytest.fixture(scope="module")
def people():
    """5,000 vectors of 1,000 people in 64 dimensions."""
    rng = np.random.default_rng(5)
    centres = np.repeat(unit_vectors(1000, 64, 1), 5, axis=0)
    vectors = centres + rng.standard_normal((5000, 64)).astype(np.float32) * np.float32(0.1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def brute_force(owners, vectors, queries, k):
    every = canonical_scores(queries[:, None], vectors[None])
    answers = []
    for scores in every:
        order = np.lexsort((owners, -scores))
        first = np.sort(np.unique(owners[order], return_index=True)[1])[:k]
        answers.append(list(zip(owners[order][first].tolist(), scores[order][first].tolist(), strict=True)))
    return answers


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(PROVED),
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 24),
    copies=st.integers(1, 5),
    dimension=st.sampled_from([2, 3, 4, 20, 64]),
    k=st.integers(1, 60),
    filtered=st.booleans(),
    data=st.data(),
)
def test_every_kind_finds_what_the_oracle_finds_after_adding_removing_and_among_duplicates(
    kind, seed, count, copies, dimension, k, filtered, data
):
    rng = np.random.default_rng(seed)
    vectors = np.repeat(unit_vectors(count, dimension, seed), copies, axis=0)
    ids = rng.permutation(10 * len(vectors))[: len(vectors)].astype(np.int64)
    owners = rng.integers(0, max(1, len(vectors) // 2), len(vectors))
    index = VectorIndex(dimension, kind)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(vectors)), max_size=3)))
    for start, end in zip([0, *cuts], [*cuts, len(vectors)], strict=True):
        index.add(ids[start:end], vectors[start:end], owners[start:end])
        index.search(vectors[:1], 1)  # what it prepared for a search must not be stale afterwards
    gone = rng.random(len(vectors)) < data.draw(st.sampled_from([0, 0.1, 0.5, 1]))
    index.remove(ids[gone])
    within = rng.choice(owners, len(owners) // 2) if filtered else None
    there = ~gone & (np.isin(owners, within) if filtered else True)
    queries = np.concatenate([vectors[:2], unit_vectors(2, dimension, seed + 1)])
    found = index.search(queries, k, within=within)
    assert pairs(found) == oracle(owners[there].tolist(), vectors[there], queries, k)
    assert found.exact_candidates.all()
    assert found.exact_decision.all()
    assert len(index) == np.count_nonzero(~gone)
    assert set(index.ids) == set(ids[~gone])


@pytest.mark.parametrize("kind", PROVED)
@pytest.mark.parametrize("count", [1, 3, 40])
def test_lists_much_shorter_than_the_index_still_prove_their_answers(people, kind, count):
    owners = np.arange(5000) // 5
    queries = np.concatenate([people[17::211][: count // 2], unit_vectors(count - count // 2, 64, 9)])
    found = filled(people, kind=kind, owners=owners).search(queries, 7)
    assert pairs(found) == brute_force(owners, people, queries, 7)
    assert found.exact_candidates.all()


@pytest.mark.parametrize("count", [1, 5])
def test_a_large_index_is_coded_shared_among_threads_and_still_exact(count):
    vectors = np.repeat(unit_vectors(10_000, 64, 3), 4, axis=0)
    vectors[::4] = unit_vectors(10_000, 64, 4)  # three of four are duplicates: every place on the list is a tie
    index = filled(vectors)
    index.remove(np.arange(1, 40_000, 97))
    there = np.flatnonzero(np.arange(40_000) % 97 != 1)
    queries = np.concatenate([vectors[30_002:30_003], unit_vectors(count, 64, 8)])[:count]
    found = index.search(queries, 8)
    assert pairs(found) == brute_force(there, vectors[there], queries, 8)
    assert found.exact_candidates.all()
    assert [type(kind).__name__ for part in index._parts for kind in part.prepared.kinds.values()] == ["Int8Scan"]


@pytest.mark.parametrize("kind", UNPROVED)
def test_the_fast_path_scores_canonically_and_claims_nothing_it_did_not_prove(people, kind):
    index = filled(people, kind=kind, owners=np.arange(5000) // 5)
    index.remove(np.arange(0, 5000, 7))
    mated = people[1::35]
    found = index.search(mated, 3, fast=True)
    assert not found.exact_candidates.any()
    assert not found.exact_decision.any()
    there = np.flatnonzero(np.arange(5000) % 7)
    expected = brute_force(there // 5, people[there], mated, 3)
    assert [one[0] for one in pairs(found)] == [one[0] for one in expected]
    every = canonical_scores(mated[:, None], people[None])
    for scores, one in zip(every, pairs(found), strict=True):
        assert all(score in scores[5 * owner : 5 * owner + 5] for owner, score in one)
    proved = index.search(mated, 3)
    assert pairs(proved) == expected
    assert proved.exact_candidates.all()


def test_a_fast_search_that_saw_every_vector_is_exact_and_says_so(people):
    found = filled(people[:100]).search(people[:5], 3, fast=True)
    assert found.exact_candidates.all()
    assert found.exact_decision.all()


def test_a_decision_is_certain_when_nothing_unseen_reaches_the_threshold(people, monkeypatch):
    # A shortlist whose unseen rows score at most 0.5: the decision can be certain where the list is not.
    from indexer.search import certified_search
    from indexer.search.index_kinds import Shortlist

    index = filled(people, kind="flat")
    real = certified_search._shortlist

    def loose(*arguments):
        shortlist = real(*arguments)
        return Shortlist(shortlist.uppers, shortlist.rows, np.full_like(shortlist.unseen, 0.5))

    monkeypatch.setattr(certified_search, "_shortlist", loose)
    monkeypatch.setattr("indexer.search.index_kinds.choose", lambda *_: "flat")
    mated, stranger = people[:1], unit_vectors(1, 64, 12)
    best = index.search(stranger, 9, fast=True).scores[0, 0]
    assert best < 0.5
    for query, threshold, certain in [
        (mated, 0.7, True),  # the best, 1.0, cannot be displaced
        (stranger, 0.7, True),  # nobody reaches 0.7
        (stranger, 0.45, False),  # somebody unseen might
        (stranger, None, False),  # somebody unseen might be the best
    ]:
        found = index.search(query, 9, threshold=threshold, fast=True)
        assert found.exact_decision.tolist() == [certain]
        assert found.exact_candidates.tolist() == [False]


@pytest.mark.parametrize("kind", PROVED)
def test_a_crowd_of_equals_is_ordered_by_id_even_beyond_every_shortlist(kind):
    crowd = np.repeat(unit_vectors(1, 8), 5000, axis=0)
    ids = np.arange(5000)[::-1].copy()
    found = filled(crowd, ids, kind).search(crowd[:1], 7)
    assert found.ids.tolist() == [[0, 1, 2, 3, 4, 5, 6]]
    assert len(set(found.scores[0].tolist())) == 1


@pytest.mark.parametrize("kind", ["flat", "int8"])
def test_neighbours_closer_than_float32_rounding_come_in_canonical_order(kind):
    # Thousands of vectors within a few ulp of each other: FAISS's own order among them is arbitrary.
    rng = np.random.default_rng(3)
    base = unit_vectors(1, 512)[0]
    crowd = base + rng.standard_normal((3000, 512)).astype(np.float32) * np.float32(2e-5)
    crowd /= np.linalg.norm(crowd, axis=1, keepdims=True)
    found = filled(crowd, kind=kind).search(base[None], 20)
    assert pairs(found) == brute_force(np.arange(3000), crowd, base[None], 20)


def _prepared(vectors, kind):
    from indexer.search.index_kinds import prepare
    from indexer.search.torch_kind import TorchScan

    return TorchScan(vectors, "cpu") if kind == "gpu" else prepare(vectors, None, kind)


@pytest.mark.parametrize("kind", [*PROVED, "gpu"])
@pytest.mark.parametrize("queries", [1, 2, 70])
def test_no_score_is_above_the_bound_that_the_proof_uses(people, kind, queries):
    vectors = np.concatenate([people, -people, np.eye(64, dtype=np.float32)])  # also the far ends of every scale
    asked = vectors[:: len(vectors) // queries][:queries]
    live = np.arange(len(vectors)) % 3 > 0
    for mask in (None, live):
        shortlist = _prepared(vectors, kind).shortlist(asked, 300, mask)
        exact = canonical_scores(asked[:, None], vectors[None])
        if mask is not None:
            exact[:, ~mask] = -2
        for uppers, rows, unseen, scores in zip(shortlist.uppers, shortlist.rows, shortlist.unseen, exact, strict=True):
            seen = rows[rows >= 0]
            assert len(set(seen.tolist())) == len(seen) >= 300
            assert mask is None or mask[seen].all()
            assert (scores[seen] <= uppers[rows >= 0]).all()
            assert np.delete(scores, seen).max() <= unseen
            assert (uppers[rows >= 0] - scores[seen]).max() < 0.04


def test_the_kernels_for_any_processor_give_the_bounds_of_the_fast_ones(people, monkeypatch):
    from indexer.search import int8_scan
    from indexer.search.codes import encode

    codes = encode(people)
    for queries in (people[:1], people[:40]):
        fast = int8_scan.scan(codes, queries, 5000)
        with monkeypatch.context() as patched:
            patched.setattr(int8_scan, "HAS_VNNI", False)
            plain = int8_scan.scan(codes, queries, 5000)
        for one, other in zip(_by_row(fast), _by_row(plain), strict=True):
            assert np.abs(one - other).max() < (1e-5 if len(queries) == 1 else 0.02)


def _by_row(shortlist):
    return [upper[np.argsort(rows)][-5000:] for upper, rows in zip(shortlist.uppers, shortlist.rows, strict=True)]


def test_faiss_stays_within_the_error_bound_that_the_proof_uses():
    vectors = unit_vectors(2000, 512)
    from indexer.search.faiss_kinds import import_faiss

    index = import_faiss().IndexFlatIP(512)
    index.add(vectors)
    rough, places = index.search(vectors[:64], 2000)
    exact = canonical_scores(vectors[:64, None], vectors[places])
    assert np.abs(rough.astype(np.float64) - exact).max() < score_error(512) < 4e-5


def test_codes_with_their_residuals_enclose_the_vectors(people):
    from indexer.search.codes import encode

    codes = encode(np.concatenate([people, np.eye(64, dtype=np.float32)]))
    back = codes.codes.astype(np.float64) * codes.scales[:, None]
    rest = np.linalg.norm(np.concatenate([people, np.eye(64)]) - back, axis=1)
    assert (rest <= codes.residuals).all()
    assert codes.residuals.max() < 0.02
    again = [encode(people[start : start + 100]) for start in range(0, 5000, 100)]
    assert np.array_equal(np.concatenate([one.codes for one in again]), codes.codes[:5000])
    assert np.array_equal(np.concatenate([one.residuals for one in again]), codes.residuals[:5000])


@pytest.mark.parametrize("kind", ["flat", "int8"])
def test_the_score_of_a_pair_does_not_depend_on_its_batch(people, kind):
    index = filled(people[:500], kind=kind)
    together = index.search(people[:50], 5).scores
    alone = np.concatenate([index.search(people[i : i + 1], 5).scores for i in range(50)])
    assert np.array_equal(together, alone)


def test_asking_for_more_than_there_is_gives_what_there_is():
    assert filled(unit_vectors(3)).search(unit_vectors(2), 10).ids.shape == (2, 3)
    empty = VectorIndex(16).search(unit_vectors(2), 10)
    assert empty.ids.shape == (2, 0)
    assert empty.exact_decision.all()
    assert empty.exact_candidates.all()
    assert filled(unit_vectors(3)).search(unit_vectors(2)[:0], 10).ids.shape == (0, 3)


@pytest.mark.parametrize("kind", [*PROVED, "pq"])
def test_removed_vectors_are_never_found_and_the_rest_keeps_its_ids(people, kind):
    fast = kind == "pq"
    index = filled(people, np.arange(5000) * 7, kind)
    assert index.search(people[:1], 1, fast=fast).ids.tolist() == [[0]]
    for gone in (np.array([0, 7, 693]), np.arange(10, 3000) * 7):  # a few tombstones, then most: made anew
        index.remove(np.setdiff1d(gone, [693]) if 693 not in index.ids else gone)
        found = index.search(people[:3000:50], 1, fast=fast).ids
        assert not np.isin(found, gone).any()
        assert index.search(people[3500:3501], 1, fast=fast).ids.tolist() == [[3500 * 7]]
    assert sum(len(part.ids) for part in index._parts) < 2500
    index.add(np.array([0]), people[:1])
    assert index.search(people[:1], 1, fast=fast).ids.tolist() == [[0]]
    assert np.array_equal(index.vectors[-1], people[0])


def test_many_threads_may_search_one_index(people):
    index = filled(people, kind="int8")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: index.search(people[row : row + 1 + row % 3], 2).ids[0, 0], range(200)))
    assert found == list(range(200))


def test_a_small_gallery_is_searched_without_a_compiler(people):
    import subprocess

    code = (
        "import sys, numpy as np\nfrom indexer.search.vector_index import VectorIndex\n"
        "index = VectorIndex(4); v = np.eye(4, dtype=np.float32); index.add(np.arange(4), v); index.search(v, 2)\n"
        "assert 'numba' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("ids", "vectors", "why"),
    [
        ([5], unit_vectors(1), "already"),
        ([8, 8], unit_vectors(2), "twice"),
        ([-1], unit_vectors(1), "negative"),
        ([9], np.full((1, 16), np.nan, np.float32), "length nan"),
        ([9], np.full((1, 16), np.inf, np.float32), "length inf"),
        ([9], unit_vectors(1) * np.float32(1.002), "length 1.002"),
        ([9], np.zeros((1, 16), np.float32), "length 0"),
        ([9], unit_vectors(1, 17), "must be \\[n, 16\\]"),
        ([9], unit_vectors(1).astype(np.float64), "float32"),
        ([9], unit_vectors(1)[0], "must be \\[n, 16\\]"),
        ([9, 10], unit_vectors(1), "ids must be"),
    ],
)
def test_what_no_index_may_hold_is_refused_and_changes_nothing(ids, vectors, why):
    index = filled(unit_vectors(1), np.array([5]))
    with pytest.raises(VectorError, match=why):
        index.add(np.array(ids, np.int64), vectors)
    assert index.ids.tolist() == [5]


def test_a_query_that_is_no_embedding_is_refused():
    index = filled(unit_vectors(3))
    with pytest.raises(VectorError, match="length nan"):
        index.search(np.full((1, 16), np.nan, np.float32), 1)
    with pytest.raises(ValueError, match="at least 1"):
        index.search(unit_vectors(1), 0)
    with pytest.raises(VectorError, match="not in the index"):
        index.remove(np.array([77]))


def test_a_kind_or_a_device_that_is_not_there_is_refused():
    with pytest.raises(VectorError, match="no index kind 'annoy'"):
        VectorIndex(16, "annoy")
    from indexer.search.faiss_kinds import import_faiss

    if not hasattr(import_faiss(), "StandardGpuResources"):
        with pytest.raises(VectorError, match="this FAISS has no GPU"):
            VectorIndex(16, "faiss-gpu")
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        with pytest.raises(VectorError, match="no CUDA device"):
            VectorIndex(16, "gpu")
