"""What every request passes first: its number, its bounds (bytes, seconds), its line in the log and in the metrics."""

import asyncio
import re
import threading
import time
import uuid
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from faceid.service.logs import log
from faceid.service.problems import Problem, problem_response
from faceid.service.service import Service

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_ARCHIVES = re.compile(r"/v1/galleries/[^/]+/jobs/(enroll|calibrate)|/galleries/[^/]+/(enroll/folder|calibration)")
_ARCHIVE_SECONDS = 20  # times as long as other requests
_LOGIN = "/login"  # the one form that is read of whoever sends it
_PHOTOS = b"multipart/form-data"
_WORDS_BYTES = 2**16  # of a request without photos: a million unknown fields of JSON would take gigabytes to refuse

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class _Refused(Exception):
    """The rest of the request is not read."""


@dataclass
class _Visit:
    """One request on its way."""

    request_id: str
    most_bytes: int
    deadline: float
    began: float = field(default_factory=time.perf_counter)
    taken: int = 0
    held: int = 0  # of `taken`: what counts among all uploads until it is read to its end
    read: bool = False
    status: int = 0
    problem: Problem | None = None


class Door:
    """ASGI middleware around the app: FastAPI reads a form before any of its own code runs, so bounds come first."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        self._uploading = 0
        self._counting = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102 - ASGI
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = self._visit(scope)
        scope.setdefault("state", {})
        scope["state"] |= {"request_id": visit.request_id, "deadline": visit.deadline}
        answer = self._sender(scope, visit, send)
        try:
            visit.problem = self._announced(scope, visit)
            if visit.problem is not None:
                await self._refuse(scope, receive, send, visit)
            else:
                # What HEAD asks for is what GET tells; the server beneath leaves the body away.
                inside = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
                await self._app(inside, self._reader(visit, receive), answer)
        except _Refused:
            if not visit.status:
                await self._refuse(scope, receive, send, visit)
        except Exception as error:
            log.error("defect", extra={"request_id": visit.request_id}, exc_info=error)
            if not visit.status:
                visit.problem = Problem("internal", "see the server's log for this request id")
                await self._refuse(scope, receive, send, visit)
        finally:
            self._give_back(visit)
            self._note(scope, visit)

    def _visit(self, scope: Scope) -> _Visit:
        settings = self._service.settings
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        number = given.decode() if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        archive = _ARCHIVES.fullmatch(scope["path"]) is not None
        most = settings.archive_bytes if archive else settings.request_bytes
        kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
        if scope["path"] == _LOGIN or not kind.lower().startswith(_PHOTOS):
            most = min(most, _WORDS_BYTES)
        seconds = settings.seconds * (_ARCHIVE_SECONDS if archive else 1)
        return _Visit(number, most, asyncio.get_running_loop().time() + seconds)

    def _announced(self, scope: Scope, visit: _Visit) -> Problem | None:
        """Refuse by its header what would be too large, before a byte is read."""
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if length.isdigit() and int(length) > visit.most_bytes:
            return Problem("too_large", f"{int(length):,} bytes; at most {visit.most_bytes:,} are taken")
        return None

    def _reader(self, visit: _Visit, receive: Receive) -> Receive:
        async def read() -> Message:
            if visit.read:  # only whether the client is still there, and that may take as long as it likes
                return await receive()
            left = visit.deadline - asyncio.get_running_loop().time()
            try:
                message = await asyncio.wait_for(receive(), max(left, 0.001))
            except TimeoutError:
                visit.problem = Problem("too_slow", "the request did not arrive in time")
                raise _Refused from None
            if message["type"] == "http.request":
                self._take(visit, len(message.get("body", b"")))
                visit.read = not message.get("more_body", False)
                if visit.read:
                    self._give_back(visit)
            return message

        return read

    def _take(self, visit: _Visit, count: int) -> None:
        visit.taken += count
        if visit.taken > visit.most_bytes:
            visit.problem = Problem("too_large", f"at most {visit.most_bytes:,} bytes are taken")
            raise _Refused
        bounded = visit.most_bytes <= self._service.settings.request_bytes  # archives go to the disk, not into memory
        with self._counting:
            if bounded and self._uploading + count > self._service.settings.uploads_bytes:
                visit.problem = Problem("busy", "too many uploads at a time")
                raise _Refused
            visit.held += count
            self._uploading += count
            self._service.metrics.uploading.set(self._uploading)

    def _give_back(self, visit: _Visit) -> None:
        with self._counting:
            self._uploading -= visit.held
            visit.held = 0
            self._service.metrics.uploading.set(self._uploading)

    def _sender(self, scope: Scope, visit: _Visit, send: Send) -> Send:
        refusing = False

        async def answer(message: Message) -> None:
            nonlocal refusing
            if refusing:
                return
            if message["type"] == "http.response.start":
                if visit.problem is not None:  # FastAPI made a plain 400 of it
                    refusing = True
                    await self._refuse(scope, _nothing, send, visit)
                    return
                visit.status = message["status"]
                message["headers"] = _with_headers(message["headers"], visit.request_id)
            await send(message)

        return answer

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, visit: _Visit) -> None:
        assert visit.problem is not None
        visit.status = visit.problem.status
        response = problem_response(visit.problem, visit.request_id)
        scope["state"]["problem"] = visit.problem.code

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _with_headers(message["headers"], visit.request_id)
            await send(message)

        await response(scope, receive, answer)

    def _note(self, scope: Scope, visit: _Visit) -> None:
        state = Request(scope).state
        route = getattr(state, "route", "none")
        caller = getattr(state, "caller", None)
        seconds = time.perf_counter() - visit.began
        # Anybody may make one up, and the metrics would keep each.
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._service.metrics.requests.labels(route, method, str(visit.status)).inc()
        self._service.metrics.seconds.labels(route).observe(seconds)
        log.info(
            "request",
            extra={
                "request_id": visit.request_id,
                "key": caller.key_id if caller else None,
                "method": method,
                "route": route,
                "status": visit.status,
                "ms": round(1000 * seconds, 1),
                "problem": getattr(state, "problem", None),
            },
        )


def _with_headers(headers: list[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    given = {name.lower() for name, _ in headers}
    added = [pair for pair in _HEADERS if pair[0] not in given]
    return [*headers, *added, (b"x-request-id", request_id.encode())]


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
