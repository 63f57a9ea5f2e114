"""The report's tables: every rate with its counts and both intervals, as text; several runs below each other."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.report.wording import Runs, interval, is_share, percent, words
from benchmarks.results.results import DataUsed, Provenance, Rate, Results

Cells = tuple[str, ...]
RATE_HEADS = ("counted", "95 %, naive", "95 %, clustered")
NOT_COMPUTED = "not computed"
DIGEST_LETTERS = 16


@dataclass(frozen=True)
class Table:
    """A table of text: its head and its rows, as many cells each."""

    head: Cells
    rows: tuple[Cells, ...]


def identification_table(runs: Runs) -> Table | None:
    """List rank-1 by number of distractors."""
    head = ("distractors", "set", "rank-1", *RATE_HEADS, "rank-10", "rank-1, traditional", "ties")
    return _table(
        runs,
        head,
        lambda results: (
            (
                f"{row.distractors:,}",
                str(row.set),
                *_rate_cells(row.rank1),
                _share_cell(row.rank10),
                _share_cell(row.traditional_rank1),
                f"{row.ties:,}",
            )
            for row in results.identification
        ),
    )


def verification_table(runs: Runs) -> Table | None:
    """List TAR at each FAR."""
    head = ("distractors", "set", "asked FAR", "TAR", *RATE_HEADS, "threshold", "achieved FAR")
    return _table(
        runs,
        head,
        lambda results: (
            (
                "" if row.distractors is None else f"{row.distractors:,}",
                str(row.set),
                f"{row.far:g}",
                *_rate_cells(row.tar),
                f"{row.threshold:.4f}",
                _achieved(row.achieved_far),
            )
            for row in results.verification
        ),
    )


def open_set_table(runs: Runs) -> Table | None:
    """List FNIR at each FPIR, by number of distractors."""
    head = ("distractors", "set", "asked FPIR", "FNIR", *RATE_HEADS, "threshold", "achieved FPIR")
    return _table(
        runs,
        head,
        lambda results: (
            (
                f"{row.distractors:,}",
                str(row.set),
                f"{row.fpir:g}",
                *_rate_cells(row.fnir),
                f"{row.threshold:.4f}",
                _achieved(row.achieved_fpir),
            )
            for row in results.open_set
        ),
    )


def clustering_table(runs: Runs) -> Table | None:
    """List how well faces were sorted into people."""
    head = (
        "faces",
        "people",
        "clusters",
        "largest",
        "threshold",
        "BCubed P",
        "BCubed R",
        "BCubed F",
        "95 %, clustered",
    )
    return _table(
        runs,
        (*head, "pair P", "pair R"),
        lambda results: (
            (
                f"{row.faces:,}",
                f"{row.people:,}",
                f"{row.clusters:,}",
                f"{row.largest:,}",
                f"{row.threshold:.4f}",
                percent(row.bcubed_precision.value),
                percent(row.bcubed_recall.value),
                percent(row.bcubed_f.value),
                NOT_COMPUTED if row.bcubed_f.ci95_clustered is None else interval(row.bcubed_f.ci95_clustered),
                percent(row.pair_precision.value),
                percent(row.pair_recall.value),
            )
            for row in results.clustering
        ),
    )


def groups_table(runs: Runs) -> Table | None:
    """List the errors of each group."""
    rates = ("FMR", "FNMR", "FPIR", "FNIR")
    head = ("attribute", "group", "people", *(word for name in rates for word in (name, f"{name} 95 %")))
    return _table(
        runs,
        head,
        lambda results: (
            (
                row.attribute,
                row.group,
                f"{row.people:,}",
                *(cell for one in (row.fmr, row.fnmr, row.fpir, row.fnir) for cell in _group_cells(one)),
            )
            for row in results.groups
        ),
    )


def differentials_table(runs: Runs) -> Table | None:
    """List how unequal the groups of an attribute are."""
    return _table(
        runs,
        ("attribute", "rate", "groups", "worst", "worst / geometric mean", "worst / best"),
        lambda results: (
            (
                row.attribute,
                row.rate.upper(),
                str(row.groups),
                row.worst,
                f"{row.worst_to_mean:.2f}",
                f"{row.worst_to_best:.2f}",
            )
            for row in results.differentials
        ),
    )


def accuracy_table(runs: Runs) -> Table | None:
    """List the mean accuracy over folds, a row for each convention, and the pairs decided rightly."""
    return _table(
        runs,
        ("convention", "mean", "standard error of the mean", "folds", "lowest fold", "highest fold", *RATE_HEADS),
        lambda results: (
            (
                one.convention,
                percent(one.rate),
                f"{100 * one.standard_error:.3f} %",
                str(len(one.folds)),
                percent(min(one.folds, default=one.rate)),
                percent(max(one.folds, default=one.rate)),
                *(("",) * len(RATE_HEADS) if one.right is None else _rate_cells(one.right)[1:]),
            )
            for one in results.accuracy
        ),
    )


def prediction_table(runs: Runs) -> Table | None:
    """List what was foretold; beside it the truth, where it is known, and whether it lies in the interval."""
    return _table(
        runs,
        (
            "quantity",
            "distractors",
            "method",
            "fitted on",
            "PREDICTED",
            "predicted, 95 %",
            "measured (for comparison)",
            "in the interval",
        ),
        lambda results: (
            (
                words(one.quantity),
                f"{one.distractors:,}",
                one.method,
                f"{one.fitted_on:,}",
                _quantity(one.quantity, one.value),
                f"{_quantity(one.quantity, one.ci95[0])} to {_quantity(one.quantity, one.ci95[1])}",
                "not measured" if one.measured is None else _quantity(one.quantity, one.measured),
                "" if one.measured is None else "yes" if one.ci95[0] <= one.measured <= one.ci95[1] else "no",
            )
            for one in sorted(results.predictions, key=lambda one: (one.quantity, one.distractors))
        ),
    )


def refusal_table(runs: Runs) -> Table | None:
    """List what was asked for and cannot be given, with the number of trials that it would take."""
    return _table(
        runs,
        ("asked for", "trials there are", "trials it needs"),
        lambda results: ((one.what, f"{one.trials:,}", f"{one.needed:,}") for one in results.refusals),
    )


def conventions_table(runs: Runs) -> Table | None:
    """List the conventions, a column for each run; None where no run names any."""
    names = list(dict.fromkeys(name for _, results in runs for name in results.conventions))
    return _columns(runs, [(name, [results.conventions.get(name, "") for _, results in runs]) for name in names])


def provenance_table(runs: Runs, provenances: Sequence[Provenance]) -> Table:
    """List where each run's figures come from, a column for each run."""
    packages = sorted({package for one in provenances for package in one.versions})
    rows = [
        ("protocol", [results.protocol for _, results in runs]),
        ("model", [one.model.name if one.model else "none: features were given" for one in provenances]),
        ("model digest", [one.model.digest[:DIGEST_LETTERS] if one.model else "" for one in provenances]),
        *((f"data: {role}", [_data(one.data, role) for one in provenances]) for role in _roles(provenances)),
        ("time", [f"{one.seconds:,.1f} s" for one in provenances]),
        ("peak memory", [_memory(one.peak_memory_bytes) for one in provenances]),
        ("date", [one.date for one in provenances]),
        ("command", [one.command for one in provenances]),
        *((f"version of {package}", [one.versions.get(package, "") for one in provenances]) for package in packages),
    ]
    table = _columns(runs, rows)
    assert table is not None
    return table


def headlines(results: Results) -> list[Cells]:
    """Return label, figure and detail of what stands for a run: at the most distractors, at the lowest rates."""
    found: list[Cells] = []
    for one in results.accuracy[:1]:
        found.append((f"Mean over {len(one.folds)} folds", percent(one.rate), one.convention))
    rates: list[tuple[str, Rate, int | None]] = []
    if results.identification:
        hardest = max(results.identification, key=lambda row: (row.distractors, -row.set))
        rates.append(("Rank-1", hardest.rank1, hardest.distractors))
    if results.verification:
        strictest = max(results.verification, key=lambda row: (row.distractors or 0, -row.far, -row.set))
        rates.append((f"TAR at FAR {strictest.far:g}", strictest.tar, strictest.distractors))
    if results.open_set:
        unknown = max(results.open_set, key=lambda row: (row.distractors, -row.fpir, -row.set))
        rates.append((f"FNIR at FPIR {unknown.fpir:g}", unknown.fnir, unknown.distractors))
    for label, rate, distractors in rates:
        among = f"{distractors:,} distractors; " if distractors else ""
        bounds = interval(rate.ci95_clustered or rate.ci95)
        found.append((label, percent(rate.rate), f"{among}{rate.hits:,} of {rate.trials:,}; 95 %: {bounds}"))
    return found


def differences(runs: Runs, provenances: Sequence[Provenance]) -> list[str]:
    """Return in which respects several runs were not made alike, so that their figures do not compare as such."""
    found = []
    if len({results.protocol for _, results in runs}) > 1:
        found.append("the protocol")
    names = list(dict.fromkeys(name for _, results in runs for name in results.conventions))
    found += [f"the convention “{n}”" for n in names if len({results.conventions.get(n) for _, results in runs}) > 1]
    for role in _roles(provenances):
        # Not their files' names or digests: features of the same photos by two networks are two files.
        rows = [sum(one.rows for one in provenance.data if one.role == role) for provenance in provenances]
        if len(set(rows)) > 1:
            found.append(f"the data used as {role} ({' and '.join(f'{count:,}' for count in rows)} rows)")
    return found


def _table(runs: Runs, head: Cells, rows: Callable[[Results], Iterable[Cells]]) -> Table | None:
    """Return the rows of all runs, the run's name first; None without any row."""
    cells = [(name, *row) for name, results in runs for row in rows(results)]
    columns = list(zip(("run", *head), *cells, strict=True))
    told = [column for column in columns if _tells(column[0], column[1:], len(runs))]
    return Table(tuple(c[0] for c in told), tuple(zip(*(c[1:] for c in told), strict=True))) if cells else None


def _tells(head: str, column: Cells, runs: int) -> bool:
    """Whether a column says anything: not if it is empty, the only run's name, or the number of the only set."""
    if head == "run":
        return runs > 1
    return any(column) and not (head == "set" and len(set(column)) == 1)


def _columns(runs: Runs, rows: Sequence[tuple[str, Sequence[str]]]) -> Table | None:
    if not rows:
        return None
    return Table(("", *(name for name, _ in runs)), tuple((name, *cells) for name, cells in rows))


def _rate_cells(rate: Rate) -> Cells:
    clustered = NOT_COMPUTED if rate.ci95_clustered is None else interval(rate.ci95_clustered)
    return percent(rate.rate), f"{rate.hits:,} of {rate.trials:,}", interval(rate.ci95), clustered


def _group_cells(rate: Rate | None) -> Cells:
    """Return a rate and its interval; a group with too few trials has neither."""
    if rate is None:
        return "", ""
    return f"{rate.rate:.3g}", "{:.2g} to {:.2g}".format(*(rate.ci95_clustered or rate.ci95))


def _share_cell(rate: Rate | None) -> str:
    return "" if rate is None else percent(rate.rate)


def _achieved(rate: Rate) -> str:
    return f"{rate.rate:.3g}: {rate.hits:,} of {rate.trials:,}"


def _quantity(quantity: str, value: float) -> str:
    return percent(value) if is_share(quantity) else f"{value:.4f}"


def _roles(provenances: Sequence[Provenance]) -> list[str]:
    return list(dict.fromkeys(one.role for provenance in provenances for one in provenance.data))


def _data(data: Sequence[DataUsed], role: str) -> str:
    return "; ".join(
        f"{one.file}, {one.rows:,} rows, {one.sha256[:DIGEST_LETTERS]}" for one in data if one.role == role
    )


def _memory(count: int | None) -> str:
    return "not measured" if count is None else f"{count / 2**30:.2f} GiB"
