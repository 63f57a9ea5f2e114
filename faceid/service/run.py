"""Runs a server: the settings of faceid.toml and the command line, where it may listen, its end."""

import logging
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import uvicorn

from faceid.service.app import create_app
from faceid.service.database import ServiceDatabase
from faceid.service.keys import has_keys, has_usable_key
from faceid.service.logs import log_to_stderr
from faceid.service.settings import Settings, SettingsError

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_CONNECTIONS = 1024  # that wait or are served; the next one is told 503
_KEPT_SECONDS = (
    75  # an idle connection: longer than clients and proxies keep theirs, which then never meet a closed one
)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was accepted; SettingsError for an address without keys."""
    require_keys_beyond_loopback(settings)
    log_to_stderr()
    logging.getLogger("faceid.service").info("listening on %s", address(settings))
    _keep_uploads_in(settings.data / "tmp")
    if settings.backend == "torch":
        import torch

        torch.set_num_threads(1)  # a worker is a core; threads of threads wait for each other
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn ends in good order, and then sends itself the signal again: it has done its work.
        signal.signal(number, lambda *_: None)
    server = uvicorn.Server(server_config(settings))
    server.run()
    if not server.started:
        sys.exit(1)  # uvicorn has said why


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
