"""What every protocol returns, and results.json: the same, with where it came from, for programs and for reports.

`write_results` also writes each table as a CSV beside the JSON, for those who only want a spreadsheet.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.results.record_json import UnexpectedValue, decode, encode
from indexer.durable_file import replacing
from indexer.errors import FaceIdError
from indexer.text import csv_cell, printable

# Raised whenever a name in results.json changes its meaning; new names may come without.
SCHEMA_VERSION = 1
FILE = "results.json"
TABLES = (
    "identification",
    "verification",
    "open_set",
    "clustering",
    "groups",
    "differentials",
    "accuracy",
    "predictions",
    "refusals",
    "worst_errors",
)
FILES = (FILE, *(f"{table}.csv" for table in (*TABLES, "curves", "histograms")))
"""All that `write_results` writes, or removes."""
INTERVALS = ("ci95", "ci95_clustered")

Points = NDArray[np.float64]
Counts = NDArray[np.int64]


class ResultsError(FaceIdError):
    """A file that is not the results of a benchmark, or that a newer version wrote."""


@dataclass(frozen=True)
class Rate:
    """`hits` of `trials` and their share, 0..1.

    `ci95` is naive: it takes the trials for independent. `ci95_clustered` is a bootstrap over identities, with the
    threshold recomputed in each replicate (held only where the conventions of the results say so); None where it was
    not computed.
    """

    hits: int
    trials: int
    rate: float
    ci95: tuple[float, float]
    ci95_clustered: tuple[float, float] | None


@dataclass(frozen=True)
class IdentificationRow:
    """Searches of all probes among one mate and so many distractors; `ties` counts distractors that equal a mate.

    `traditional_rank1` is MegaFace's "traditional" rate, of one search a probe.
    """

    distractors: int
    set: int
    rank1: Rate
    rank10: Rate | None
    ties: int
    traditional_rank1: Rate | None


@dataclass(frozen=True)
class VerificationRow:
    """TAR at the asked `far`; `achieved_far` counts the false accepts at the threshold among the impostor trials."""

    distractors: int | None
    set: int
    far: float
    tar: Rate
    threshold: float
    false_accepts: int
    impostor_trials: int
    achieved_far: Rate


@dataclass(frozen=True)
class OpenSetRow:
    """FNIR at the asked `fpir`; `achieved_fpir` counts the false alarms among the non-mated searches."""

    distractors: int
    set: int
    fpir: float
    fnir: Rate
    threshold: float
    false_alarms: int
    non_mated_searches: int
    achieved_fpir: Rate


@dataclass(frozen=True)
class Measure:
    """A value, 0..1, that is no count of trials, with its 95 % interval over people drawn anew (None: not computed)."""

    value: float
    ci95_clustered: tuple[float, float] | None


@dataclass(frozen=True)
class ClusteringRow:
    """Faces sorted into people at a threshold, and how well: `largest` is a cluster's size, `unclear` counts faces."""

    faces: int
    people: int
    clusters: int
    largest: int
    unclear: int
    threshold: float
    bcubed_precision: Measure
    bcubed_recall: Measure
    bcubed_f: Measure
    pair_precision: Measure
    pair_recall: Measure
    pair_f: Measure


@dataclass(frozen=True)
class GroupRow:
    """Errors of one group of an attribute at the thresholds of all; None where its trials are too few."""

    attribute: str
    group: str
    people: int
    fmr: Rate | None
    fnmr: Rate | None
    fpir: Rate | None
    fnir: Rate | None


@dataclass(frozen=True)
class DifferentialRow:
    """How unequal `groups` groups are in one rate: the worst, over the geometric mean, and over the best."""

    attribute: str
    rate: str
    groups: int
    worst: str
    worst_to_mean: float
    worst_to_best: float


@dataclass(frozen=True)
class MeanAccuracy:
    """Mean accuracy over the folds, 0..1, its standard error, and the convention by which it was computed.

    `right` counts the pairs decided rightly among all pairs, each at the threshold of its fold; where all folds are of
    one size, its rate is the mean. None where folds do not part pairs, and in results of earlier releases.
    """

    rate: float
    standard_error: float
    folds: tuple[float, ...]
    convention: str
    right: Rate | None = None


@dataclass(frozen=True)
class Prediction:
    """A value foretold, not measured: `fitted_on` distractors were seen, `measured` is the truth where it is known."""

    quantity: str
    distractors: int
    value: float
    ci95: tuple[float, float]
    method: str
    fitted_on: int
    measured: float | None


@dataclass(frozen=True, eq=False)
class Curve:
    """Points of one curve, float64 [P] each: rank (from 1) and rate, or two error rates in 0..1."""

    label: str
    x: Points
    y: Points


@dataclass(frozen=True, eq=False)
class Curves:
    """CMC: rank, rate. ROC: FAR, TAR. DET: FAR, FNMR. FNIR against FPIR: FPIR, FNIR."""

    cmc: tuple[Curve, ...] = ()
    traditional_cmc: tuple[Curve, ...] = ()
    roc: tuple[Curve, ...] = ()
    det: tuple[Curve, ...] = ()
    fnir_fpir: tuple[Curve, ...] = ()


@dataclass(frozen=True, eq=False)
class Histogram:
    """Similarities counted: `counts` [B] int64 between `edges` [B + 1] float64."""

    kind: Literal["mated", "non_mated"]
    edges: Points
    counts: Counts


@dataclass(frozen=True)
class Refusal:
    """A rate that was asked for and is not given: it would take `needed` trials, there were `trials`."""

    what: str
    needed: int
    trials: int


@dataclass(frozen=True)
class WorstError:
    """A mated pair of low similarity, or a non-mated pair of high similarity; `probe` and `other` are photos' paths."""

    kind: Literal["missed", "false_accept"]
    probe: str
    other: str
    similarity: float


@dataclass(frozen=True, eq=False)
class Results:
    """All that one run of a protocol found; `name` is how reports call the run."""

    protocol: str
    name: str
    conventions: dict[str, str]
    identification: tuple[IdentificationRow, ...] = ()
    verification: tuple[VerificationRow, ...] = ()
    open_set: tuple[OpenSetRow, ...] = ()
    clustering: tuple[ClusteringRow, ...] = ()
    groups: tuple[GroupRow, ...] = ()
    differentials: tuple[DifferentialRow, ...] = ()
    accuracy: tuple[MeanAccuracy, ...] = ()
    predictions: tuple[Prediction, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    worst_errors: tuple[WorstError, ...] = ()
    curves: Curves = Curves()
    histograms: tuple[Histogram, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelUsed:
    """The network that made the features: its name and the hex SHA-256 of its file."""

    name: str
    digest: str


@dataclass(frozen=True)
class DataUsed:
    """One input: what it served as (`probes`, `distractors`, `pairs` ...), its file's name, hex SHA-256, its rows."""

    role: str
    file: str
    sha256: str
    rows: int


@dataclass(frozen=True)
class Provenance:
    """Where results came from; `versions` by package, `date` in ISO 8601, the peak memory that of the process."""

    model: ModelUsed | None
    data: tuple[DataUsed, ...]
    versions: dict[str, str]
    seconds: float
    peak_memory_bytes: int | None
    command: str
    date: str


def write_results(results: Results, provenance: Provenance, folder: Path) -> Path:
    """Write results.json and one CSV a table that has rows; returns the path of results.json.

    Numbers survive the way there and back to the bit. Tables of an earlier run that have no rows now are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for table, rows in _tables(results):
        path = folder / f"{table}.csv"
        if rows:
            _write_csv(path, rows)
        elif (folder / FILE).exists():  # else there was no earlier run, and it is somebody else's
            path.unlink(missing_ok=True)
    record = {"schema_version": SCHEMA_VERSION, **encode(results), **encode(provenance)}
    # `benchmark lfw` promises one object; results under further conventions stand apart from the first.
    record["accuracy"], record["more_accuracies"] = (record["accuracy"] or [None])[0], record["accuracy"][1:]
    with replacing(folder / FILE) as temporary:
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
        # A path that is not UTF-8 comes as lone surrogates; backslashed they are still JSON.
        temporary.write_text(f"{text}\n", encoding="utf-8", errors="backslashreplace")
    return folder / FILE


def read_results(path: Path) -> tuple[Results, Provenance]:
    """Read results.json, or the one in a folder.

    Raises ResultsError: not there, not JSON, not ours, of a newer schema, or a value of the wrong kind (it says which).
    """
    file = path / FILE if path.is_dir() else path
    try:
        record = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not JSON"
        raise ResultsError(
            f"{printable(file)} cannot be read as results: {reason}; give a folder that `faceid benchmark` wrote"
        ) from error
    version = record.get("schema_version") if isinstance(record, dict) else None
    if type(version) is not int or "protocol" not in record:
        raise ResultsError(f"{printable(file)} was not written by `faceid benchmark`: give a {FILE} or its folder")
    if version > SCHEMA_VERSION:
        raise ResultsError(
            f"{printable(file)} was written by a newer faceid (schema {version}, this one reads {SCHEMA_VERSION}): "
            "update faceid"
        )
    try:
        results = decode({**record, "accuracy": _accuracies(record)}, Results)
        _check_lengths(results)
        return results, decode(record, Provenance)
    # UnicodeEncodeError: half a character in the place of a number.
    except (UnexpectedValue, OverflowError, UnicodeEncodeError) as error:
        raise ResultsError(f"{printable(file)} is damaged: {error}; run the benchmark again") from error


def _check_lengths(results: Results) -> None:
    """Raise UnexpectedValue where there is not one y for each x, and not one count between two edges."""
    for field in fields(results.curves):
        for curve in getattr(results.curves, field.name):
            if len(curve.x) != len(curve.y):
                raise UnexpectedValue(f"curves.{field.name} has {len(curve.x)} x and {len(curve.y)} y")
    for histogram in results.histograms:
        if len(histogram.edges) != len(histogram.counts) + 1:
            raise UnexpectedValue(f"histograms has {len(histogram.edges)} edges for {len(histogram.counts)} counts")


def _accuracies(record: dict[str, Any]) -> list[Any]:
    first, more = record.get("accuracy"), record.get("more_accuracies")
    return ([] if first is None else [first]) + (more if isinstance(more, list) else [more])


def _tables(results: Results) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield each table's name and its rows, flat."""
    for name in TABLES:
        yield name, [dict(_flat(encode(row))) for row in getattr(results, name)]
    yield "curves", list(_curve_points(results.curves))
    yield (
        "histograms",
        [
            {"kind": histogram.kind, "low": low, "high": high, "count": count}
            for histogram in results.histograms
            for low, high, count in zip(
                histogram.edges[:-1].tolist(), histogram.edges[1:].tolist(), histogram.counts.tolist(), strict=True
            )
        ],
    )


def _flat(record: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a record's cells: rank1.hits becomes rank1_hits; an interval takes two columns, a list one each."""
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}_")
        elif name in INTERVALS:  # absent or not, always two columns
            low, high = value or (None, None)
            yield f"{prefix}{name}_low", low
            yield f"{prefix}{name}_high", high
        elif isinstance(value, list):
            yield from ((f"{prefix}{name}_{number}", one) for number, one in enumerate(value, start=1))
        else:
            yield f"{prefix}{name}", value


def _curve_points(curves: Curves) -> Iterator[dict[str, Any]]:
    for field in fields(curves):
        for curve in getattr(curves, field.name):
            for x, y in zip(curve.x.tolist(), curve.y.tolist(), strict=True):
                yield {"curve": field.name, "label": curve.label, "x": x, "y": y}


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)


def _cell(value: Any) -> Any:
    """Return a text (of a photo's path, a group) as no spreadsheet obeys it; what `encode` made of a number is none."""
    return csv_cell(value) if isinstance(value, str) and value not in ("inf", "-inf", "nan") else value
