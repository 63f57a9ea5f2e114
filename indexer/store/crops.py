"""Pictures of faces that a gallery keeps where enrolment was asked to: one small JPEG a template, for people to see.

Searches need none of them. They go where their template goes: into backups, exports, other
galleries, and away with it when its person is erased.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from indexer.store.queries import chunks
from indexer.store.schema import crop, template
from indexer.store.sealed_rows import insert_rows, rows_with

LARGEST = 2**16
"""Bytes of one: an aligned face as JPEG has some 5,000."""

_JPEG = b"\xff\xd8\xff"


def is_crop(data: Any) -> bool:
    """Say whether these are bytes that may be kept: a JPEG by its first bytes, and small."""
    return isinstance(data, bytes) and data.startswith(_JPEG) and len(data) <= LARGEST


def keep_crops(connection: Connection, pictures: Mapping[int, bytes]) -> None:
    """Keep the pictures of new templates, by template id."""
    rows = [{"template_id": template_id, "jpeg": jpeg} for template_id, jpeg in pictures.items()]
    insert_rows(connection, "crop", rows)


def crop_of(connection: Connection, template_id: int) -> bytes | None:
    """Return a template's picture; None where none is kept. Raises StoreDamaged."""
    rows = rows_with(connection, "crop", "template_id", [template_id])
    return rows[0].jpeg if rows else None


def with_crops(connection: Connection, identity_ids: Sequence[int]) -> dict[int, list[int]]:
    """Return, by identity, the ids of the templates whose picture is kept, removed ones too, oldest first."""
    found: dict[int, list[int]] = {}
    for piece in chunks(list(identity_ids)):
        query = select(template.c.identity_id, template.c.id).join(crop).where(template.c.identity_id.in_(piece))
        for identity_id, template_id in connection.execute(query.order_by(template.c.id)):
            found.setdefault(identity_id, []).append(template_id)
    return found
