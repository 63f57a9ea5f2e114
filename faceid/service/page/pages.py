"""All routes of the page."""

from faceid.service.page import assets, calibration, change, enroll, health, identify, jobs, login, people

ROUTERS = tuple(part.router for part in (assets, login, identify, people, change, enroll, calibration, jobs, health))
