"""The tables of docs/results/decisions.md and decisions-tables.md, from the CSV files beside them.

    python -m benchmarks.measurements.decisions_page docs/results

The pages' text is written by hand; between `<!-- table NAME -->` and `<!-- end -->` stands what this command makes of
the files that the measurements wrote. Rates of several galleries are given by their median and the middle nine tenths
of them, each gallery once.
"""

import argparse
import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from tabulate import tabulate

PAGES = ("decisions.md", "decisions-tables.md")
NETWORKS = ("sphereface", "mobilefacenet", "sphereface-scratch")
ASKED = ("0.1", "0.01", "0.001")
FUSIONS = ("max", "mean", "weighted mean", "best two", "spread", "mean of scores")
WAYS = ("cohort", "carried along", "strangers kept", "never adjusted")
VARIANTS = ("FairFace-as-it-is", "FairFace-once")
OURS, ALONE, TABLE, CONTEXT = "this gallery", "the cohort alone", "a table of one photo a person", "on context"
_TABLE = re.compile(r"(<!-- table ([a-z -]+) -->\n).*?(<!-- end -->)", re.DOTALL)

Row = Mapping[str, str]
Line = dict[str, str]


def main() -> None:
    """Write the pages' tables anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for page in (folder / name for name in PAGES):
        page.write_text(with_tables(page.read_text(encoding="utf-8"), folder), encoding="utf-8")


def with_tables(text: str, folder: Path) -> str:
    """Return the page with every table as the files in the folder have it; KeyError for a table that nobody knows."""

    def table(match: re.Match[str]) -> str:
        lines = TABLES[match[2]](folder)
        return f"{match[1]}\n{tabulate(lines, headers='keys', tablefmt='github', disable_numparse=True)}\n\n{match[3]}"

    return _TABLE.sub(table, text)


def agreement(folder: Path, way: str, *, variants: bool = False) -> list[Line]:
    """Return, by people and rate, what was got and in how many galleries it agrees: strangers of the same source.

    With `variants` of the sets that show what a set's cleaning does, and of the cleaned one.
    """
    lines = []
    for network, rows in _networks(folder, "asked-got"):
        for people in _distinct(rows, "people from"):
            if people not in (*VARIANTS, "FairFace") if variants else people in VARIANTS:
                continue
            its = [row for row in rows if row["people from"] == row["strangers from"] == people and row["way"] == way]
            if its:
                lines.append({"network": network, "people": people, **_by_rate(its)})
    return lines


def without_likeness(folder: Path) -> list[Line]:
    """Return what the cohort alone and the table of one photo a person got, beside the rule."""
    lines = []
    for network, rows in _networks(folder, "asked-got"):
        for people in _distinct(rows, "people from"):
            if people in VARIANTS:
                continue
            line: Line = {"network": network, "people": people}
            for asked in ASKED[:2]:
                for way in (OURS, ALONE, TABLE):
                    its = [one for one in _where(rows, asked=asked, way=way) if one["people from"] == people]
                    its = [one for one in its if one["strangers from"] == people]
                    line[f"{_percent(asked)}: {way}"] = f"{_range(its)}; {_share(its, 'both')}" if its else "refused"
            lines.append(line)
    return lines


def all_rates(folder: Path) -> list[Line]:
    """Return the share of cells that agree, of all sources."""
    lines = []
    for network, rows in _networks(folder, "asked-got"):
        same = [row for row in rows if row["people from"] == row["strangers from"] and row["way"] == OURS]
        same = [row for row in same if row["people from"] not in VARIANTS]
        line: Line = {"network": network}
        for what, asked in (("all", ASKED), *((_percent(one), (one,)) for one in ASKED)):
            its = [row for row in same if row["asked"] in asked]
            line[what] = f"{_share(its, 'both')} of {_galleries(its)}"
        lines.append(line)
    return lines


def by_size(folder: Path) -> list[Line]:
    """Return what was got by number of people, of the two large sources."""
    lines = []
    for network, rows in _networks(folder, "asked-got"):
        for people in ("LFW", "validation"):
            its = [row for row in rows if row["people from"] == row["strangers from"] == people and row["way"] == OURS]
            for size in sorted(_distinct(its, "N"), key=int):
                line = {"network": network, "people": people, "N": size}
                lines.append(line | _by_rate([row for row in its if row["N"] == size]))
    return lines


def by_photos(folder: Path) -> list[Line]:
    """Return what was got by photos a person and fusion, of the two large sources."""
    lines = []
    for network, rows in _networks(folder, "asked-got"):
        its = [row for row in rows if row["people from"] == row["strangers from"] and row["way"] == OURS]
        its = [row for row in its if row["people from"] in ("LFW", "validation")]
        for photos in _distinct(its, "photos"):
            for fusion in _distinct(its, "fusion"):
                if chosen := [row for row in its if (row["photos"], row["fusion"]) == (photos, fusion)]:
                    lines.append({"network": network, "photos": photos, "fusion": fusion, **_by_rate(chosen)})
    return lines


def across(folder: Path) -> list[Line]:
    """Return what strangers of another source than the people got."""
    lines = []
    for network, rows in _networks(folder, "asked-got"):
        its = [row for row in rows if row["people from"] != row["strangers from"] and row["way"] == OURS]
        for people in _distinct(its, "people from"):
            chosen = [row for row in its if row["people from"] == people]
            lines.append(
                {"network": network, "people": people, "strangers": chosen[0]["strangers from"], **_by_rate(chosen)}
            )
    return lines


def constants(folder: Path) -> list[Line]:
    """Return the least and the most that peers' constants name, by number of people."""
    lines = []
    for network, rows in _networks(folder, "asked-got"):
        its = [row for row in rows if row["people from"] == row["strangers from"] == "LFW" and not row["asked"]]
        for way in _distinct(its, "way"):
            line = {"network": network, "constant": way}
            for size in sorted(_distinct(its, "N"), key=int):
                chosen = [row for row in its if (row["way"], row["N"]) == (way, size)]
                low, high = min(float(row["least"]) for row in chosen), max(float(row["most"]) for row in chosen)
                line[f"N = {size}"] = f"{100 * low:.1f} to {100 * high:.1f} %"
            lines.append(line)
    return lines


def changing(folder: Path) -> list[Line]:
    """Return threshold and FPIR got after each round, for both rates, fusion `mean`."""
    rows = _read(folder / "changing-sphereface.csv")
    lines = []
    for number in _distinct(rows, "round"):
        rates = [next(iter(_where(rows, round=number, fusion="mean", asked=asked))) for asked in ASKED[:2]]
        line = {"round": number, "what": rates[0]["what"], "N": rates[0]["N"]}
        for way in WAYS:
            cells = [f"{row[f'{way}: threshold']}: {100 * float(row[f'{way}: got'].split()[0]):.1f}" for row in rates]
            line[way] = " / ".join(cells)
        lines.append(line)
    return lines


def fusions(folder: Path) -> list[Line]:
    """Return FNIR at 10 / 1 % by fusion and photos a person, all sizes together."""
    lines = []
    for network, rows in _networks(folder, "fnir"):
        for people in _distinct(rows, "people from"):
            for photos in ("2", "5", "20", "mixed"):
                line = {"network": network, "people": people, "photos": photos}
                for fusion in FUSIONS:
                    its = [row for row in _where(rows, photos=photos, fusion=fusion) if row["people from"] == people]
                    weights = [float(row["mated searches"]) for row in its]
                    means = [
                        np.average([float(row[f"FNIR at FPIR {asked}"]) for row in its], weights=weights)
                        for asked in (ASKED[:2] if its else ())
                    ]
                    line[fusion] = " / ".join(f"{100 * mean:.2f}" for mean in means)
                lines.append(line)
    return lines


def probability(folder: Path) -> list[Line]:
    """Return ECE and Brier score by number of people and photos, fusion `mean`."""
    lines = []
    for network, rows in _networks(folder, "probability"):
        for people in _distinct(rows, "people"):
            line = {"network": network, "people": people}
            for size in sorted(_distinct(rows, "N"), key=int):
                its = _where(rows, people=people, N=size, fusion="mean")
                its = [row for row in its if row["photos"] in ("1", "5", "mixed")]
                cells = [f"{row['photos']}: {float(row['ECE']):.3f}, {float(row['Brier']):.3f}" for row in its]
                line[f"N = {size}"] = "; ".join(cells)
            lines.append(line)
    return lines


def context(folder: Path) -> list[Line]:
    """Return FNIR at equal FPIR of z = s - w c, held out: the cells' mean, and how many are better."""
    lines = []
    for network, rows in _networks(folder, "context"):
        for people in _distinct(rows, "people"):
            its = _where(rows, half="B", people=people)
            line = {"network": network, "people": people, "cells": str(len(its))}
            plain = np.array([_number(row["s"]) for row in its])
            line["s"] = f"{plain.mean():.2f} %"
            for weight in (name for name in its[0] if name.startswith("s - ")):
                adjusted = np.array([_number(row[weight]) for row in its])
                better, worse = int((adjusted < plain).sum()), int((adjusted > plain).sum())
                line[weight] = f"{adjusted.mean():.2f} % ({better} better, {worse} worse)"
            lines.append(line)
    return lines


def as_it_is(folder: Path, name: str) -> list[Line]:
    """Return a file's own rows."""
    return [dict(row) for row in _read(folder / name)]


TABLES: dict[str, Callable[[Path], list[Line]]] = {
    "agreement": partial(agreement, way=OURS),
    "fairface": partial(agreement, way=OURS, variants=True),
    "all rates": all_rates,
    "cohort alone": without_likeness,
    "by size": by_size,
    "by photos": by_photos,
    "across": across,
    "constants": constants,
    "changing": changing,
    "own strangers": partial(as_it_is, name="own-strangers.csv"),
    "fusions": fusions,
    "cohort kinds": partial(as_it_is, name="cohort-kinds.csv"),
    "together": partial(as_it_is, name="photos-together.csv"),
    "probability": probability,
    "context": context,
    "context mixed": partial(as_it_is, name="context-mixed-sphereface-scratch.csv"),
    "context rates": partial(agreement, way=CONTEXT),
    "cost": partial(as_it_is, name="cohort-cost.csv"),
}


def _by_rate(rows: Sequence[Row]) -> Line:
    """Return what was got, in how many galleries it agrees, and what was said, by the rate asked."""
    line: Line = {}
    for asked in ASKED:
        if its := [row for row in rows if row["asked"] == asked and row["got"]]:
            line[f"{_percent(asked)}: got, %"] = _range(its)
            line[f"agrees {_percent(asked)}"] = f"{_share(its, 'both')} of {_galleries(its)}"
            if asked != ASKED[2]:
                line[f"said {_percent(asked)}"] = _said(its)
    return line


def _networks(folder: Path, kind: str) -> Iterable[tuple[str, list[Row]]]:
    for network in NETWORKS:
        if (file := folder / f"{kind}-{network}.csv").exists():
            yield network, _read(file)


def _read(file: Path) -> list[Row]:
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _where(rows: Iterable[Row], **wanted: str) -> list[Row]:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def _distinct(rows: Iterable[Row], name: str) -> list[str]:
    return list(dict.fromkeys(row[name] for row in rows))


def _galleries(rows: Sequence[Row]) -> int:
    return sum(int(row["galleries"]) for row in rows)


def _range(rows: Sequence[Row]) -> str:
    got = np.repeat([float(row["got"]) for row in rows], [int(row["galleries"]) for row in rows])
    low, middle, high = 100 * np.quantile(got, (0.05, 0.5, 0.95))
    return f"{middle:.2g} ({low:.2g} to {high:.2g})"


def _share(rows: Sequence[Row], name: str) -> str:
    return f"{100 * sum(int(row[name]) for row in rows) / max(1, _galleries(rows)):.0f} %"


def _said(rows: Sequence[Row]) -> str:
    low, high = 100 * np.median([[float(bound) for bound in row["said"].split(" to ")] for row in rows], axis=0)
    return f"{low:.2g} to {high:.2g}"


def _number(cell: str) -> float:
    return float(cell.removesuffix(" %"))


def _percent(asked: str) -> str:
    return f"{100 * float(asked):g} %"


if __name__ == "__main__":
    main()
