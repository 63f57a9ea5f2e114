"""Whatever the OpenAPI document allows, and what it does not: never a defect, and every answer as promised."""

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.faceid.service.conftest import Live

pytestmark = pytest.mark.slow
SECONDS = 120  # on a machine that does other work
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_answer_is_one_that_was_promised(live: Live, mode: GenerationMode) -> None:
    port, _ = live(requests_a_minute=0, embeddings=True)
    address = f"http://localhost:{port}"
    said = httpx.get(f"{address}/v1/openapi.json", timeout=SECONDS).json()
    document: Any = schemathesis.openapi.from_dict(said)
    tried = 0
    for found in document.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
        def answers(case: Any) -> None:
            case.call_and_validate(base_url=address, timeout=SECONDS, checks=CHECKS)

        try:
            answers()
        except Unsatisfiable:
            continue  # nothing can be wrong about a request without parameters
        tried += 1
    assert tried > 20
