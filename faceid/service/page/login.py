"""The way in: a key becomes a session, whose cookie no script can read."""

from typing import Annotated

from fastapi import Form
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from faceid.service.api.parts import note_search, request_id_of, service_of
from faceid.service.audit import Entry
from faceid.service.gate import access, address_of, require_same_site
from faceid.service.keys import LOCAL, Caller, find_caller
from faceid.service.page.rendering import go, show
from faceid.service.page.routes import page_router
from faceid.service.problems import Problem
from faceid.service.sessions import COOKIE

router = page_router()


@router.get("/", openapi_extra=access("any"))
def first_page(request: Request) -> Response:
    """Lead to the first gallery that the caller may use."""
    caller: Caller = request.state.caller
    own = [name for name in service_of(request).galleries.names if caller.role_for(name)]
    if not own:
        raise Problem("forbidden", "this key opens none of the galleries here")
    return go(f"/galleries/{own[0]}")


@router.get("/login", openapi_extra=access("open"))
def ask_for_key(request: Request) -> Response:
    """Ask for a key."""
    return show(request, "login", refused=None)


@router.post("/login", openapi_extra=access("open"))
async def log_in(request: Request, key: Annotated[str, Form(max_length=512)] = "") -> Response:
    """Begin a session with a key; wrong ones are slowed down by address, as they are in the API."""
    require_same_site(request)
    service = service_of(request)
    address = address_of(request)
    try:
        service.slow_down.check(address)
    except Problem as problem:
        request.state.problem = problem.code
        response = show(request, "login", status=problem.status, refused="wait")
        response.headers["Retry-After"] = str(problem.retry_after)
        return response
    caller = await run_in_threadpool(find_caller, service.database, key.strip())
    if caller is None or caller.key_id is None:
        service.slow_down.failed(address)
        await note_search(request, Entry("login", "bad_key", request_id_of(request), address=address))
        request.state.problem = "bad_key"
        return show(request, "login", status=401, refused="bad_key")
    service.slow_down.succeeded(address)
    await note_search(request, Entry("login", "done", request_id_of(request), key_id=caller.key_id, address=address))
    response = go("/")
    response.set_cookie(
        COOKIE,
        service.sessions.begin(caller.key_id),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.post("/logout", openapi_extra=access("any"))
def log_out(request: Request) -> Response:
    """End the session."""
    if request.state.caller is not LOCAL:
        service_of(request).sessions.end(request.cookies.get(COOKIE, ""))
    response = go("/login")
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response
