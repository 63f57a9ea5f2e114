"""Routes whose answers people read: what goes wrong is a page, too, and every form bears its session's token."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from faceid.service.gate import GuardedRoute
from faceid.service.logs import log
from faceid.service.page.rendering import go, show
from faceid.service.problems import Problem, of_error, of_http
from faceid.service.sessions import is_token
from indexer.errors import FaceIdError

_BY_HTMX = "hx-request"


class PageRoute(GuardedRoute):
    """A guarded route whose problems are shown as pages; who is not logged in is asked to."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler behind the gate, with pages for problems."""
        handle = super().get_route_handler()

        async def shown(request: Request) -> Response:
            try:
                return await handle(request)
            except Problem as problem:
                return _problem_page(request, problem)
            except (FaceIdError, OSError) as error:
                told = of_error(error)
                if told.code == "internal":
                    log.error("engine error", extra={"request_id": request.state.request_id}, exc_info=error)
                return _problem_page(request, told)
            except RequestValidationError as error:
                wrong = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
                return _problem_page(request, Problem("invalid_request", wrong))
            except HTTPException as error:  # a form that cannot be read
                return _problem_page(request, of_http(error))

        return shown


async def check_token(request: Request) -> None:
    """Refuse a form that is not of this session's own pages; raises Problem `cross_site`."""
    session = getattr(request.state, "session", None)
    if request.method in ("GET", "HEAD") or session is None:
        return
    form = await request.form()
    token = form.get("token")
    if not is_token(session, token if isinstance(token, str) else None):
        raise Problem("cross_site", "the form is not of this session; load the page again")


def page_router() -> APIRouter:
    """Return a router for pages."""
    return APIRouter(route_class=PageRoute, dependencies=[Depends(check_token)], include_in_schema=False)


def _problem_page(request: Request, problem: Problem) -> Response:
    request.state.problem = problem.code
    if problem.status == 401:
        if request.headers.get(_BY_HTMX):
            return Response(status_code=204, headers={"HX-Redirect": "/login"})
        return go("/login")
    response = show(request, "problem", status=problem.status, problem=problem)
    if problem.retry_after:
        response.headers["Retry-After"] = str(problem.retry_after)
    return response
