"""MegaFace from what people have: photos, feature files or the devkit's trees in; results and devkit files out."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from benchmarks.distractors.distractor_pass import Fold, distractor_pass
from benchmarks.distractors.shard_pass import shard_pass
from benchmarks.formats.megaface_devkit import read_tree, write_results_files
from benchmarks.formats.noise_lists import noisy, read_noises
from benchmarks.inputs.inputs import Embedding, labelled_features, people_of_many_and_of_one, photo_features
from benchmarks.inputs.shards import ShardedRows
from benchmarks.protocols.megaface import Noise, Strategy, megaface
from benchmarks.protocols.trillion_pairs import trillion_pairs
from benchmarks.results.provenance import Run, run_benchmark, run_name
from benchmarks.results.results import Prediction, Results
from faceid.feature_set import FeatureSet
from faceid.workers.crew import Crew
from indexer.records import FloatMatrix
from indexer.text import printable

if TYPE_CHECKING:
    from benchmarks.distractors.distractor_kernels import MateScores

NoiseMode = Literal["raw", "r-compatible", "r-drop"]


@dataclass(frozen=True)
class MegaFaceInputs:
    """Files and folders of a run: photos or features, for trees of .bin files their lists, and the lists of noise.

    `distractors` None takes the people of `probes` who have one photo. `ending` as in `read_tree`.
    """

    probes: Path
    distractors: Path | None = None
    probe_list: Path | None = None
    distractor_list: Path | None = None
    ending: str | None = None
    probe_noises: Path | None = None
    distractor_noises: Path | None = None


@dataclass(frozen=True)
class MegaFaceSettings:
    """What is asked: sizes of galleries (None: 10, 100, ... all), sets, how noisy photos count, sizes to foretell.

    `fast` selects by bfloat16 products: the same rows, but nothing above FAR 1e-4 where not all scores are kept.
    `device` is where the exact pass runs: cpu, or a GPU as torch names it; `fast` is a way of the processor.
    `trillion_pairs` asks for that challenge's two operating points among all distractors, and for nothing else.
    """

    sizes: tuple[int, ...] | None = None
    sets: int = 1
    noise: NoiseMode = "raw"
    extrapolate: tuple[int, ...] = ()
    trillion_pairs: bool = False
    fast: bool = False
    device: str = "cpu"


def run_megaface(
    inputs: MegaFaceInputs,
    settings: MegaFaceSettings,
    folder: Path,
    embedding: Embedding,
    hands: Callable[[], AbstractContextManager[Crew | None]] = nullcontext,
) -> Run:
    """Run the protocol and write results.json, CSVs and, below `devkit`, results as the devkit writes them.

    Features of photos are kept in the folder. `hands` starts workers, without a tool, that pass over the files of a
    sharded crowd (None: there are none). Raises FaceIdError of what is wrong with an input.
    """
    probes, distractors = _features(inputs, folder, embedding)
    noise, notes = _noise(inputs, settings.noise, probes, distractors)
    lists = {
        "probe list": inputs.probe_list,
        "distractor list": inputs.distractor_list,
        "noisy probes": inputs.probe_noises,
        "noisy distractors": inputs.distractor_noises,
    }
    sharded = isinstance(distractors.features, ShardedRows)
    if sharded and (settings.extrapolate or settings.trillion_pairs or settings.noise != "raw"):
        distractors, sharded = replace(distractors, features=distractors.features[:]), False
    with hands() if sharded else nullcontext() as crew:
        run = run_benchmark(
            lambda: _measure(probes, distractors, noise, notes, settings, crew),
            [("probes", probes), ("distractors", distractors)],
            folder,
            [(role, path) for role, path in lists.items() if path is not None],
        )
    write_results_files(run.results, folder / "devkit")
    return run


def _features(inputs: MegaFaceInputs, folder: Path, embedding: Embedding) -> tuple[FeatureSet, FeatureSet]:
    if inputs.probe_list is not None:
        probes = read_tree(inputs.probes, inputs.probe_list, inputs.ending)
    else:
        probes = labelled_features(inputs.probes, folder / "probes.npz", embedding)
    if inputs.distractors is None:
        return people_of_many_and_of_one(probes)
    if inputs.distractor_list is not None:
        return probes, read_tree(inputs.distractors, inputs.distractor_list, inputs.ending)
    return probes, photo_features(inputs.distractors, folder / "distractors.npz", embedding)


def _noise(
    inputs: MegaFaceInputs, mode: NoiseMode, probes: FeatureSet, distractors: FeatureSet
) -> tuple[Noise | None, tuple[str, ...]]:
    """Return what the lists mark, and a note on each list that marks nothing: perhaps it is of other photos."""
    if mode == "raw":
        return None, ()
    masks, notes = [], []
    for features, path in ((probes, inputs.probe_noises), (distractors, inputs.distractor_noises)):
        mask = np.zeros(len(features), np.bool_)
        if path is not None:
            names = read_noises(path)
            mask = noisy(features.paths, names)
            if not mask.any():
                notes.append(f"{printable(path)}: none of the {len(names):,} photos it names is in {features.source}")
        masks.append(mask)
    return Noise(mode, *masks), tuple(notes)


def _measure(
    probes: FeatureSet,
    distractors: FeatureSet,
    noise: Noise | None,
    notes: tuple[str, ...],
    settings: MegaFaceSettings,
    crew: Crew | None,
) -> Results:
    if settings.trillion_pairs:
        return trillion_pairs(probes, distractors, run_name(probes))
    predictions: tuple[Prediction, ...] = ()
    if settings.extrapolate:
        from benchmarks.metrics.extrapolation import extrapolate

        predictions = extrapolate(probes, distractors, settings.extrapolate)
    results = megaface(
        probes,
        distractors,
        settings.sizes,
        settings.sets,
        noise,
        name=run_name(probes),
        strategy=_strategy(settings, crew),
    )
    return replace(results, predictions=predictions, notes=results.notes + notes)


def _strategy(settings: MegaFaceSettings, crew: Crew | None) -> Strategy:
    """Return how the scores are passed through; all ways find the same rows."""
    if crew is not None and settings.device == "cpu":
        return partial(shard_pass, crew, fold=_fold(settings))
    if settings.device != "cpu":
        from benchmarks.distractors.device_fold import device_pass

        return device_pass(settings.device)
    return partial(distractor_pass, fold=_fold(settings))


def _fold(settings: MegaFaceSettings) -> "Callable[[FloatMatrix, MateScores, int], Fold] | None":
    if not settings.fast:
        return None
    from benchmarks.distractors.bfloat16_fold import bfloat16_fold

    return bfloat16_fold
