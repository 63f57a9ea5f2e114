"""Pages as HTML: one layout, the reader's language, and what a browser may load: nothing from any other host."""

from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from faceid.service.api.parts import service_of
from faceid.service.keys import Caller, Role
from faceid.service.page import catalogue
from faceid.service.page.assets import address_of_asset
from faceid.service.page.catalogue import LANGUAGES, Words, words_for
from indexer.text import plain

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    # Without a referrer at all, a form of our own would come with the origin `null`.
    "Referrer-Policy": "same-origin",
}
_YEAR = 365 * 24 * 3600


def show(request: Request, template: str, *, status: int = 200, **facts: Any) -> Response:
    """Return a page: its template, with what every page knows (who asks, which gallery, which language)."""
    words = words_for(request)
    context = {**_of_every_page(request, words), **facts}
    response = HTMLResponse(_templates().get_template(f"{template}.html.jinja").render(context), status, HEADERS)
    if request.query_params.get("language") in LANGUAGES:
        response.set_cookie(catalogue.COOKIE, words.language, max_age=_YEAR, httponly=True, samesite="strict")
    return response


def go(address: str, done: str | None = None) -> Response:
    """Send the browser to another page, which tells what was `done`: a name among the texts `done.*`."""
    return RedirectResponse(f"{address}?done={done}" if done else address, 303, HEADERS)


def initials(name: str) -> str:
    """Return what stands for a person without a picture: the first letters of the first and the last word."""
    letters = [word[0] for word in name.split() if word[0].isalnum()]
    return "".join(letters[:1] + letters[1:][-1:]).upper() or "?"


def _of_every_page(request: Request, words: Words) -> dict[str, Any]:
    caller: Caller | None = getattr(request.state, "caller", None)
    session = getattr(request.state, "session", None)
    gallery = request.path_params.get("gallery")
    reached = hasattr(request.state, "session") and caller is not None  # a page that is open to all knows nobody
    served = service_of(request).galleries.names if reached else []
    own = [name for name in served if caller and caller.role_for(name)]

    def may(role: Role) -> bool:
        return caller is not None and gallery in own and caller.may(role, gallery)

    return {
        "t": words,
        "languages": LANGUAGES,
        "asset": address_of_asset,
        "here": request.url.path if request.method == "GET" else f"/galleries/{gallery}" if gallery in own else "/",
        "gallery": gallery if gallery in own else None,
        "galleries": own,
        "may": may,
        "who_asks": caller.label if session and caller else None,
        "token": session.token if session else "",
        "request_id": request.state.request_id,
        "done": words.known(f"done.{request.query_params.get('done')}", ""),
    }


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("faceid.service.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"plain": plain, "initials": initials, "file": _file, "day": _day, "minute": _minute}
    return environment


def _file(source: str) -> str:
    """Return what people know a photo by: its name, without the folders above."""
    return source.replace("\\", "/").rsplit("/", 1)[-1] or source


def _day(time: str) -> str:
    return datetime.fromisoformat(time).strftime("%Y-%m-%d")


def _minute(time: str) -> str:
    return datetime.fromisoformat(time).strftime("%Y-%m-%d %H:%M UTC")
