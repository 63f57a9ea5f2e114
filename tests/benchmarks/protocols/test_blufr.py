"""BLUFR: published splits are read, others drawn by its rule, and a trial's figures are those of brute force."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from benchmarks.formats.blufr_config import BlufrError, read_config
from benchmarks.metrics.metrics import fnir_at_fpir, tar_at_far
from benchmarks.protocols import blufr as protocol
from benchmarks.protocols.blufr import blufr, published_trials, seeded_trials
from benchmarks.protocols.errors import ProtocolError
from faceid.feature_set import FeatureSet, feature_set
from indexer.search.scores import canonical_scores

PEOPLE, SINGLES = 60, 450


def made_up(seed: int = 0) -> FeatureSet:
    """Sixty people with two to seven photos, 450 with one."""
    random = np.random.default_rng(seed)
    photos = np.concatenate([2 + np.arange(PEOPLE) % 6, np.ones(SINGLES, int)])
    labels = np.repeat([f"P{n:03d}" for n in range(len(photos))], photos)
    centres = np.repeat(random.normal(size=(len(photos), 16)), photos, axis=0)
    rows = centres + 0.7 * random.normal(size=centres.shape)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    number = np.concatenate([np.arange(n) + 1 for n in photos])
    paths = np.array([f"{name}/{name}_{n:04d}.jpg" for name, n in zip(labels, number, strict=True)])
    return feature_set(rows, labels, paths, Path("made-up.npz"))


def test_the_splits_follow_the_rule() -> None:
    features = made_up()
    trials = seeded_trials(features, training_people=90, gallery_people=30)
    assert len(trials.trials) == 10
    assert "not the published" in trials.splits
    for trial in trials.trials:
        assert len(np.unique(trials.identity[trial.test])) == PEOPLE + SINGLES - 90
        # Nobody who is tested was left out with part of the photos.
        assert np.isin(trials.identity, trials.identity[trial.test]).sum() == len(trial.test)
        assert len(np.unique(trials.identity[trial.gallery])) == len(trial.gallery) == 30
        assert sorted([*trial.gallery, *trial.probes]) == trial.test.tolist()
        assert (np.bincount(trials.identity)[trials.identity[trial.gallery]] >= 2).all()
    assert trials.trials[0].test.tolist() != trials.trials[1].test.tolist()


def test_a_seed_is_a_split() -> None:
    drawn = [seeded_trials(made_up(), seed, 90, 30).trials[0].gallery.tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_too_few_people_and_people_without_a_name_are_errors() -> None:
    features = made_up()
    with pytest.raises(ProtocolError, match="510 people, 0 with two photos are left"):
        seeded_trials(features)
    nameless = feature_set(features.features, np.full(len(features), ""), features.paths, Path("made-up.npz"))
    with pytest.raises(ProtocolError, match="without a label"):
        seeded_trials(nameless)


@pytest.mark.parametrize("block", [7, 512])
def test_a_trial_is_what_brute_force_finds(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "BLOCK", block)
    features = made_up()
    trials = seeded_trials(features, training_people=90, gallery_people=30)
    trials = replace(trials, trials=trials.trials[:2])
    results = blufr(features, trials, "net")
    for row, found, trial in zip(results.verification, results.open_set, trials.trials, strict=True):
        rows, person = features.features[trial.test], trials.identity[trial.test]
        first, second = np.triu_indices(len(rows), 1)
        scores, same = canonical_scores(rows[first], rows[second]), person[first] == person[second]
        expected = tar_at_far(scores[same], scores[~same], 1e-3)
        assert (row.tar.hits, row.tar.trials, row.threshold) == (
            expected.value.hits,
            expected.value.trials,
            expected.threshold,
        )
        assert (row.false_accepts, row.impostor_trials) == (expected.achieved.hits, (~same).sum())

        searches = canonical_scores(features.features[trial.probes][:, None], features.features[trial.gallery][None])
        mate = trials.identity[trial.probes][:, None] == trials.identity[trial.gallery]
        known = mate.any(axis=1)
        mates = searches[mate]
        ranks = 1 + ((searches[known] >= mates[:, None]) & ~mate[known]).sum(axis=1)
        missed = fnir_at_fpir(ranks, mates, searches[~known].max(axis=1), 1e-2)
        assert (found.fnir.hits, found.fnir.trials) == (missed.value.hits, known.sum())
        assert (found.threshold, found.non_mated_searches) == (missed.threshold, (~known).sum())
        assert found.distractors == 30


def test_the_figures_are_mean_and_deviation_over_the_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "TRIALS", 3)
    features = made_up()
    results = blufr(features, seeded_trials(features, training_people=90, gallery_people=30), "net")
    rates = [row.tar.rate for row in results.verification]
    assert [row.set for row in results.verification] == [1, 2, 3]
    assert results.accuracy[0].rate == pytest.approx(np.mean(rates))
    assert results.accuracy[0].folds == tuple(rates)
    assert f"mean - std {100 * (np.mean(rates) - np.std(rates, ddof=1)):.2f} %" in results.accuracy[0].convention
    assert results.accuracy[1].rate == pytest.approx(np.mean([1 - row.fnir.rate for row in results.open_set]))
    low, high = results.verification[0].tar.ci95_clustered or (1, 0)
    assert low < results.verification[0].tar.rate < high


def test_a_trial_too_small_for_a_rate_has_it_among_the_refusals_and_the_others_their_rows() -> None:
    features = made_up()
    drawn = seeded_trials(features, training_people=90, gallery_people=30)
    whole, strangers = drawn.trials[0], np.flatnonzero(drawn.identity >= PEOPLE)
    # Some 30 photos of strangers are left: far fewer than 300 non-mated searches, and too few pairs, too.
    small = protocol.Trial(
        np.setdiff1d(whole.test, strangers[30:]), whole.gallery, np.setdiff1d(whole.probes, strangers[30:])
    )
    results = blufr(features, replace(drawn, trials=(small, whole)), "net")

    others = np.isin(drawn.identity[small.probes], drawn.identity[small.gallery], invert=True).sum()
    (refusal,) = results.refusals
    assert (refusal.what, refusal.needed, refusal.trials) == ("DIR at FAR 1 %, rank 1, trial 1", 300, others)
    assert [row.set for row in results.verification] == [1, 2]
    assert [row.set for row in results.open_set] == [2]
    assert [one.convention.split(":")[0] for one in results.accuracy] == ["BLUFR, VR at FAR 0.1 %"]
    assert results.curves.fnir_fpir[0].label == "net, trial 1"

    tiny = protocol.Trial(small.test[:20], small.gallery[:1], small.test[1:20])
    results = blufr(features, replace(drawn, trials=(tiny,)), "net")
    assert [one.needed for one in results.refusals] == [3000, 300]
    assert (results.verification, results.open_set, results.accuracy) == ((), (), ())


@pytest.fixture
def read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read MATLAB files in this process: another takes a second to start."""
    reader = "benchmarks.formats.blufr_config.read_variables"
    monkeypatch.setattr(reader, lambda path, names: loadmat(path, variable_names=names))


def cells(lists: list[np.ndarray]) -> np.ndarray:
    column = np.empty((len(lists), 1), object)
    column[:, 0] = lists
    return column


def published(folder: Path, features: FeatureSet, **changes: object) -> Path:
    """A file in the layout of BLUFR's, with the trials of a seed."""
    trials = seeded_trials(features, training_people=90, gallery_people=30)
    content = {
        "imageList": cells([Path(path).name for path in features.paths.tolist()]),
        "labels": (trials.identity + 1)[:, None],
        "testIndex": cells([trial.test[:, None] + 1 for trial in trials.trials]),
        "galIndex": cells([trial.gallery[:, None] + 1 for trial in trials.trials]),
        "probIndex": cells([trial.probes[:, None] + 1 for trial in trials.trials]),
        **changes,
    }
    path = folder / "blufr_lfw_config.mat"
    savemat(path, {name: value for name, value in content.items() if value is not None})
    return path


@pytest.mark.slow
def test_published_splits_are_read_whatever_the_order_of_the_features(tmp_path: Path) -> None:
    features = made_up()
    config = read_config(published(tmp_path, features))
    order = np.random.default_rng(5).permutation(len(features))
    shuffled = feature_set(
        features.features[order], np.full(len(order), ""), features.paths[order], Path("made-up.npz")
    )
    seeded = seeded_trials(features, training_people=90, gallery_people=30)
    found = published_trials(config, shuffled)
    assert found.splits == "the published ones"
    for one, other in zip(found.trials, seeded.trials, strict=True):
        assert set(shuffled.paths[one.gallery]) == set(features.paths[other.gallery])
        assert set(shuffled.paths[one.probes]) == set(features.paths[other.probes])
    one, other = (
        blufr(rows, replace(trials, trials=trials.trials[:2]), "net")
        for rows, trials in ((features, seeded), (shuffled, found))
    )
    assert one.verification[0].tar.hits == other.verification[0].tar.hits
    assert one.open_set[0].fnir.hits == other.open_set[0].fnir.hits


@pytest.mark.usefixtures("read_here")
def test_whose_enrolled_photo_has_no_feature_is_no_impostor(tmp_path: Path) -> None:
    features = made_up()
    config = read_config(published(tmp_path, features))
    lost = int(config.gallery[0][0])
    kept = np.arange(len(features)) != lost
    fewer = feature_set(features.features[kept], features.labels[kept], features.paths[kept], Path("made-up.npz"))
    trials = published_trials(config, fewer)
    assert trials.notes == ("1 photos of the published list have no feature and are left out",)
    assert len(trials.trials[0].gallery) == 29
    assert features.labels[lost] not in fewer.labels[trials.trials[0].probes]


@pytest.mark.usefixtures("read_here")
def test_trials_that_break_the_rule_are_refused(tmp_path: Path) -> None:
    features = made_up()
    config = read_config(published(tmp_path, features))
    test, gallery, probes = (lists[0] for lists in (config.test, config.gallery, config.probes))
    enrolled = np.isin(config.labels[probes], config.labels[gallery])
    one = replace(config, test=(test,), gallery=(gallery,), probes=(probes,))
    mate = probes[enrolled][:1]
    with pytest.raises(ProtocolError, match="with one photo; the list has more"):
        published_trials(replace(one, gallery=(np.append(gallery, mate),)), features)
    for kind, count in ((enrolled, enrolled.sum()), (~enrolled, 0)):
        with pytest.raises(ProtocolError, match=f": {count} of a trial's {kind.sum()} probes are of enrolled people"):
            published_trials(replace(one, probes=(probes[kind],)), features)
    with pytest.raises(ProtocolError, match="parts of the test photos"):
        published_trials(replace(one, test=(test[1:],)), features)


@pytest.mark.usefixtures("read_here")
def test_a_file_that_is_not_blufrs_is_an_error_that_says_what_is_missing(tmp_path: Path) -> None:
    features = made_up()
    with pytest.raises(BlufrError, match="no galIndex in it"):
        read_config(published(tmp_path, features, galIndex=None))
    with pytest.raises(BlufrError, match="beyond the list"):
        read_config(published(tmp_path, features, galIndex=cells([np.array([[10_000]])])))
    with pytest.raises(BlufrError, match="not whole"):
        read_config(published(tmp_path, features, labels=np.full((len(features), 1), np.nan)))
    with pytest.raises(BlufrError, match="differ in length"):
        read_config(published(tmp_path, features, galIndex=cells([np.array([[1]])])))
    strange = np.array([f"{n}.jpg" for n in range(len(features))])
    others = feature_set(features.features, features.labels, strange, Path("other.npz"))
    config = read_config(published(tmp_path, features))
    with pytest.raises(ProtocolError, match=r"(\d+) of the \1 photos of the list are not in it"):
        published_trials(config, others)
