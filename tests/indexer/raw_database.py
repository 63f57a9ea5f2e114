"""A gallery's database behind its back: what a test spoils, or looks at, with the library itself."""

import os
from contextlib import closing

from indexer.crypto.envelope import read_envelope, unlock
from indexer.crypto.keys import usual_key
from indexer.store.driver import connect
from tests.postgres_server import VARIABLE, name_of


def raw_database(path):
    """A connection to the database at this path, to be used in a `with`; each statement is committed by itself."""
    return closing(raw_connection(path))


def raw_connection(path):
    """The same, closed by whoever asked for it."""
    if VARIABLE in os.environ:
        return InServer(os.environ[VARIABLE], f"faceid_{name_of(path.parent)}")
    keys = unlock(path.parent, usual_key()) if read_envelope(path.parent) else None
    return connect(f"file:{path}", keys)


class InServer:
    """What of SQLite's connection the tests use, of a schema of a database; its operator's, who may do anything."""

    def __init__(self, database, schema):
        import psycopg

        self._raw = psycopg.connect(database, user="postgres", autocommit=True)
        self._raw.execute(f'SET search_path TO "{schema}"')

    def execute(self, sql, values=()):
        if sql == "PRAGMA foreign_keys=OFF":
            return self._raw.execute("SET session_replication_role = replica")
        if sql == "PRAGMA ignore_check_constraints=ON":
            return self._drop_checks()
        sql = sql.replace("zeroblob(64)", "decode(repeat('00', 64), 'hex')")
        return self._raw.execute(sql.replace("%", "%%").replace("?", "%s"), values)

    def close(self):
        self._raw.close()

    def _drop_checks(self):
        found = self._raw.execute(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint"
            " WHERE contype = 'c' AND connamespace = current_schema()::regnamespace"
        )
        for table, name in found.fetchall():
            self._raw.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
