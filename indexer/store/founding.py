"""The first rows of a gallery: what it is, and the model it is bound to."""

import secrets
import uuid
from dataclasses import asdict

from sqlalchemy import Connection, insert

from indexer.fusion import Fusion
from indexer.records import ModelBinding, Turn
from indexer.store.queries import now, seal
from indexer.store.schema import gallery
from indexer.store.sealed_rows import insert_rows


def found(connection: Connection, bound: ModelBinding, fusion: Fusion, turn: Turn | None) -> None:
    """Make an empty database of the newest schema an empty gallery; `turn` says how its vectors will be turned."""
    insert_rows(connection, "model", [{"id": 1, **asdict(bound)}])
    connection.execute(
        insert(gallery).values(
            id=1,
            uuid=str(uuid.uuid4()),
            created_at=now(),
            fusion=fusion,
            revision=1,
            model_id=1,
            model_since=1,
            erasure_key=secrets.token_bytes(32),
            erase_pending=0,
            turn_key_id=turn and turn.key_id,
            turn_salt=turn and turn.salt,
        )
    )
    seal(connection)
