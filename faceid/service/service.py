"""The parts of one running server, made at its start and let go of at its end."""

import threading

from faceid.service import audit
from faceid.service.audit import AuditLog, Entry
from faceid.service.database import ServiceDatabase
from faceid.service.engine_room import EngineRoom
from faceid.service.galleries import Galleries
from faceid.service.idempotency import KeptAnswers
from faceid.service.jobs import Jobs
from faceid.service.logs import log
from faceid.service.metrics import Metrics
from faceid.service.monitors import Monitors
from faceid.service.problems import Problem
from faceid.service.reviews import Reviews
from faceid.service.sessions import Sessions
from faceid.service.settings import Settings
from faceid.service.throttle import RateLimit, SlowDown
from indexer.errors import FaceIdError

_HOUR = 3600.0


class Service:
    """Everything that a request may need; `start` before the first one, `close` after the last."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = ServiceDatabase(settings.data)
        self.metrics = Metrics()
        self.rate_limit = RateLimit(settings.requests_a_minute)
        self.slow_down = SlowDown()
        self.sessions = Sessions()
        self.reviews = Reviews()
        self.answers = KeptAnswers(self.database)
        self.ready = False
        self.galleries: Galleries
        self.room: EngineRoom
        self.audit: AuditLog
        self.jobs: Jobs
        self.monitors: Monitors
        self._ending = threading.Event()

    def start(self) -> None:
        """Open the galleries, load the models, compile what first use would, take up jobs that were left."""
        self.audit = AuditLog(self.database)
        self.galleries = Galleries(self.settings)
        self.room = EngineRoom(self.settings.workers, self.settings.queue, self.settings.batch)
        self.metrics.waiting.set_function(lambda: self.room.waiting)
        self.galleries.warm_up()
        self.jobs = Jobs(self.database, self.galleries, self.audit, self.metrics, self.settings)
        self.monitors = Monitors(self.settings, self.galleries, self.audit)
        threading.Thread(target=self._keep_house, name="faceid-housekeeping", daemon=True).start()
        self.ready = True
        log.info("ready")

    def close(self) -> None:
        """Finish what was accepted, put running jobs back, and close the files."""
        self.ready = False
        self._ending.set()
        self.monitors.close()
        self.jobs.close()
        self.room.close()
        self.galleries.close()
        self.audit.close()
        self.database.close()
        log.info("stopped")

    def note(self, entry: Entry) -> None:
        """Write an entry of the audit log now; raises Problem `audit_unavailable` where that cannot be done."""
        try:
            self.audit.write(entry).result()
        except Exception as error:
            log.error("the audit log cannot be written", exc_info=error)
            raise Problem("audit_unavailable", "the change was not made, because it could not be noted") from error

    def _keep_house(self) -> None:
        while True:
            try:
                self.answers.drop_old()
                if self.settings.audit_days is not None:
                    audit.drop_older(self.database, self.settings.audit_days)
                self.database.scrub()
            except FaceIdError as error:
                log.error("what is too old stays: %s", error)
            if self._ending.wait(_HOUR):
                return
