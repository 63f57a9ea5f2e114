"""Who may do what: API keys with a role for each gallery, kept as digests."""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from sqlalchemy import Connection, insert, select, update

from faceid.service.database import ServiceDatabase, in_text, key, key_role, now
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
        number = connection.execute(
            insert(key)
            .values(
                digest=_digest(text),
                prefix=secret[:_SHOWN],
                label=label,
                created_at=now(),
                expires_at=expires,
            )
            .returning(key.c.id)
        ).scalar_one()
        connection.execute(
            insert(key_role), [{"key_id": number, "gallery": name, "role": role} for name, role in roles.items()]
        )
        (row,) = _rows(connection, number)
    return row, text


def list_keys(database: ServiceDatabase) -> list[KeyRow]:
    """Return every key, revoked and expired ones too, oldest first."""
    with database.read() as connection:
        return _rows(connection)


def revoke_key(database: ServiceDatabase, ref: str) -> KeyRow:
    """Let a key, named by its id or its shown beginning, open nothing any more. Raises KeyRefused for no or several."""
    with database.write() as connection:
        found = [row for row in _rows(connection) if ref in (str(row.id), row.prefix)]
        if len(found) != 1:
            raise KeyRefused(
                f"{'no' if not found else 'more than one'} key is called {ref!r}; see `faceid serve keys list`"
            )
        connection.execute(
            update(key).where(key.c.id == found[0].id, key.c.revoked_at.is_(None)).values(revoked_at=now())
        )
        (row,) = _rows(connection, found[0].id)
    return row


def has_keys(database: ServiceDatabase) -> bool:
    """Say whether a key was ever made: from then on nobody comes in without one."""
    return bool(database.glance("SELECT 1 FROM key LIMIT 1"))


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
    rows = database.glance(
        "SELECT id, label, expires_at, last_used_at, gallery, role FROM key LEFT JOIN key_role ON key_id = id"
        f" WHERE {column} = ? AND revoked_at IS NULL",
        value,
    )
    if not rows:
        return None
    number, label, expires_at, last_used_at, _, _ = rows[0]
    if _expired(expires_at):
        return None
    if last_used_at is None or last_used_at < in_text(datetime.now(UTC) - _USE_NOTED_EVERY):
        with database.write() as connection:
            connection.execute(update(key).where(key.c.id == number).values(last_used_at=now()))
    return Caller(number, label, {gallery: role for *_, gallery, role in rows if gallery is not None})


def _digest(text: str) -> bytes:
    # Of 32 random bytes: a slow hash, which passwords need, would only make each request slow.
    return hashlib.sha256(text.encode()).digest()


def _expired(expires_at: str | None) -> bool:
    return expires_at is not None and expires_at <= now()


def _rows(connection: Connection, number: int | None = None) -> list[KeyRow]:
    chosen = select(key).order_by(key.c.id)
    if number is not None:
        chosen = chosen.where(key.c.id == number)
    roles: dict[int, dict[str, Role]] = {}
    for one in connection.execute(select(key_role)):
        roles.setdefault(one.key_id, {})[one.gallery] = one.role
    return [
        KeyRow(
            row.id,
            row.prefix,
            row.label,
            roles.get(row.id, {}),
            row.created_at,
            row.expires_at,
            row.last_used_at,
            row.revoked_at,
        )
        for row in connection.execute(chosen)
    ]
