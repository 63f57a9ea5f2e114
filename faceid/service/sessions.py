"""People who logged in to the page with a key: a cookie that scripts cannot read, and a token that forms must bear.

Sessions live in memory: after a restart one logs in again. Each request looks whether the key is still good.
"""

import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

COOKIE = "faceid_session"
TOKEN_HEADER = "x-csrf-token"
_IDLE_SECONDS = 3600.0
_LONGEST_SECONDS = 12 * 3600.0
_MOST = 10_000


@dataclass
class Session:
    """One login: the key it was made with, and the token that shows that a form is of our own page."""

    key_id: int
    token: str
    began: float
    used: float


class Sessions:
    """All sessions of a server."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: OrderedDict[str, Session] = OrderedDict()
        self._alone = threading.Lock()

    def begin(self, key_id: int) -> str:
        """Begin a session; what is returned goes into the cookie."""
        cookie = secrets.token_urlsafe(32)
        present = self._clock()
        with self._alone:
            self._open[cookie] = Session(key_id, secrets.token_urlsafe(32), present, present)
            while len(self._open) > _MOST:
                self._open.popitem(last=False)
        return cookie

    def find(self, cookie: str) -> Session | None:
        """Return the session of a cookie; None for one that ended, was idle for an hour, or never was."""
        present = self._clock()
        with self._alone:
            session = self._open.get(cookie)
            if session is None:
                return None
            if present - session.used > _IDLE_SECONDS or present - session.began > _LONGEST_SECONDS:
                del self._open[cookie]
                return None
            session.used = present
            return session

    def end(self, cookie: str) -> None:
        """End a session."""
        with self._alone:
            self._open.pop(cookie, None)


def is_token(session: Session, given: str | None) -> bool:
    """Say whether this is the session's token."""
    return given is not None and given.isascii() and hmac.compare_digest(session.token, given)
