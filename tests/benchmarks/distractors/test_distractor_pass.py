"""The distractor pass against a brute force over all scores, whatever the blocks, the threads and the order."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.distractors.bfloat16_fold import bfloat16_fold
from benchmarks.distractors.device_fold import device_pass
from benchmarks.distractors.distractor_kernels import THRESHOLDS, canonical_score, settled, sum_error, threshold_index
from benchmarks.distractors.distractor_pass import DistractorError, distractor_pass, mated_pairs
from indexer.errors import VectorError
from indexer.search.scores import canonical_scores

FIXED = (np.arange(THRESHOLDS) / 32768 - 1).astype(np.float32)


def unit(rows):
    rows = np.asarray(rows, np.float64)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def scattered(seed, count, dimension=16):
    return unit(np.random.default_rng(seed).standard_normal((count, dimension)))


def agrees_with_brute_force(prefix, probes, identity, distractors, order, masked, kept):
    """Every figure of a prefix again, from the whole matrix of canonical scores."""
    members = np.sort(np.arange(len(distractors))[order][: prefix.distractors])
    members = members[~masked[members]]
    scores = canonical_scores(probes[:, None], distractors[members][None])
    pairs = mated_pairs(probes, identity)
    mated = canonical_scores(probes[pairs.probe], probes[pairs.mate])
    np.testing.assert_array_equal(mated, pairs.scores)
    np.testing.assert_array_equal(prefix.above, (scores[pairs.probe] > mated[:, None]).sum(axis=1))
    np.testing.assert_array_equal(prefix.ties, (scores[pairs.probe] == mated[:, None]).sum(axis=1))
    if len(members):
        np.testing.assert_array_equal(prefix.best, scores.max(axis=1))
        np.testing.assert_array_equal(prefix.best_at, members[scores.argmax(axis=1)])
    else:
        assert np.isneginf(prefix.best).all()
        assert (prefix.best_at == -1).all()
    ranked = sorted(
        (-score, probe, at) for probe, row in enumerate(scores.tolist()) for at, score in zip(members, row, strict=True)
    )
    found = list(zip(-prefix.top_scores, prefix.top_probes, prefix.top_at, strict=True))
    assert found == ranked[:kept]
    if prefix.accepted is not None:
        counts = scores.size - np.searchsorted(np.sort(scores.ravel()), FIXED, side="left")
        np.testing.assert_array_equal(prefix.accepted, counts)
    assert prefix.trials == len(probes) * prefix.distractors


# Few directions, so that duplicates, ties between mates and distractors and scores of exactly 0 and 1 come about.
PALETTE = unit(
    [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 1, 1], [1, -2, 3], [3, 1, -2], [1e-4, 1, 0], [5, 5, 4]]
)


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_a_pass_finds_what_a_brute_force_finds(data):
    rows = st.integers(0, len(PALETTE) - 1)
    probes = PALETTE[data.draw(st.lists(rows, min_size=1, max_size=9))]
    distractors = PALETTE[data.draw(st.lists(rows, min_size=1, max_size=20))]
    identity = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(probes), max_size=len(probes))))
    masked = np.array(data.draw(st.lists(st.booleans(), min_size=len(distractors), max_size=len(distractors))))
    order = np.array(data.draw(st.permutations(range(len(distractors)))))
    sizes = data.draw(st.lists(st.integers(1, len(distractors)), min_size=1, max_size=3))
    kept = data.draw(st.integers(1, 30))
    prefixes = distractor_pass(
        probes,
        mated_pairs(probes, identity),
        distractors,
        sizes,
        kept,
        order=order,
        masked=masked,
        block=data.draw(st.integers(1, 8)),
        threads=data.draw(st.integers(1, 3)),
    )
    assert [prefix.distractors for prefix in prefixes] == sorted(set(sizes))
    for prefix in prefixes:
        agrees_with_brute_force(prefix, probes, identity, distractors, order, masked, kept)


@pytest.mark.parametrize(("block", "threads"), [(1000, 1), (17, 2), (64, 3)])
def test_blocks_and_threads_change_nothing(block, threads):
    probes, distractors, identity = scattered(1, 40, 200), scattered(2, 700, 200), np.arange(40) % 7
    prefixes = distractor_pass(
        probes, mated_pairs(probes, identity), distractors, [10, 100, 700], 500, block=block, threads=threads
    )
    for prefix in prefixes:
        agrees_with_brute_force(prefix, probes, identity, distractors, slice(None), np.zeros(700, bool), 500)


def test_scores_on_the_fixed_thresholds_and_beside_them_are_counted_on_the_right_side():
    cosines = np.concatenate([FIXED[1:-1:997], [np.float32(0.0), np.float32(-1e-30), np.float32(1e-30)]])
    cosines = np.concatenate([np.nextafter(cosines, np.float32(-2)), cosines, np.nextafter(cosines, np.float32(2))])
    distractors = np.stack([cosines, np.sqrt(1 - cosines.astype(np.float64) ** 2)], axis=1).astype(np.float32)
    probe = np.array([[1, 0]], np.float32)
    prefix = distractor_pass(probe, mated_pairs(probe, np.zeros(1, np.int64)), distractors, [len(distractors)], 1)[0]
    agrees_with_brute_force(
        prefix, probe, np.zeros(1, np.int64), distractors, slice(None), np.zeros(len(distractors), bool), 1
    )


def test_a_distractor_that_is_a_mates_own_photo_ties_with_it():
    probes = unit([[1, 0.1, 0, 0], [1, 0, 0.1, 0], [0, 0.1, 0, 1], [0, 0, 0.2, 1]])
    identity = np.array([0, 0, 1, 1])
    prefix = distractor_pass(probes, mated_pairs(probes, identity), probes[[1, 1, 2]], [3], 5)[0]
    assert prefix.above.tolist() == [0, 2, 1, 0]  # a probe that is itself a distractor is above its own mate
    assert prefix.ties.tolist() == [2, 0, 0, 1]


@pytest.mark.parametrize("dimension", [1, 7, 8, 9, 100, 128, 129, 200, 256, 300, 512, 513, 1000, 2048])
def test_the_compiled_canonical_score_is_that_of_the_gallery_to_the_bit(dimension):
    first, second = scattered(4, 100, dimension), scattered(5, 100, dimension)
    compiled = [canonical_score(x, y) for x, y in zip(first, second, strict=True)]
    np.testing.assert_array_equal(canonical_scores(first, second), np.array(compiled, np.float32))


@pytest.mark.parametrize("dimension", [3, 128, 512])
def test_any_order_of_summation_leads_to_the_canonical_score(dimension):
    random = np.random.default_rng(6)
    x, y = scattered(7, 1, dimension)[0], scattered(8, 1, dimension)[0]
    products = x.astype(np.float64) * y
    # Push the sum to where the rounding to float32 turns over, so that the order does matter.
    score = float(canonical_scores(x, y))
    for _ in range(50):
        near = float(np.cumsum(random.permutation(products))[-1])
        assert abs(near - products.sum()) <= sum_error(dimension)
        assert settled(near, sum_error(dimension), x, y) == score
    middle = (score + float(np.nextafter(np.float32(score), np.float32(2)))) / 2
    assert settled(middle, 1e-7, x, y) == score  # in doubt: computed
    assert settled(middle + 1e-9, 1e-13, x, y) > score  # not in doubt: taken as it came


@given(st.floats(-1 - 2**-9, 1 + 2**-9, width=32))
def test_a_score_is_counted_at_the_thresholds_it_reaches(score):
    assert threshold_index(np.float32(score)) == np.searchsorted(FIXED, np.float32(score), side="right")


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_any_multiset_of_photos_gives_its_ordered_pairs(counts):
    identity = np.random.default_rng(9).permutation(np.repeat(np.arange(len(counts)), counts))
    pairs = mated_pairs(scattered(10, len(identity), 3), identity)
    assert len(pairs.scores) == sum(n * (n - 1) for n in counts)
    assert (pairs.probe < pairs.mate).sum() * 2 == len(pairs.scores)
    assert (identity[pairs.probe] == identity[pairs.mate]).all()
    assert (pairs.probe != pairs.mate).all()
    for probe in range(len(identity)):
        assert (np.diff(pairs.scores[pairs.offsets[probe] : pairs.offsets[probe + 1]]) >= 0).all()


def test_what_cannot_be_is_refused_in_words():
    probes, distractors = scattered(11, 4), scattered(12, 9)
    pairs = mated_pairs(probes, np.zeros(4, np.int64))
    with pytest.raises(DistractorError, match="9 distractors cannot make galleries of 10"):
        distractor_pass(probes, pairs, distractors, [10], 1)
    with pytest.raises(VectorError, match="length 2"):
        distractor_pass(probes, pairs, distractors * 2, [9], 1)


def both_ways(probes, identity, distractors, sizes, kept, **how):
    pairs = mated_pairs(probes, identity)
    exact = distractor_pass(probes, pairs, distractors, sizes, kept, **how)
    return exact, distractor_pass(probes, pairs, distractors, sizes, kept, fold=bfloat16_fold, **how)


def assert_the_same_but_for_the_fixed_thresholds(exact, fast):
    for one, other in zip(exact, fast, strict=True):
        assert other.accepted is None
        for field in ("above", "ties", "best", "best_at", "top_scores", "top_probes", "top_at"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_the_fast_pass_finds_the_same_among_duplicates_and_ties(data):
    rows = st.integers(0, len(PALETTE) - 1)
    probes = PALETTE[data.draw(st.lists(rows, min_size=1, max_size=9))]
    distractors = PALETTE[data.draw(st.lists(rows, min_size=1, max_size=80))]
    identity = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(probes), max_size=len(probes))))
    masked = np.array(data.draw(st.lists(st.booleans(), min_size=len(distractors), max_size=len(distractors))))
    assert_the_same_but_for_the_fixed_thresholds(
        *both_ways(
            probes,
            identity,
            distractors,
            data.draw(st.lists(st.integers(1, len(distractors)), min_size=1, max_size=3)),
            data.draw(st.integers(1, 30)),
            masked=masked,
            block=data.draw(st.integers(1, 100)),
            threads=data.draw(st.integers(1, 3)),
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize(("dimension", "closeness"), [(16, 0.0), (128, 0.9), (512, 3.0)])
def test_the_fast_pass_finds_the_same_whether_mates_lie_in_the_crowd_or_above_it(dimension, closeness):
    random = np.random.default_rng(13)
    identity = np.arange(60) % 9
    centres = random.standard_normal((9, dimension))
    probes = unit(closeness * centres[identity] + random.standard_normal((60, dimension)))
    exact, fast = both_ways(probes, identity, scattered(14, 3000, dimension), [10, 500, 3000], 400)
    assert_the_same_but_for_the_fixed_thresholds(exact, fast)
    assert exact[-1].above.max() > (2000 if closeness == 0 else 0) or closeness > 1


def test_the_fast_pass_tells_neighbours_apart_that_bfloat16_cannot():
    """Distractors that differ in the last bit of a float32, around a mate: bfloat16 takes them all for one."""
    angle = np.float64(0.7) + np.arange(-40, 41) * 3e-8
    distractors = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    probes = np.array([[1, 0], [np.cos(0.7), np.sin(0.7)]], np.float32)
    exact, fast = both_ways(probes, np.zeros(2, np.int64), distractors, [81], 20)
    assert 0 < exact[0].above[0] < 81
    assert_the_same_but_for_the_fixed_thresholds(exact, fast)


def test_a_processor_whose_bfloat16_is_worse_than_proved_is_found_out(monkeypatch):
    product = torch.mm

    def coarse(first, second):
        near = product(first, second)
        return near + 0.01 if first.dtype == torch.bfloat16 else near

    monkeypatch.setattr(torch, "mm", coarse)
    probes = scattered(15, 5, 32)
    with pytest.raises(DistractorError, match="use the exact pass"):
        both_ways(probes, np.arange(5) % 2, scattered(16, 40, 32), [40], 10)


@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_a_pass_on_a_device_finds_the_same_and_counts_the_same(data):
    """The device here is torch's own processor: every step but the placement is that of a GPU."""
    rows = st.integers(0, len(PALETTE) - 1)
    probes = PALETTE[data.draw(st.lists(rows, min_size=1, max_size=9))]
    distractors = PALETTE[data.draw(st.lists(rows, min_size=1, max_size=40))]
    identity = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(probes), max_size=len(probes))))
    sizes, kept = [len(distractors), 1], data.draw(st.integers(1, 30))
    prefixes = device_pass("cpu")(probes, mated_pairs(probes, identity), distractors, sizes, kept, block=7)
    for prefix in prefixes:
        nothing = np.zeros(len(distractors), bool)
        agrees_with_brute_force(prefix, probes, identity, distractors, slice(None), nothing, kept)


def needs_a_gpu(device):
    why = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
    return pytest.param(device, marks=[pytest.mark.gpu, why])


@pytest.mark.parametrize("name", ["cpu", needs_a_gpu("cuda")])
def test_a_device_agrees_on_scores_beside_the_fixed_thresholds(name):
    probes, distractors, identity = scattered(17, 40, 200), scattered(18, 900, 200), np.arange(40) % 7
    pairs = mated_pairs(probes, identity)
    (exact,) = distractor_pass(probes, pairs, distractors, [900], 500)
    (device,) = device_pass(name)(probes, pairs, distractors, [900], 500)
    assert device.accepted is not None
    np.testing.assert_array_equal(exact.accepted, device.accepted)
    assert_the_same_but_for_the_fixed_thresholds([exact], [replace(device, accepted=None)])


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DistractorError, match="finds no CUDA device"):
        device_pass()
