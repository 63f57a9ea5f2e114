"""The distractor pass over a sharded crowd by a crew: each worker passes over whole files, and the findings are added.

The same figures to the last count: ranks and counts are sums, bests and highest scores are merged by the pass's own
order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.distractors.distractor_pass import MatedPairs, Prefix, best_first, distractor_pass
from faceid.feature_file import read_features
from faceid.inference.cpu_features import available_cores
from faceid.inference.onnx_session import threads_for
from faceid.workers.crew import Crew
from indexer.records import FloatMatrix, Ids


class Sharded(Protocol):
    """A crowd that lies in files, one after the other; `starts` [files + 1] says where each begins."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The feature files."""
        ...

    @property
    def starts(self) -> tuple[int, ...]:
        """Where each begins, and the end of the last."""
        ...


@dataclass(frozen=True, eq=False)
class _Share:
    """What one worker passes over: a file's rows in an order, some of them masked, at these sizes."""

    file: Path
    order: Ids
    sizes: tuple[int, ...]
    masked: NDArray[np.bool_] | None


def shard_pass(
    crew: Crew,
    probes: FloatMatrix,
    pairs: MatedPairs,
    distractors: Sharded,
    sizes: Sequence[int],
    kept: int,
    order: Ids | None = None,
    masked: NDArray[np.bool_] | None = None,
    fold: Any = None,
) -> tuple[Prefix, ...]:
    """Search as `distractor_pass` does, a file an item of the crew's; no worker needs a tool."""
    sizes = sorted(set(sizes))
    order = np.arange(distractors.starts[-1]) if order is None else order
    shares = []
    for file, start, end in zip(distractors.files, distractors.starts, distractors.starts[1:], strict=False):
        places = np.flatnonzero((order >= start) & (order < end))
        counts = np.searchsorted(places, sizes).tolist()  # of the file's rows among the first N
        own = order[places] - start
        if counts[-1]:
            its = None if masked is None else masked[start:end]
            chosen = tuple(sorted(set(counts) - {0}))
            shares.append(((start, counts), _Share(file.absolute(), own, chosen, its)))
    found: dict[int, list[Prefix]] = {size: [] for size in sizes}
    for (start, counts), prefixes in crew.map(partial(_pass_over, probes, pairs, kept, fold), shares):
        of_size = {one.distractors: one for one in prefixes}
        for size, count in zip(sizes, counts, strict=True):
            if count:
                found[size].append(_moved(of_size[count], start))
    return tuple(_sum(found[size], size, kept) for size in sizes)


def _pass_over(
    probes: FloatMatrix, pairs: MatedPairs, kept: int, fold: Any, tool: object, share: _Share
) -> tuple[Prefix, ...]:
    """Pass over a file in a worker."""
    rows = read_features(share.file).features
    threads = threads_for(available_cores())
    return distractor_pass(
        probes, pairs, rows, share.sizes, kept, share.order, share.masked, fold=fold, threads=threads
    )


def _moved(prefix: Prefix, start: int) -> Prefix:
    """Give a file's distractors the numbers that the crowd has for them."""
    best_at = np.where(prefix.best_at < 0, -1, prefix.best_at + start)
    return replace(prefix, best_at=best_at, top_at=prefix.top_at + start)


def _sum(prefixes: Sequence[Prefix], size: int, kept: int) -> Prefix:
    """Put the findings of files together, in the files' order."""
    first = prefixes[0]
    best, best_at = first.best.copy(), first.best_at.copy()
    for one in prefixes[1:]:
        better = one.best > best  # equals: the lower number is there already
        best[better], best_at[better] = one.best[better], one.best_at[better]
    scores = np.concatenate([one.top_scores for one in prefixes])
    of = np.concatenate([one.top_probes for one in prefixes])
    at = np.concatenate([one.top_at for one in prefixes])
    chosen = best_first(scores, of, at)[:kept]
    accepted = [one.accepted for one in prefixes if one.accepted is not None]
    counted = np.sum(accepted, axis=0) if len(accepted) == len(prefixes) else None
    return Prefix(
        size,
        np.sum([one.above for one in prefixes], axis=0),
        np.sum([one.ties for one in prefixes], axis=0),
        best,
        best_at,
        scores[chosen],
        of[chosen],
        at[chosen],
        counted,
        sum(one.trials for one in prefixes),
    )
