"""The examples of the OpenAPI document, sent as they are one after the other: each does what it is an example of."""

from __future__ import annotations

from typing import Any

import orjson
from flask.testing import FlaskClient

from tests.api.front_end import FrontEnd, Worker, accepted

#: In an order in which they succeed: the operation, and which of its named examples.
_ORDER = (
    ("create_volume", "create"), ("create_snapshot", "take"), ("create_volume", "clone"),
    ("create_volume", "roll back"), ("update_volume", "resize"), ("update_volume", "grow"),
    ("update_volume", "export"), ("update_volume", "comment"), ("create_lock", ""), ("remove_lock", ""),
    ("create_policy", ""), ("ensure_policy_rule_present", ""), ("ensure_policy_rule_absent", ""),
    ("delete_policy", ""), ("create_batch", "requests"), ("create_batch", "for_each"), ("delete_snapshot", ""),
    ("create_snapshot", "delete the oldest"), ("restrict_volume", ""), ("reinstate_volume", ""),
)  # fmt: skip
#: Bodies and paths of these name a job, or a choice of jobs, of the moment.
_OF_JOBS = {"cancel_job", "retry_job", "settle_job", "cancel_jobs", "retry_jobs"}
_CHANGING = ("post", "put", "patch", "delete")


def _operations(front_end: FrontEnd) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """By operation: its method, path and documentation."""
    document = front_end.stranger().get("/openapi.json").json
    assert document is not None
    return {
        item[method]["operationId"]: (method, path, {**item[method], "parameters": _parameters(item, method)})
        for path, item in document["paths"].items()
        for method in (*_CHANGING, "get")
        if method in item
    }


def _parameters(item: dict[str, Any], method: str) -> list[dict[str, Any]]:
    """Those of the operation and of its path; the operation's own count."""
    return list(
        {each["name"]: each for each in [*item.get("parameters", []), *item[method].get("parameters", [])]}.values()
    )


def _example(documented: dict[str, Any], name: str) -> Any:
    """The example of this name; the only one, or the first, where there is none of this name."""
    examples = documented.get("examples", {})
    return examples.get(name, next(iter(examples.values())))["value"] if examples else documented.get("example")


def test_every_example_succeeds(front_end: FrontEnd, client: FlaskClient, worker: Worker) -> None:
    operations = _operations(front_end)
    # The examples of batches need what is in the listing.
    worker.carry_out(accepted(client.get("/v4/filer/volumes", headers={"Prefer": "respond-async"})))
    for operation, name in _ORDER:
        method, path, documented = operations[operation]
        for parameter in documented.get("parameters", []):
            if parameter["in"] == "path":
                value = "filer" if parameter["name"] == "subsystem" else _example(parameter, name)
                path = path.replace(f"{{{parameter['name']}}}", value)
        content = documented.get("requestBody", {}).get("content", {}).get("application/json")
        # The page puts the first storage system in the place of this one.
        body = orjson.dumps(_example(content, name)).replace(b"dummy", b"filer") if content else None
        job = accepted(client.open(path, method=method, data=body, content_type="application/json" if body else None))
        _carry_out(client, worker, job)
        document = client.get(job).json
        assert document is not None
        assert document["state"] == "succeeded", (operation, name, document["error"])


def _carry_out(client: FlaskClient, worker: Worker, job: str) -> None:
    members = client.get(f"/v4/jobs?batch={job.rpartition('/')[2]}").json
    for path in [member["links"]["self"] for member in members or []] or [job]:
        worker.carry_out(path)


def test_each_change_and_each_of_its_examples_is_tried(front_end: FrontEnd) -> None:
    named = {
        (operation, name)
        for operation, (method, path, documented) in _operations(front_end).items()
        if method in _CHANGING and path.startswith("/v4/") and operation not in _OF_JOBS
        for name in documented.get("requestBody", {})
        .get("content", {})
        .get("application/json", {})
        .get("examples", [""])
    }
    assert named == set(_ORDER)


def test_the_documentation_page_fills_in_no_query_parameter(front_end: FrontEnd) -> None:
    """The documentation page would send the examples of all parameters at once, which few objects match."""
    filled_in = [
        (operation, parameter["name"])
        for operation, (_, path, documented) in _operations(front_end).items()
        if path.startswith("/v4/")
        for parameter in documented.get("parameters", [])
        if parameter["in"] in ("query", "header") and parameter.keys() & {"example", "examples"}
    ]
    assert filled_in == []
