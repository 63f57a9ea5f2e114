"""The server's log: one JSON object a line on stderr, without names, scores, file names or addresses of photos."""

import json
import logging
import sys
from datetime import UTC, datetime

log = logging.getLogger("faceid.service")

# The only facts that a line may bear besides its time, level and text.
FACTS = (
    "request_id",
    "key",
    "route",
    "method",
    "status",
    "ms",
    "problem",
    "gallery",
    "job",
    "kind",
)


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback is one field of it."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {"at": at, "level": record.levelname.lower(), "text": record.getMessage()}
        line |= {name: getattr(record, name) for name in FACTS if getattr(record, name, None) is not None}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


def log_to_stderr() -> None:
    """Write this server's log, and that of uvicorn, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("faceid.service", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.INFO)
