"""What pages load besides themselves: two vendored files, our own style sheet and script."""

import hashlib
from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import Response

from faceid.service.gate import GuardedRoute, access
from faceid.service.problems import Problem

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)

_TYPES = {
    "htmx.min.js": "text/javascript",
    "pico.classless.min.css": "text/css",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_FOR_GOOD = "public, max-age=31536000, immutable"


@router.get("/assets/{name}", openapi_extra=access("open"))
def asset(name: str) -> Response:
    """Send a file of the table; its address changes with its bytes, so that browsers may keep it."""
    if name not in _TYPES:
        raise Problem("no_such_page", "there is no such file")
    return Response(_bytes(name), headers={"Cache-Control": _FOR_GOOD}, media_type=_TYPES[name])


@cache
def address_of_asset(name: str) -> str:
    """Return the address of a file."""
    return f"/assets/{name}?{hashlib.sha256(_bytes(name)).hexdigest()[:16]}"


@cache
def _bytes(name: str) -> bytes:
    return (files(__package__) / "static" / name).read_bytes()
