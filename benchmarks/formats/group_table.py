"""A CSV that says to which groups photos or people belong: given by whoever measures, never inferred."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faceid.feature_set import FeatureSet
from faceid.vision.photo_list import TOO_MANY_CELLS, has_too_many_cells, rows_of_csv
from indexer.errors import FaceIdError
from indexer.text import printable

_KEYS = ("path", "person")


class GroupTableError(FaceIdError):
    """A table of groups that cannot be read, or that contradicts itself."""


def read_groups(file: Path, features: FeatureSet, columns: Sequence[str] | None) -> dict[str, NDArray[np.str_]]:
    """Return for each column of the CSV the group of each row of the features, '' for a row that it does not have.

    A column `path` (as in the features) or `person` (their label) says whose a line is; the others are attributes, or
    those named in `columns`. Raises GroupTableError, which names the line or the column.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = rows_of_csv(lines)
            heads = list(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise GroupTableError(f"{printable(file)}: not a readable CSV file in UTF-8 ({error})") from error
    key = next((head for head in _KEYS if head in heads), None)
    if twice := sorted({head for head in heads if head and heads.count(head) > 1}):
        raise GroupTableError(f"{printable(file)}: several columns {', '.join(twice)}; keep one of them")
    wanted = (
        [head for head in heads if head not in ("", *_KEYS)] if columns is None else [head.strip() for head in columns]
    )
    missing = [head for head in wanted if head not in heads]
    if key is None or missing or not wanted:
        what = "no column path or person" if key is None else f"no column {', '.join(missing) or 'with groups'}"
        raise GroupTableError(f"{printable(file)}: {what}")
    known: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows, start=2):
        if has_too_many_cells(row):
            raise GroupTableError(f"{printable(file)}, line {number}: {TOO_MANY_CELLS}")
        name = row[key] or ""
        groups = {head: (row[head] or "").strip() for head in wanted}
        if not name and any(groups.values()):
            raise GroupTableError(f"{printable(file)}, line {number}: a group, but no {key}")
        if known.setdefault(name, groups) != groups:
            raise GroupTableError(
                f"{printable(file)}, line {number}: {printable(name)} has other groups in an earlier line"
            )
    keys = (features.paths if key == "path" else features.labels).tolist()
    return {head: np.array([known[one][head] if one in known else "" for one in keys], np.str_) for head in wanted}
