"""Checksums of rows: what the database cannot notice by itself, a bit that flipped on the disk, every read notices.

A row's checksum covers all of it. It is verified whenever the row is read to answer (`indexer.store.sealed_rows`), and
`check` verifies every row. That no row appears or vanishes is what `indexer.store.tally` is for.
"""

import zlib

SQL_NAME = "faceid_checksum"
"""`checksum` inside SQL; every connection of `indexer.store.database` has it."""

COVERED = {
    "model": ("id", "name", "digest", "dimension"),
    "identity": ("id", "name", "external_id", "created_at", "removed_at", "merged_into", "sealed"),
    "template": (
        "id",
        "identity_id",
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
        "removed_at",
    ),
    "embedding": ("template_id", "model_id", "vector"),
    "calibration": (
        "id",
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
        "contents",
        "templates",
        "detector",
        "quality_policy",
        "cohort",
        "decided_on",
        "cohort_scores",
    ),
    "stranger": ("id", "person", "model_id", "vector"),
    "audit": ("id", "at", "action", "identity_id", "details"),
    "undo": ("audit_id", "payload"),
    "erased": ("digest",),
    "rejection": ("source_digest", "policy", "reasons", "at"),
    "crop": ("template_id", "jpeg"),
    "morph": ("id", "model_digest", "worst", "genuine", "people", "data", "date"),
    "outside": ("id", "address"),
    "tally": ("name", "rows", "total", "last_id"),
}
"""The columns of each table that its rows' checksums cover, in order: all but the checksum, the key first."""

GALLERY = (
    "SELECT g.uuid, g.created_at, g.fusion, g.revision, g.model_id, g.model_since, g.erasure_key, g.erase_pending,"
    " g.decided_on, g.turn_key_id, g.turn_salt, m.name, m.digest, m.dimension"
    " FROM gallery g JOIN model m ON m.id = g.model_id"
)
"""What the checksum of the gallery's one row covers: itself and the model it is bound to."""


def checksum(*values: int | float | str | bytes | None) -> int:
    """CRC-32 of a row's values as SQLite returns them: of their Python literals, then of the last one if it is a blob.

    It notices every single flipped bit and every burst of up to 32, and a value of another type; it is no protection
    against forgery.
    """
    last = values[-1]
    if isinstance(last, bytes):  # a vector: 2 KiB would be 8 KiB as a literal
        return zlib.crc32(last, zlib.crc32(repr(list(values[:-1])).encode()))
    return zlib.crc32(repr(values).encode())


def sql_of(table: str) -> str:
    """Return the SQL expression that computes a row's checksum anew."""
    return f"{SQL_NAME}({', '.join(COVERED[table])})"
