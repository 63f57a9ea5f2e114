"""The server as an ASGI app: `create_app(make_settings({...}))`; `faceid serve` gives it to uvicorn."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import anyio.to_thread
from fastapi import FastAPI
from starlette.formparsers import MultiPartParser

from faceid.service.api import audit, change, identify, jobs, people, review, system, thresholds
from faceid.service.door import Door
from faceid.service.page import pages
from faceid.service.problems import answer_with_problems
from faceid.service.service import Service
from faceid.service.settings import Settings

# Calls that only read or write the gallery's database wait in these, apart from the threads that compute.
_STORE_THREADS = 8
# Of each file that is uploaded, this much is held in memory: a browser sends a folder of a thousand at once.
_HELD_BYTES = 2**18
_DESCRIPTION = """Who is on a photo, or that it is nobody in the gallery.

Every answer bears `X-Request-ID`. What goes wrong is `application/problem+json` with a `code` of the table in
docs/serving.md. Records are those of the command line (docs/records.md)."""


def create_app(settings: Settings) -> FastAPI:
    """Return the app of a server; galleries and models are opened when it starts."""
    service = Service(settings)
    MultiPartParser.spool_max_size = _HELD_BYTES

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _STORE_THREADS
        if not service.ready:  # `faceid serve` has started it
            await anyio.to_thread.run_sync(service.start)
        try:
            yield
        finally:
            await anyio.to_thread.run_sync(service.close)

    app = FastAPI(
        title="faceid",
        version=version("faceid-engine"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        openapi_url="/v1/openapi.json",
        # Both pages would load scripts from other hosts.
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    for part in (system, identify, people, change, review, thresholds, jobs, audit):
        app.include_router(part.router)
    for router in pages.ROUTERS:
        app.include_router(router)
    answer_with_problems(app)
    app.add_middleware(Door, service=service)
    return app
