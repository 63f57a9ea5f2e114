"""All routes of the page."""

from faceid.service.page import (
    assets,
    calibration,
    cameras,
    change,
    enroll,
    health,
    identify,
    jobs,
    login,
    people,
    review,
)

_PARTS = (assets, login, identify, people, change, enroll, calibration, cameras, jobs, review, health)
ROUTERS = tuple(part.router for part in _PARTS)
