"""Checksums of the rows that say who may come in: no bit that flips on the disk makes a key good again, or larger."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Table

from indexer.store.checksum import checksum

CHECKSUM = "checksum"
"""The column for it; it covers all others of its row."""


def sealed(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a whole row with its checksum."""
    return {**row, CHECKSUM: _sum(table, row)}


def is_sealed(table: Table, row: Mapping[str, Any]) -> bool:
    """Say whether a row is as it was written."""
    return bool(row[CHECKSUM] == _sum(table, row))


def _sum(table: Table, row: Mapping[str, Any]) -> int:
    return checksum(*(row[column.name] for column in table.columns if column.name != CHECKSUM))
