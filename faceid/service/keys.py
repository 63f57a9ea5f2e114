"""Who may do what: API keys with a role for each gallery, kept as digests."""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from sqlalchemy import Connection, Table, insert, select, update

from faceid.service.database import ServiceDatabase, ServiceDatabaseError, in_text, key, key_role, now
from faceid.service.logs import log
from faceid.service.sealing import is_sealed, sealed
from indexer.errors import FaceIdError

Role = Literal["identify", "enrol", "curate", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""Smallest first; each may do what those before it may."""

EVERY_GALLERY = "*"
MARK = "faceid_"
_SHOWN = 8
_USE_NOTED_EVERY = timedelta(minutes=1)


class KeyRefused(FaceIdError):
    """There is no such key, or it cannot be made."""


@dataclass(frozen=True)
class Caller:
    """Who asks: a key, or whoever sits at this machine while the server has no keys (`key_id` None)."""

    key_id: int | None
    label: str
    roles: Mapping[str, Role]

    def role_for(self, gallery: str) -> Role | None:
        """Return the role for a gallery, the larger of the named one and that for every gallery."""
        held = [self.roles[name] for name in (gallery, EVERY_GALLERY) if name in self.roles]
        return max(held, key=ROLES.index, default=None)

    def may(self, role: Role, gallery: str) -> bool:
        """Say whether the caller may do what takes this role."""
        held = self.role_for(gallery)
        return held is not None and ROLES.index(held) >= ROLES.index(role)


LOCAL = Caller(None, "this machine", {EVERY_GALLERY: "admin"})


@dataclass(frozen=True)
class KeyRow:
    """A key as it is listed: never the key itself. Times are ISO 8601 in UTC."""

    id: int
    prefix: str
    label: str
    roles: dict[str, Role]
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None


def make_key(
    database: ServiceDatabase, label: str, roles: Mapping[str, Role], lifetime: timedelta | None = None
) -> tuple[KeyRow, str]:
    """Make a key of 32 random bytes; what is returned beside its row is shown this once and kept nowhere.

    Raises KeyRefused where there is no role.
    """
    if not roles:
        raise KeyRefused("a key without a role may do nothing: give it one, as in --role admin or --role door=identify")
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    text = MARK + secret
    expires = None if lifetime is None else in_text(datetime.now(UTC) + lifetime)
    with database.write() as connection:
        made = connection.execute(
            insert(key)
            .values(
                digest=_digest(text),
                prefix=secret[:_SHOWN],
                label=label,
                created_at=now(),
                expires_at=expires,
            )
            .returning(key)
        )
        values = made.one()._asdict()
        number = values["id"]
        _seal(connection, values)
        held = [{"key_id": number, "gallery": name, "role": role} for name, role in roles.items()]
        connection.execute(insert(key_role), [sealed(key_role, one) for one in held])
        (row,) = _rows(database, connection, number)
    return row, text


def list_keys(database: ServiceDatabase) -> list[KeyRow]:
    """Return every key, revoked and expired ones too, oldest first."""
    with database.read() as connection:
        return _rows(database, connection)


def revoke_key(database: ServiceDatabase, ref: str) -> KeyRow:
    """Let a key, named by its id or its shown beginning, open nothing any more. Raises KeyRefused for no or several."""
    with database.write() as connection:
        found = [row for row in _rows(database, connection) if ref in (str(row.id), row.prefix)]
        if len(found) != 1:
            raise KeyRefused(
                f"{'no' if not found else 'more than one'} key is called {ref!r}; see `faceid serve keys list`"
            )
        if found[0].revoked_at is None:
            _change(database, connection, found[0].id, revoked_at=now())
        (row,) = _rows(database, connection, found[0].id)
    return row


def has_keys(database: ServiceDatabase) -> bool:
    """Say whether a key was ever made: from then on nobody comes in without one."""
    # The last number that was given is kept elsewhere: a table of keys that damage emptied lets nobody in.
    return bool(database.glance("SELECT 1 FROM key UNION ALL SELECT 1 FROM sqlite_sequence WHERE name = 'key' LIMIT 1"))


def has_usable_key(database: ServiceDatabase) -> bool:
    """Say whether there is a key that still opens something."""
    return any(row.revoked_at is None and not _expired(row.expires_at) for row in list_keys(database))


def find_caller(database: ServiceDatabase, text: str) -> Caller | None:
    """Return who bears this key; None for one that is unknown, revoked or expired. Notes its use."""
    # An index looks the digest up: its time says nothing of the key, which the digest cannot be turned into.
    return _caller(database, "digest", _digest(text)) if text.isascii() else None


def caller_of(database: ServiceDatabase, key_id: int) -> Caller | None:
    """Return who bears the key of this id; None for one that is revoked or expired."""
    return _caller(database, "id", key_id)


def _caller(database: ServiceDatabase, column: Literal["digest", "id"], value: bytes | int) -> Caller | None:
    for row in _glanced(database, key, column, value):
        if row["revoked_at"] is not None or _expired(row["expires_at"]):
            return None
        number = row["id"]
        used = row["last_used_at"]
        if used is None or used < in_text(datetime.now(UTC) - _USE_NOTED_EVERY):
            _note_use(database, number)
        held = _glanced(database, key_role, "key_id", number)
        return Caller(number, row["label"], {one["gallery"]: one["role"] for one in held})
    return None


def _note_use(database: ServiceDatabase, number: int) -> None:
    try:
        with database.write() as connection:
            _change(database, connection, number, last_used_at=now())
    except ServiceDatabaseError:
        raise
    except FaceIdError as error:  # a full disk keeps nobody out who only asks
        log.error("the use of a key cannot be noted: %s", error, extra={"key": number})


def _glanced(database: ServiceDatabase, table: Table, column: str, value: bytes | int) -> list[dict[str, Any]]:
    names = table.columns.keys()
    found = database.glance(f"SELECT {', '.join(names)} FROM {table.name} WHERE {column} = ?", value)
    rows = [_whole(database, table, dict(zip(names, one, strict=True))) for one in found]
    if any(row[column] != value for row in rows):  # an index that is damaged leads to another's row
        raise _damage(database, table)
    return rows


def _whole(database: ServiceDatabase, table: Table, row: dict[str, Any]) -> dict[str, Any]:
    if not is_sealed(table, row):
        raise _damage(database, table)
    return row


def _damage(database: ServiceDatabase, table: Table) -> ServiceDatabaseError:
    return ServiceDatabaseError(
        f"{database.path} is damaged (a row of its table {table.name} is not as it was written);"
        " restore it from a backup"
    )


def _change(database: ServiceDatabase, connection: Connection, number: int, **values: str) -> None:
    row = connection.execute(select(key).where(key.c.id == number)).one()
    _seal(connection, _whole(database, key, row._asdict()) | values)


def _seal(connection: Connection, row: Mapping[str, Any]) -> None:
    connection.execute(update(key).where(key.c.id == row["id"]).values(sealed(key, row)))


def _digest(text: str) -> bytes:
    # Of 32 random bytes: a slow hash, which passwords need, would only make each request slow.
    return hashlib.sha256(text.encode()).digest()


def _expired(expires_at: str | None) -> bool:
    return expires_at is not None and expires_at <= now()


def _rows(database: ServiceDatabase, connection: Connection, number: int | None = None) -> list[KeyRow]:
    keys, held = select(key).order_by(key.c.id), select(key_role)
    if number is not None:
        keys, held = keys.where(key.c.id == number), held.where(key_role.c.key_id == number)
    roles: dict[int, dict[str, Role]] = {}
    for one in connection.execute(held):
        role = _whole(database, key_role, one._asdict())
        roles.setdefault(role["key_id"], {})[role["gallery"]] = role["role"]
    rows = [_whole(database, key, row._asdict()) for row in connection.execute(keys)]
    return [
        KeyRow(
            row["id"],
            row["prefix"],
            row["label"],
            roles.get(row["id"], {}),
            row["created_at"],
            row["expires_at"],
            row["last_used_at"],
            row["revoked_at"],
        )
        for row in rows
    ]
