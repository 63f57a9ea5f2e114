"""Checksums of rows: what the database cannot notice by itself, a bit that flipped on the disk, `check` notices.

A row's checksum covers what stays as it was written (a name until it is renamed). What changes hands or visibility is
covered by SQLite's own indexes, which `PRAGMA integrity_check` compares with the rows.
"""

import zlib

SQL_NAME = "faceid_checksum"
"""`checksum` inside SQL; every connection of `indexer.store.database` has it."""

COVERED = {
    "identity": ("id", "name", "external_id", "created_at"),
    "template": (
        "id",
        "source",
        "source_digest",
        "box_x",
        "box_y",
        "box_width",
        "box_height",
        "detection_score",
        "quality",
        "precision",
        "created_at",
    ),
    "embedding": ("template_id", "model_id", "vector"),
    "calibration": (
        "target",
        "scores",
        "trials",
        "gallery_size",
        "templates_per_identity",
        "fusion",
        "model_digest",
        "precision",
        "data",
        "date",
        "probability",
        "revision",
    ),
    "audit": ("at", "action", "identity_id", "digest", "details"),
    "undo": ("audit_id", "payload"),
}
"""The columns of each table that its rows' checksums cover, in order."""

GALLERY = (
    "SELECT g.uuid, g.created_at, g.fusion, g.revision, g.audit_salt, g.erase_pending, m.name, m.digest, m.dimension"
    " FROM gallery g JOIN model m ON m.id = g.model_id"
)
"""What the checksum of the gallery's one row covers: itself and the model it is bound to."""


def checksum(*values: int | float | str | bytes | None) -> int:
    """CRC-32 of a row's values as SQLite returns them: of their Python literals, then of the last one if it is a blob.

    It notices every single flipped bit and every burst of up to 32; it is no protection against forgery.
    """
    *rest, last = values
    if isinstance(last, bytes):  # a vector: 2 KiB would be 8 KiB as a literal
        return zlib.crc32(last, zlib.crc32(repr(rest).encode()))
    return zlib.crc32(repr(values).encode())


def sql_of(table: str) -> str:
    """Return the SQL expression that computes a row's checksum anew."""
    return f"{SQL_NAME}({', '.join(COVERED[table])})"
