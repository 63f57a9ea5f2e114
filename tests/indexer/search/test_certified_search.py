"""Whatever the kind of index: its answer is that of scoring every vector, in canonical scores, ties by id."""

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.errors import VectorError
from indexer.search import certified_search, index_kinds
from indexer.search.certified_search import Part, search
from indexer.search.codes import encode
from indexer.search.index_kinds import check_kind, kind_names, load_kind
from indexer.search.scores import canonical_scores, check_vectors, score_error
from indexer.search.shortlist import Segment, Shortlist
from tests.indexer.made_up_people import unit_vectors
from tests.indexer.search.shortlister_contract import keeps_the_contract

PROVED = ("flat", "int8")


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


def parts_of(vectors, owners=None, cuts=(), gone=()):
    """Rows in one part or several, each its own owner or of `owners`; those that are `gone` are tombstones."""
    owners = np.array(np.arange(len(vectors)) if owners is None else owners)
    owners[np.asarray(gone, int)] = -1
    places = np.split(np.arange(len(vectors)), cuts)
    return [Part(Segment(its, vectors[its]), owners[its]) for its in places if len(its)]


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


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(PROVED),
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 24),
    copies=st.integers(1, 5),
    dimension=st.sampled_from([2, 3, 4, 20, 64]),
    k=st.integers(1, 60),
    data=st.data(),
)
def test_every_kind_finds_what_the_oracle_finds_in_any_parts_with_tombstones_and_among_duplicates(
    kind, seed, count, copies, dimension, k, data
):
    rng = np.random.default_rng(seed)
    vectors = np.repeat(unit_vectors(count, dimension, seed), copies, axis=0)
    owners = rng.integers(0, max(1, len(vectors) // 2), len(vectors))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(vectors)), max_size=3)))
    gone = rng.random(len(vectors)) < data.draw(st.sampled_from([0, 0.1, 0.5, 1]))
    queries = np.concatenate([vectors[:2], unit_vectors(2, dimension, seed + 1)])
    found = search(parts_of(vectors, owners, cuts, np.flatnonzero(gone)), queries, k, kind=kind)
    assert pairs(found) == oracle(owners[~gone].tolist(), vectors[~gone], queries, k)
    assert found.exact_candidates.all()
    assert found.exact_decision.all()
    exact = canonical_scores(queries[:, None], vectors[found.rows])
    assert np.array_equal(exact, found.scores)
    assert np.array_equal(owners[found.rows], found.ids)


@pytest.mark.parametrize("kind", PROVED)
@pytest.mark.parametrize("count", [1, 3, 40])
def test_lists_much_shorter_than_the_index_still_prove_their_answers(people, kind, count):
    owners = np.arange(5000) // 5
    queries = np.concatenate([people[17::211][: count // 2], unit_vectors(count - count // 2, 64, 9)])
    found = search(parts_of(people, owners), queries, 7, kind=kind)
    assert pairs(found) == brute_force(owners, people, queries, 7)
    assert found.exact_candidates.all()


@pytest.mark.parametrize("count", [1, 5])
def test_a_large_index_is_coded_shared_among_threads_and_still_exact(count):
    vectors = np.repeat(unit_vectors(10_000, 64, 3), 4, axis=0)
    vectors[::4] = unit_vectors(10_000, 64, 4)  # three of four are duplicates: every place on the list is a tie
    parts = parts_of(vectors, gone=np.arange(1, 40_000, 97))
    there = np.flatnonzero(np.arange(40_000) % 97 != 1)
    queries = np.concatenate([vectors[30_002:30_003], unit_vectors(count, 64, 8)])[:count]
    found = search(parts, queries, 8)
    assert pairs(found) == brute_force(there, vectors[there], queries, 8)
    assert found.exact_candidates.all()
    assert list(parts[0].segment._prepared) == [load_kind("int8")]


def test_the_fast_path_scores_canonically_and_claims_nothing_it_did_not_prove(people):
    parts = parts_of(people, np.arange(5000) // 5, gone=np.arange(0, 5000, 7))
    mated = people[1::35]
    found = search(parts, mated, 3, kind="pq", fast=True)
    assert not found.exact_candidates.any()
    assert not found.exact_decision.any()
    there = np.flatnonzero(np.arange(5000) % 7)
    expected = brute_force(there // 5, people[there], mated, 3)
    assert [one[0] for one in pairs(found)] == [one[0] for one in expected]
    every = canonical_scores(mated[:, None], people[None])
    for scores, one in zip(every, pairs(found), strict=True):
        assert all(score in scores[5 * owner : 5 * owner + 5] for owner, score in one)
    proved = search(parts, mated, 3, kind="pq")
    assert pairs(proved) == expected
    assert proved.exact_candidates.all()


def test_a_fast_search_that_saw_every_vector_is_exact_and_says_so(people):
    found = search(parts_of(people[:100]), people[:5], 3, fast=True)
    assert found.exact_candidates.all()
    assert found.exact_decision.all()


def test_a_decision_is_certain_when_nothing_unseen_reaches_the_threshold(people, monkeypatch):
    # A shortlist whose unseen rows score at most 0.5: the decision can be certain where the list is not.
    real = certified_search._joined

    def loose(*arguments):
        shortlist = real(*arguments)
        return Shortlist(shortlist.uppers, shortlist.rows, np.full_like(shortlist.unseen, 0.5))

    monkeypatch.setattr(certified_search, "_joined", loose)
    parts = parts_of(people)
    mated, stranger = people[:1], unit_vectors(1, 64, 12)
    best = search(parts, stranger, 9, fast=True).scores[0, 0]
    assert best < 0.5
    for query, threshold, certain in [
        (mated, 0.7, True),  # the best, 1.0, cannot be displaced
        (stranger, 0.7, True),  # nobody reaches 0.7
        (stranger, 0.45, False),  # somebody unseen might
        (stranger, None, False),  # somebody unseen might be the best
    ]:
        found = search(parts, query, 9, threshold=threshold, fast=True)
        assert found.exact_decision.tolist() == [certain]
        assert found.exact_candidates.tolist() == [False]


@pytest.mark.parametrize("kind", PROVED)
def test_a_crowd_of_equals_is_ordered_by_id_even_beyond_every_shortlist(kind):
    crowd = np.repeat(unit_vectors(1, 8), 5000, axis=0)
    found = search(parts_of(crowd, np.arange(5000)[::-1]), crowd[:1], 7, kind=kind)
    assert found.ids.tolist() == [[0, 1, 2, 3, 4, 5, 6]]
    assert len(set(found.scores[0].tolist())) == 1


@pytest.mark.parametrize("kind", ["flat", "int8"])
def test_neighbours_closer_than_float32_rounding_come_in_canonical_order(kind):
    # Thousands of vectors within a few ulp of each other: FAISS's own order among them is arbitrary.
    rng = np.random.default_rng(3)
    base = unit_vectors(1, 512)[0]
    crowd = base + rng.standard_normal((3000, 512)).astype(np.float32) * np.float32(2e-5)
    crowd /= np.linalg.norm(crowd, axis=1, keepdims=True)
    found = search(parts_of(crowd), base[None], 20, kind=kind)
    assert pairs(found) == brute_force(np.arange(3000), crowd, base[None], 20)


@pytest.mark.parametrize("kind", [name for name in kind_names() if name not in ("auto", "gpu")])
def test_every_kind_keeps_the_contract(kind):
    keeps_the_contract(kind)


def test_a_gpus_kind_keeps_it_too_where_there_is_none(monkeypatch):
    torch_scan = pytest.importorskip("indexer.search.torch_scan")
    pytest.importorskip("torch")

    class OnTheProcessor(torch_scan.TorchScan):
        def __init__(self, segment):
            super().__init__(segment, "cpu")

        @classmethod
        def check_machine(cls):
            pass

    monkeypatch.setattr(torch_scan, "OnTheProcessor", OnTheProcessor, raising=False)
    monkeypatch.setitem(index_kinds._OURS, "gpu", "indexer.search.torch_scan:OnTheProcessor")
    load_kind.cache_clear()
    try:
        keeps_the_contract("gpu")
    finally:
        load_kind.cache_clear()


def test_the_kernels_for_any_processor_give_the_bounds_of_the_fast_ones(people, monkeypatch):
    from indexer.search import int8_scan

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


def test_a_float32_product_stays_within_the_error_bound_that_the_proof_uses():
    vectors = unit_vectors(2000, 512)
    exact = canonical_scores(vectors[:64, None], vectors[None])
    rough = vectors[:64] @ vectors.T
    assert np.abs(rough.astype(np.float64) - exact).max() < score_error(512) < 4e-5


def test_codes_with_their_residuals_enclose_the_vectors(people):
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
    parts = parts_of(people[:500])
    together = search(parts, people[:50], 5, kind=kind).scores
    alone = np.concatenate([search(parts, people[i : i + 1], 5, kind=kind).scores for i in range(50)])
    assert np.array_equal(together, alone)


def test_asking_for_more_than_there_is_gives_what_there_is():
    three = parts_of(unit_vectors(3))
    assert search(three, unit_vectors(2), 10).ids.shape == (2, 3)
    for nobody in ([], parts_of(unit_vectors(2), gone=[0, 1])):
        empty = search(nobody, unit_vectors(2), 10)
        assert empty.ids.shape == (2, 0)
        assert empty.exact_decision.all()
        assert empty.exact_candidates.all()
    assert search(three, unit_vectors(2)[:0], 10).ids.shape == (0, 3)
    with pytest.raises(ValueError, match="at least 1"):
        search(three, unit_vectors(1), 0)


@pytest.mark.parametrize("kind", [*PROVED, "pq"])
def test_tombstones_are_never_found(people, kind):
    gone = np.concatenate([np.arange(0, 3000, 2), [4999]])
    parts = parts_of(people, cuts=[4500], gone=gone)
    found = search(parts, people[gone[::20]], 1, kind=kind, fast=kind == "pq").ids
    assert not np.isin(found, gone).any()
    assert search(parts, people[3500:3501], 1, kind=kind, fast=kind == "pq").ids.tolist() == [[3500]]


def test_many_threads_may_search_one_index(people):
    parts = parts_of(people, cuts=[4000])

    def best(row):
        return search(parts, people[row : row + 1 + row % 3], 2, kind="int8").ids[0, 0]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(best, range(200)))
    assert found == list(range(200))


def test_a_small_gallery_is_searched_without_a_compiler_or_faiss():
    code = (
        "import sys, numpy as np\nfrom indexer.search.certified_search import Part, search\n"
        "from indexer.search.shortlist import Segment\n"
        "ids, v = np.arange(4), np.eye(4, dtype=np.float32); search([Part(Segment(ids, v), ids)], v, 2)\n"
        "assert not {'numba', 'torch', 'faiss'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_searching_changes_nothing_of_the_process_around_it():
    # A guest: OpenBLAS is told nothing by the environment, FAISS, PyTorch and Numba keep their settings.
    pytest.importorskip("torch")
    code = """
import os, sys, gc, warnings
import faiss, numba, torch
def state():
    flags = torch.backends.cuda.matmul
    return (dict(os.environ), faiss.cvar.distance_compute_blas_threshold, faiss.omp_get_max_threads(),
            flags.allow_fp16_reduced_precision_reduction, flags.allow_tf32, torch.get_num_threads(),
            gc.isenabled(), gc.get_threshold(), warnings.filters[:])
before = state()
import numpy as np
from indexer.search.certified_search import Part, search
from indexer.search.shortlist import Segment
from indexer.search.torch_scan import TorchScan
vectors = np.random.default_rng(0).standard_normal((6000, 16)).astype(np.float32)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
segment, ids = Segment(np.arange(6000), vectors), np.arange(6000)
for kind in ("flat", "int8", "pq"):
    for fast in (False, True):
        search([Part(segment, ids)], vectors[:70], 3, kind=kind, fast=fast)
TorchScan(segment, "cpu").shortlist(vectors[:3], 9, None)
assert state() == before, (state(), before)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("vectors", "why"),
    [
        (np.full((1, 16), np.nan, np.float32), "length nan"),
        (np.full((1, 16), np.inf, np.float32), "length inf"),
        (unit_vectors(1) * np.float32(1.002), "length 1.002"),
        (np.zeros((1, 16), np.float32), "length 0"),
        (unit_vectors(1, 17), "must be \\[n, 16\\]"),
        (unit_vectors(1).astype(np.float64), "float32"),
        (unit_vectors(1)[0], "must be \\[n, 16\\]"),
    ],
)
def test_what_no_gallery_may_hold_is_refused(vectors, why):
    with pytest.raises(VectorError, match=why):
        check_vectors(vectors, 16)


@pytest.mark.gpu
def test_a_gpu_finds_what_scoring_every_vector_finds(people):
    if not pytest.importorskip("torch").cuda.is_available():
        pytest.skip("no CUDA device is here")
    gone = np.arange(0, 5000, 7)
    owners = np.arange(5000) // 5
    parts = parts_of(people, owners, cuts=[100, 3000], gone=gone)
    there = np.setdiff1d(np.arange(5000), gone)
    queries = np.concatenate([people[17::211], unit_vectors(1100, 64, 9)])  # more than are multiplied at once
    found = search(parts, queries, 7, kind="gpu")
    assert pairs(found) == brute_force(owners[there], people[there], queries, 7)
    assert found.exact_candidates.all()


def test_a_kind_or_a_device_that_is_not_there_is_refused():
    with pytest.raises(VectorError, match="no index kind 'annoy'; choose from auto, flat, int8, pq, gpu"):
        check_kind("annoy")
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        with pytest.raises(VectorError, match="no CUDA device"):
            check_kind("gpu")


def test_another_package_may_bring_a_kind(monkeypatch):
    entry = EntryPoint("theirs", "indexer.search.flat_scan:FlatScan", index_kinds.GROUP)
    broken = EntryPoint("broken", "no_such_package:Kind", index_kinds.GROUP)
    every = EntryPoints([entry, broken])
    monkeypatch.setattr(index_kinds, "entry_points", lambda **which: every.select(**which))
    assert kind_names() == ["auto", "flat", "int8", "pq", "gpu", "broken", "theirs"]
    keeps_the_contract("theirs")
    with pytest.raises(VectorError, match=r"'broken' \(no_such_package:Kind\) cannot be loaded"):
        check_kind("broken")
    load_kind.cache_clear()
