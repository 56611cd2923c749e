"""Requests that are made from the document, some valid and some not, get the answers that it documents.

schemathesis makes them, and compares status, headers, media type and body of each answer.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import allow_header_conformance, ignored_auth, positive_data_acceptance

from tests.api.reads.service import Service

#: What is not compared. A path such as ``/v4/jobs/cancel`` is also that of a job, which ``Allow`` names the methods of.
#: Who may do what is tested with real roles. What a document cannot say (hosts of callbacks, page tokens) is refused.
_NOT_COMPARED = [allow_header_conformance, ignored_auth, positive_data_acceptance]
#: With the profile "ci" many, and each boundary of each parameter and field, which takes minutes.
_EXAMPLES = settings().max_examples // 6
_PHASES = [Phase.explicit, Phase.generate] if _EXAMPLES > 10 else [Phase.generate]
_HEADERS = {"Authorization": "Basic YWRtaW46c2VjcmV0", "Accept-Encoding": "identity"}


@pytest.fixture(scope="module")
def document(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseSchema]:
    """The document of a service whose jobs are carried out, so that answers are results, too."""
    service = Service(redis_url, tmp_path_factory.mktemp("service"), api={"read_wait": 2.0, "max_wait": 2})
    with service.running():
        schema = schemathesis.openapi.from_wsgi("/openapi.json", service.app)
        yield schema
    service.close()


#: Without the event stream, which does not end.
schema = schemathesis.pytest.from_fixture("document").exclude(path="/v4/events")


@schema.parametrize()
@settings(
    max_examples=_EXAMPLES,
    deadline=None,
    phases=_PHASES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
def test_responses_are_as_documented(case: schemathesis.Case):
    answer = case.call(headers=_HEADERS)
    assert answer.status_code >= 200
    case.validate_response(answer, excluded_checks=_NOT_COMPARED)
