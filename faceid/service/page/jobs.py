"""Pages of jobs: how far each is, and what became of each photo."""

from starlette.requests import Request
from starlette.responses import Response

from faceid.service.api import jobs as api
from faceid.service.api.jobs import JobPath
from faceid.service.api.parts import GalleryPath
from faceid.service.gate import access
from faceid.service.jobs import ENDED
from faceid.service.page.rendering import go, show
from faceid.service.page.routes import page_router

router = page_router()

_PLACE = "/galleries/{gallery}/jobs"


@router.get(_PLACE, openapi_extra=access("enrol"))
def jobs(request: Request, gallery: GalleryPath) -> Response:
    """List the jobs, newest first; while one runs the list renews itself."""
    found = api.list_jobs(request, gallery).jobs
    return show(request, "jobs", jobs=found, running=any(job.state not in ENDED for job in found))


@router.get(f"{_PLACE}/{{job}}", openapi_extra=access("enrol"))
def job(request: Request, gallery: GalleryPath, job: JobPath) -> Response:
    """Show one job with its photos."""
    found = api.show_job(request, gallery, job).job
    records = api.job_records(request, gallery, job).records
    return show(request, "job", job=found, records=records, running=found.state not in ENDED)


@router.post(f"{_PLACE}/{{job}}/cancel", openapi_extra=access("enrol"))
def cancel(request: Request, gallery: GalleryPath, job: JobPath) -> Response:
    """Let a job end."""
    api.cancel(request, gallery, job)
    return go(f"/galleries/{gallery}/jobs/{job}", "cancelled")
