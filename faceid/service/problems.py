"""What can go wrong with a request: one table of codes, and the answers in `application/problem+json` (RFC 9457)."""

import errno
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from faceid.service.database import ServiceDatabaseError
from faceid.service.logs import log
from indexer.errors import (
    CalibrationError,
    FaceIdError,
    FileNotWritten,
    GalleryBusy,
    GalleryError,
    GalleryLocked,
    GalleryUnreachable,
    InvalidName,
    ModelMismatch,
    StoreDamaged,
    VectorError,
)

MEDIA_TYPE = "application/problem+json"

# Every code that an answer may bear: its status and its title.
CODES: dict[str, tuple[int, str]] = {
    "bad_request": (400, "The request cannot be understood"),
    "bad_host": (400, "This server is not known by that name"),
    "no_key": (401, "A key is needed"),
    "bad_key": (401, "This key is not valid"),
    "forbidden": (403, "This key may not do that"),
    "cross_site": (403, "The request came from another site"),
    "no_such_page": (404, "There is nothing at this address"),
    "no_such_gallery": (404, "There is no such gallery"),
    "no_such_person": (404, "There is no such person"),
    "no_such_job": (404, "There is no such job"),
    "no_such_folder": (404, "The server's settings name no such folder"),
    "not_allowed": (405, "This address does not take that method"),
    "too_slow": (408, "The request took too long"),
    "gallery_locked": (409, "Another program is writing to the gallery"),
    "model_mismatch": (409, "Gallery and model do not match"),
    "conflict": (409, "The gallery does not allow this change"),
    "request_in_progress": (409, "A request with this idempotency key is being worked on"),
    "job_ended": (409, "The job has ended"),
    "too_large": (413, "More than is taken"),
    "not_multipart": (415, "Photos come as multipart/form-data"),
    "invalid_request": (422, "A field is missing or out of its range"),
    "invalid_name": (422, "Not a usable name"),
    "invalid_cursor": (422, "Not a cursor of this list"),
    "no_face": (422, "No photo has a usable face"),
    "calibration_missing": (422, "No threshold can be given"),
    "bad_archive": (422, "The zip file cannot be used"),
    "idempotency_key_reused": (422, "The idempotency key was used for another request"),
    "embeddings_off": (403, "This server gives no vectors away"),
    "too_many_requests": (429, "Too many requests"),
    "internal": (500, "A defect of the server"),
    "busy": (503, "Too many requests are waiting"),
    "not_ready": (503, "The server is starting or stopping"),
    "store_damaged": (503, "The gallery's database, or the server's, is damaged"),
    "disk_full": (503, "The disk takes no more"),
    "audit_unavailable": (503, "The audit log cannot be written"),
}

_OF_STATUS = {400: "bad_request", 404: "no_such_page", 405: "not_allowed", 413: "too_large", 415: "not_multipart"}

# The first that fits counts; the subclasses stand before their roots.
_OF_ERROR: tuple[tuple[type[FaceIdError], str], ...] = (
    (GalleryLocked, "gallery_locked"),
    (GalleryBusy, "busy"),
    (GalleryUnreachable, "busy"),  # its detail says what is away
    (ModelMismatch, "model_mismatch"),
    (StoreDamaged, "store_damaged"),
    (ServiceDatabaseError, "store_damaged"),
    (InvalidName, "invalid_name"),
    (CalibrationError, "calibration_missing"),
    (FileNotWritten, "disk_full"),
    (VectorError, "internal"),
    (GalleryError, "conflict"),
)
_OF_FULL_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_RETRY_SECONDS = {"gallery_locked": 1, "busy": 1, "not_ready": 2, "request_in_progress": 1, "too_many_requests": 1}


@dataclass
class Problem(Exception):
    """A request that is refused: a code of the table, words for this case, and what a program may read beside them."""

    code: str
    detail: str
    more: dict[str, Any] = field(default_factory=dict)
    retry_after: int | None = None

    @property
    def status(self) -> int:
        """The HTTP status."""
        return CODES[self.code][0]


def body_of(problem: Problem, request_id: str) -> dict[str, Any]:
    """Return what a client reads of a problem (RFC 9457)."""
    status, title = CODES[problem.code]
    return {
        "type": f"urn:faceid:problem:{problem.code}",
        "title": title,
        "status": status,
        "code": problem.code,
        "detail": problem.detail,
        "request_id": request_id,
        **problem.more,
    }


def problem_response(problem: Problem, request_id: str) -> Response:
    """Return the answer that tells the client of a problem."""
    retry = problem.retry_after or _RETRY_SECONDS.get(problem.code)
    headers = {"Retry-After": str(retry)} if retry else {}
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body_of(problem, request_id), problem.status, headers, MEDIA_TYPE)


def of_error(error: FaceIdError | OSError) -> Problem:
    """Return the problem of an error of the engine, whose text is meant for people, or of the disk."""
    if isinstance(error, OSError) and error.errno in _OF_FULL_DISKS:
        return Problem("disk_full", error.strerror or str(error))
    code = next((code for kind, code in _OF_ERROR if isinstance(error, kind)), "internal")
    if code == "internal":
        return Problem(code, "see the server's log for this request id")
    return Problem(code, str(error))


def of_http(error: HTTPException) -> Problem:
    """Return the problem of a refusal of FastAPI's, which takes whatever hinders it to read a form for the client's."""
    if isinstance(error.__cause__, OSError):
        return of_error(error.__cause__)
    code = _OF_STATUS.get(error.status_code, "bad_request" if error.status_code < 500 else "internal")
    return Problem(code, str(error.detail))


def answer_with_problems(app: FastAPI) -> None:
    """Let every error of the app end as a problem; FastAPI's and Starlette's own shapes are replaced."""
    # Starlette types a handler by the root of all errors; each of these gets its own kind.
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(FaceIdError, _engine_error)
    app.add_exception_handler(OSError, _engine_error)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _defect)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _answer(request, error)


async def _engine_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FaceIdError | OSError)
    problem = of_error(error)
    if problem.code == "internal":
        log.error("engine error", extra={"request_id": request.state.request_id}, exc_info=error)
    return _answer(request, problem)


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # What was sent stays out of the answer: it may be half a photo.
    wrong = [{"where": [str(part) for part in one["loc"]], "what": one["msg"]} for one in error.errors()]
    words = "; ".join(f"{' '.join(one['where'])}: {one['what']}" for one in wrong)
    return _answer(request, Problem("invalid_request", words, {"errors": wrong}))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = _answer(request, of_http(error))
    answer.headers.update(error.headers or {})
    return answer


async def _defect(request: Request, error: Exception) -> Response:
    log.error("defect", extra={"request_id": request.state.request_id}, exc_info=error)
    return _answer(request, Problem("internal", "see the server's log for this request id"))


def _answer(request: Request, problem: Problem) -> Response:
    request.state.problem = problem.code
    return problem_response(problem, request.state.request_id)
