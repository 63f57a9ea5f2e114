"""Where each person has a key: which columns lie in cells under it, or as tokens, and how rows are opened and sealed.

| table | columns | how they lie |
|---|---|---|
| identity | name, external_id | a token each; both in the cell `sealed` |
| template | source, source_digest | a token for the digest; both in a cell, as base64 in place of the source |
| embedding | vector | a cell |
| crop | jpeg | a cell |
| undo | payload | a cell as base64, where it is about one person |

A row is opened when it was found to be as it was written, and sealed before its checksum is made: all above
`indexer.store.sealed_rows` sees names and vectors. In a gallery without such keys nothing here changes anything.
"""

import json
from base64 import b64decode, b64encode
from collections import namedtuple
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, select, update

from indexer.errors import StoreDamaged
from indexer.store.checksum import COVERED, checksum
from indexer.store.person_keys import OVERHEAD, PersonKeys, person_of
from indexer.store.schema import audit, embedding, template

INFO = "person keys"
"""Under which name a connection of `indexer.store.database` has its PersonKeys."""

_SEALED = {
    "identity": ("name", "external_id"),
    "template": ("source", "source_digest"),
    "crop": ("jpeg",),
    "undo": ("payload",),
}
_TOKENS = {("identity", "name"), ("identity", "external_id"), ("template", "source_digest")}


def keys_of(connection: Connection) -> PersonKeys | None:
    """Return the keys of the gallery's people; None where they have none."""
    found: PersonKeys | None = connection.info.get(INFO)
    return found


def is_touched(connection: Connection, table: str, columns: Sequence[str]) -> bool:
    """Whether rows must be opened and sealed anew for these columns to change."""
    return keys_of(connection) is not None and not set(columns).isdisjoint(_SEALED.get(table, ()))


def sought(connection: Connection, text: str) -> str:
    """Return what stands in the database for a name or an external id that is looked for."""
    people = keys_of(connection)
    return text if people is None else people.token(text.encode()).hex()


def sought_values(connection: Connection, table: str, column: str, values: Sequence[Any]) -> Sequence[Any]:
    """Return what stands in a column for values that are looked for."""
    people = keys_of(connection)
    if people is None or (table, column) not in _TOKENS:
        return values
    if column == "source_digest":
        return [people.token(one) for one in values]
    return [sought(connection, one) for one in values]


def opened_rows(connection: Connection, table: str, rows: Sequence[Any]) -> list[Any]:
    """Return sound rows (their covered columns, then the checksum) with what lies in cells opened."""
    people = keys_of(connection)
    if people is None or table not in _SEALED:
        return list(rows)
    cells = [_cell(table, row) for row in rows]
    people.fetch(person_of(cell) for cell in cells if cell is not None)
    opened = _opened_class(table)
    return [opened(*row)._replace(**_content(people, table, row, cell)) for row, cell in zip(rows, cells, strict=True)]


def sealed_row(connection: Connection, table: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with all its covered columns as it lies."""
    people = keys_of(connection)
    if people is None or table not in _SEALED:
        return row
    if table == "identity":
        token = None if row["external_id"] is None else sought(connection, row["external_id"])
        text = json.dumps([row["name"], row["external_id"]], ensure_ascii=False)
        cell = people.seal(row["id"], f"identity {row['id']}", text.encode())
        return {**row, "name": sought(connection, row["name"]), "external_id": token, "sealed": cell}
    if table == "template":
        text = json.dumps([row["source"], row["source_digest"].hex()], ensure_ascii=False)
        cell = people.seal(row["identity_id"], f"template {row['id']}", text.encode())
        return {**row, "source": b64encode(cell).decode(), "source_digest": people.token(row["source_digest"])}
    if table == "crop":
        number = row["template_id"]
        return {**row, "jpeg": people.seal(owners_of(connection, [number])[number], f"crop {number}", row["jpeg"])}
    about = connection.execute(select(audit.c.identity_id).where(audit.c.id == row["audit_id"])).scalar_one()
    if about is None:  # template ids alone
        return row
    cell = people.seal(about, f"undo {row['audit_id']}", row["payload"].encode())
    return {**row, "payload": b64encode(cell).decode()}


def sealed_tuple(connection: Connection, table: str, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row of a table's covered columns as it lies."""
    if keys_of(connection) is None:
        return row
    return tuple(sealed_row(connection, table, dict(zip(COVERED[table], row, strict=True))).values())


def issue_keys(connection: Connection, persons: Sequence[int]) -> None:
    """Draw keys for new people, where each has one: before anything about them is written."""
    people = keys_of(connection)
    if people is not None and persons:
        people.issue(persons)


def reseal_templates(connection: Connection, template_ids: Sequence[int]) -> None:
    """Put the vectors of templates, which have changed hands, under the key of their new owner."""
    owners = owners_of(connection, template_ids)
    for number, model_id, cell in connection.execute(
        select(embedding.c.template_id, embedding.c.model_id, embedding.c.vector).where(
            embedding.c.template_id.in_(template_ids)
        )
    ).all():
        (vector,) = opened_vectors(connection, model_id, [number], [cell])
        (renewed,) = sealed_vectors(connection, model_id, [number], [owners[number]], [vector])
        here = (embedding.c.template_id == number) & (embedding.c.model_id == model_id)
        values = {"vector": renewed, "checksum": checksum(number, model_id, renewed)}
        connection.execute(update(embedding).where(here).values(**values))


def vector_size(connection: Connection, dimension: int) -> int:
    """Return the bytes that a vector takes in the database."""
    return 4 * dimension + (0 if keys_of(connection) is None else OVERHEAD)


def sealed_vectors(
    connection: Connection, model_id: int, template_ids: Sequence[int], owners: Sequence[int], blobs: Sequence[bytes]
) -> Sequence[bytes]:
    """Return vectors (little-endian float32) of owners' templates as they lie."""
    people = keys_of(connection)
    if people is None:
        return blobs
    rows = zip(template_ids, owners, blobs, strict=True)
    return [people.seal(owner, f"embedding {number} {model_id}", blob) for number, owner, blob in rows]


def opened_vectors(
    connection: Connection, model_id: int, template_ids: Sequence[int], cells: Sequence[bytes]
) -> Sequence[bytes]:
    """Return vectors (little-endian float32) that lie so; raises StoreDamaged."""
    people = keys_of(connection)
    if people is None:
        return cells
    people.fetch(map(person_of, cells))
    rows = zip(template_ids, cells, strict=True)
    return [people.opened(f"embedding {number} {model_id}", cell) for number, cell in rows]


def owners_of(connection: Connection, template_ids: Sequence[int]) -> dict[int, int]:
    """Return the identity that each template belongs to."""
    found = connection.execute(select(template.c.id, template.c.identity_id).where(template.c.id.in_(template_ids)))
    return {one.id: one.identity_id for one in found}


def _cell(table: str, row: Any) -> bytes | None:
    if table == "identity":
        cell = row.sealed
    elif table == "crop":
        cell = row.jpeg
    else:
        text = row.source if table == "template" else row.payload
        if table == "undo" and text.startswith("{"):
            return None
        try:
            cell = b64decode(text, validate=True)
        except ValueError:
            cell = None
    if not isinstance(cell, bytes) or len(cell) < OVERHEAD:
        raise StoreDamaged(f"the row {row[0]} of the database's table {table} holds nothing under a person's key")
    return cell


def _content(people: PersonKeys, table: str, row: Any, cell: bytes | None) -> dict[str, Any]:
    if cell is None:
        return {}
    content = people.opened(f"{table} {row[0]}", cell)
    if table == "crop":
        return {"jpeg": content}
    if table == "undo":
        return {"payload": content.decode()}
    first, second = json.loads(content)
    if table == "identity":
        return {"name": first, "external_id": second}
    return {"source": first, "source_digest": bytes.fromhex(second)}


@cache
def _opened_class(table: str) -> Any:
    return namedtuple(table.title(), (*COVERED[table], "checksum"))
