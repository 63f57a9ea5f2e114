"""All routes of the page."""

from faceid.service.page import assets, calibration, change, enroll, health, identify, jobs, login, people, review

_PARTS = (assets, login, identify, people, change, enroll, calibration, jobs, review, health)
ROUTERS = tuple(part.router for part in _PARTS)
