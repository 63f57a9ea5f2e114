"""Who is let in: each route names the role that it takes, and nothing of a request is read before it is granted."""

from collections.abc import Callable, Coroutine
from typing import Any, Literal

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from faceid.service.keys import LOCAL, ROLES, Caller, Role, caller_of, find_caller, has_keys
from faceid.service.problems import Problem
from faceid.service.service import Service
from faceid.service.sessions import COOKIE, TOKEN_HEADER, is_token

Access = Role | Literal["open", "any"]
"""A role; `open`: everybody; `any`: every valid key."""

_ACCESSES = (*ROLES, "open", "any")
_CHANGES_NOTHING = ("GET", "HEAD", "OPTIONS")
_LOOPBACK = ("127.0.0.1", "::1")
_SAME_SITE = ("same-origin", "none")


def access(role: Access) -> dict[str, Any]:
    """Return what a route says of itself in the OpenAPI document: `openapi_extra=access("identify")`."""
    return {"x-role": role}


class GuardedRoute(APIRoute):
    """A route that only callers with its role reach; TypeError for one that names none.

    The gallery is that of the path, else of the query, else the only one that there is.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **settings: Any) -> None:
        role = (settings.get("openapi_extra") or {}).get("x-role")
        if role not in _ACCESSES:
            raise TypeError(f"the route {path} names no role: give it openapi_extra=access(...)")
        self.access: Access = role
        super().__init__(path, endpoint, **settings)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler behind the gate."""
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            request.state.route = self.path
            service: Service = request.app.state.service
            if not service.ready and self.access != "open":
                raise Problem("not_ready", "try again in a moment")
            request.state.caller = LOCAL if self.access == "open" else _admit(service, request, self.access)
            return await handle(request)

        return guarded


def address_of(request: Request) -> str:
    """Return the address that a request came from."""
    return request.client.host if request.client else ""


def _admit(service: Service, request: Request, role: Role | Literal["any"]) -> Caller:
    caller = _caller(service, request)
    service.rate_limit.take(caller.key_id)
    if role == "any":
        return caller
    gallery = _gallery_of(service, request)
    if not caller.may(role, gallery):
        raise Problem("forbidden", f"this takes the role {role} for the gallery {gallery[:64]!r}")
    return caller


def _caller(service: Service, request: Request) -> Caller:
    request.state.session = None
    if not has_keys(service.database):
        _require_this_machine(request)
        return LOCAL
    given = request.headers.getlist("authorization")
    if not given and COOKIE in request.cookies:
        return _caller_of_session(service, request)
    if not given:
        raise Problem("no_key", "send the header `Authorization: Bearer KEY`; `faceid serve keys make` makes one")
    scheme, _, text = given[0].partition(" ")
    caller = find_caller(service.database, text.strip()) if len(given) == 1 and scheme.lower() == "bearer" else None
    address = address_of(request)
    if caller is None:
        service.slow_down.check(address)
        service.slow_down.failed(address)
        raise Problem("bad_key", "this key is unknown, revoked or expired")
    return caller


def _caller_of_session(service: Service, request: Request) -> Caller:
    """Return who logged in. A change needs the session's token: in the header, or in the form of a page's route."""
    session = service.sessions.find(request.cookies[COOKIE])
    caller = None if session is None else caller_of(service.database, session.key_id)
    if session is None or caller is None:
        raise Problem("no_key", "the session has ended; log in again")
    require_same_site(request)
    changes = request.method not in _CHANGES_NOTHING and request.url.path.startswith("/v1/")
    if changes and not is_token(session, request.headers.get(TOKEN_HEADER)):
        raise Problem("cross_site", f"a change in a session needs its token in the header {TOKEN_HEADER}")
    request.state.session = session
    return caller


def _require_this_machine(request: Request) -> None:
    """Without keys, only who sits here may ask, and no page of another site that their browser shows."""
    if address_of(request) not in _LOOPBACK:
        raise Problem("no_key", "without a key only this machine may ask; `faceid serve keys make` makes one")
    if request.url.hostname not in ("localhost", *_LOOPBACK):
        raise Problem("bad_host", "without a key this server is called localhost or 127.0.0.1")
    require_same_site(request)


def require_same_site(request: Request) -> None:
    """Raise `cross_site` for a change that a page of another site asks for."""
    if request.method in _CHANGES_NOTHING:
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    own = f"{request.url.scheme}://{request.headers.get('host')}"
    if (site is not None and site not in _SAME_SITE) or (origin is not None and origin != own):
        raise Problem("cross_site", "pages of other sites may not ask for changes")


def _gallery_of(service: Service, request: Request) -> str:
    named = request.path_params.get("gallery") or request.query_params.get("gallery")
    if not named:  # a variable that is not set does not mean the first of several
        names = service.galleries.names
        if len(names) > 1:
            raise Problem("invalid_request", f"name a gallery, as in ?gallery={names[0]}")
        return names[0]
    return str(named)
