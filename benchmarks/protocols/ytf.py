"""YouTube Faces: 5,000 pairs of videos in 10 folds, a video's template the mean of its frames' features."""

from collections.abc import Sequence
from pathlib import PurePath

import numpy as np

from benchmarks.formats.ytf_splits import VideoPairs
from benchmarks.metrics.fold_accuracy import CLUSTERED, by_every_convention
from benchmarks.protocols.errors import ProtocolError
from benchmarks.protocols.scored_pairs import ScoredPairs, add_pair_figures, notes_on_list
from benchmarks.results.results import Results
from faceid.feature_set import FeatureSet
from indexer.records import FloatMatrix
from indexer.search.scores import canonical_scores

FARS = (1e-2, 1e-3)


def ytf(features: FeatureSet, pairs: VideoPairs, name: str) -> Results:
    """Return the accuracy by each convention (`exact` first) and TAR at FAR of the pairs of videos.

    `features` are those of frames, whose paths end in NAME/VIDEO/FRAME. A video without a frame makes its pairs count
    as not accepted. Raises ProtocolError where over half of the videos have none.
    """
    videos = sorted(set(pairs.first + pairs.second))
    templates, frames = video_templates(features, videos)
    missing = [video for video, count in zip(videos, frames, strict=True) if not count]
    if 2 * len(missing) > len(videos):
        raise ProtocolError(
            f"{features.source}: {len(missing)} of the {len(videos)} videos of the pairs have no frame in it, the first"
            f" {missing[0]}; paths must end in NAME/VIDEO/FRAME"
        )
    number = {video: row for row, video in enumerate(videos)}
    sides = [np.array([number[video] for video in side]) for side in (pairs.first, pairs.second)]
    first, second = (templates[side] for side in sides)
    scores = np.nan_to_num(canonical_scores(first, second), nan=-np.inf)
    _, person = np.unique([PurePath(video).parent.name for video in videos], return_inverse=True)
    identities = person[sides[0]], person[sides[1]]
    accuracies = by_every_convention(first, second, scores, pairs.same, pairs.fold, identities)
    results = Results(
        protocol="ytf",
        name=name,
        conventions={
            "accuracy": accuracies[0].convention,
            "ci95_clustered": CLUSTERED,
            "pairs": f"{len(scores)} in {len(np.unique(pairs.fold))} folds",
            "template": f"mean of a video's unit features, brought to unit length; {int(np.sum(frames)):,} frames",
            "threshold": "TAR at FAR: conservative, all non-mated pairs pooled",
        },
        accuracy=accuracies,
        notes=(*features.notes, *_missing_note(missing), *notes_on_list(pairs.first, pairs.second, "video")),
    )
    names = np.array(videos)
    scored = ScoredPairs(scores, pairs.same, (names[sides[0]], names[sides[1]]), identities)
    return add_pair_figures(results, scored, FARS)


def video_templates(features: FeatureSet, videos: Sequence[str]) -> tuple[FloatMatrix, list[int]]:
    """Return the videos' templates [V, D] float32 of unit length (NaN without a frame), and their numbers of frames."""
    rows: dict[str, list[int]] = {video: [] for video in videos}
    for row, path in enumerate(features.paths.tolist()):
        video = "/".join(PurePath(path).parts[-3:-1])
        if video in rows:
            rows[video].append(row)
    templates = np.full((len(videos), features.features.shape[1]), np.nan, np.float32)
    for template, mine in zip(templates, rows.values(), strict=True):
        if mine:
            mean = features.features[mine].mean(axis=0, dtype=np.float64)
            template[:] = mean / max(float(np.linalg.norm(mean)), np.finfo(np.float32).tiny)
    return templates, [len(mine) for mine in rows.values()]


def _missing_note(missing: list[str]) -> tuple[str, ...]:
    return (f"{len(missing)} videos have no frame with a face: {', '.join(missing[:10])}",) if missing else ()
