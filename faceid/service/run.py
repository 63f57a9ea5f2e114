"""Runs a server: the settings of faceid.toml and the command line, where it may listen, its end."""

import logging
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import uvicorn
from filelock import FileLock, Timeout

from faceid.service.app import create_app
from faceid.service.connection import Connection
from faceid.service.database import ServiceDatabase
from faceid.service.keys import has_keys, has_usable_key
from faceid.service.logs import log_to_stderr
from faceid.service.service import Service
from faceid.service.settings import Settings, SettingsError
from indexer.durable_file import PRIVATE
from indexer.errors import FaceIdError

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_LOCK = "running.lock"
_CONNECTIONS = 1024  # that wait or are served; the next one is told 503
_KEPT_SECONDS = 75  # an idle connection: longer than clients and proxies keep theirs, which never meet a closed one


class AnotherServer(FaceIdError):
    """The folder of a server that is running."""

    exit_code = 6


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was accepted; SettingsError for an address without keys.

    Raises AnotherServer, and what is wrong with a gallery or a model, before it listens.
    """
    require_keys_beyond_loopback(settings)
    log_to_stderr()
    with _alone_in(settings.data):
        _run(settings)


def _run(settings: Settings) -> None:
    _keep_uploads_in(settings.data / "tmp")
    if settings.backend == "torch":
        import torch

        torch.set_num_threads(1)  # a worker is a core; threads of threads wait for each other
    config = server_config(settings)
    try:
        config.load()
    except OSError as error:  # of TLS, too
        raise SettingsError(f"tls_certificate and tls_key cannot be used: {error.strerror or error}") from error
    service: Service = cast(Any, config.app).state.service
    service.start()  # not within uvicorn, which tells what is wrong with a gallery as a traceback
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn ends in good order, and then sends itself the signal again: it has done its work.
        signal.signal(number, lambda *_: None)
    logging.getLogger("faceid.service").info("listening on %s", address(settings))
    server = uvicorn.Server(config)
    server.run()
    if not server.started:
        sys.exit(1)  # uvicorn has said why


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold a server's folder: another server there would begin the jobs of this one once more, and take its uploads."""
    lock = FileLock(folder / _LOCK, mode=PRIVATE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise AnotherServer(
            f"another server is running with {folder}; end it, or give this one a folder of its own with --data"
        ) from None
    try:
        yield
    finally:
        lock.release()


def address(settings: Settings) -> str:
    """Return the address of the page."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'https' if settings.tls_certificate else 'http'}://{host}:{settings.port}/"


def require_keys_beyond_loopback(settings: Settings) -> None:
    """Raise SettingsError where others than this machine could ask without a key."""
    with ServiceDatabase(settings.data) as database:
        keyed, usable = has_keys(database), has_usable_key(database)
    reachable = settings.host not in _LOOPBACK or settings.trusted_proxies
    if reachable and not usable:
        what = "all keys are revoked or expired" if keyed else "there is no key"
        raise SettingsError(
            f"{what}, and this server could be reached from elsewhere ({settings.host}); type"
            " `faceid serve keys make NAME --role admin`"
        )


def server_config(settings: Settings) -> uvicorn.Config:
    """Return how uvicorn is to run a server: its address, certificates, trusted proxies and bounds."""
    return uvicorn.Config(
        create_app(settings),
        http=Connection,
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=_KEPT_SECONDS,
        timeout_graceful_shutdown=int(settings.seconds) + 1,
    )


def _keep_uploads_in(folder: Path) -> None:
    """Let uploads that are too large for the memory lie where nobody else looks, and be gone after a crash."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    tempfile.tempdir = str(folder)
