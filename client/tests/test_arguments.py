"""Every argument of a method of the package has an effect: on the request, or on the time limit."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

import pytest
from typing_extensions import get_overloads

from answering import NAME, parts
from flows import JOB, REFUSED, run
from storage_api_client.blocking.batch import Batch
from storage_api_client.blocking.job import Job
from storage_api_client.errors import Unavailable
from storage_api_client.models import JobRecord, Lock
from storage_api_client.operations import jobs, settings
from storage_api_client.operations.batches import BatchMembers

#: An argument, where its name will not do: something that no default is.
_OTHERS: dict[str, Any] = {
    "fresh": True, "limit": 7, "wait": False, "timeout": 9.0, "on_progress": lambda job: None, "all": True,
    "purge_old_if_needed": True, "where": "name=x*", "order": {"requests": []}, "rules": ["r"], "size_total": 7,
    "max_autosize": 7, "created_after": "2026-01-01", "created_before": "2026-01-01", "finished_after": "2026-01-01",
    "finished_before": "2026-01-01", "body": {"a": 1},
}  # fmt: skip
#: Without a setting there is nothing to change.
_ALSO: dict[str, dict[str, Any]] = {"volumes.update": {"size_total": 8}}
#: They send nothing.
_SILENT = {"from_environment", "close", "subsystem", "bound", "of"}
#: They read the configuration, or run for ever, and have no time limit.
_AT_ONCE = {"client.is_alive", "client.readiness", "client.metrics", "client.events"}


def methods() -> dict[str, Callable[..., Any]]:
    """Every method that sends something, by the name of its part and its own."""
    return {
        f"{part}.{name}": method
        for part, it in parts()[1].items()
        for name, method in inspect.getmembers(type(it), inspect.isfunction)
        if not name.startswith("_") and name not in _SILENT
    }


def needed_and_other(method: Callable[..., Any]) -> tuple[list[str], list[str]]:
    """The names of the arguments that a method needs, and of the others, those behind ``**`` among them."""
    parameters = list(inspect.signature(method).parameters.values())[1:]
    named = [each for each in parameters if each.kind is not inspect.Parameter.VAR_KEYWORD]
    needed = [each.name for each in named if each.default is inspect.Parameter.empty]
    text = " ".join(str(inspect.signature(each)) for each in (method, *get_overloads(method)))
    known = {**vars(settings), **vars(jobs)}
    behind = {name for kind in re.findall(r"Unpack\[(\w+)\]", text) for name in get_type_hints(known[kind])}
    return needed, [each.name for each in named if each.name not in needed] + sorted(behind)


def sent_by(label: str, chosen: dict[str, Any], timeout: float | None = None, token: str | None = None) -> list[Any]:
    """What a call with these arguments sends."""
    driver, by_name = parts(timeout, token)
    part, _, name = label.partition(".")
    arguments = {each: _OTHERS.get(each, each) for each in needed_and_other(methods()[label])[0]}
    arguments |= _ALSO.get(label, {}) | chosen
    returned = getattr(by_name[part], name)(**arguments)
    if isinstance(returned, Iterator):
        list(returned)
    if isinstance(returned, Batch):
        with returned:
            returned.lock("s", "v", "h")
    assert driver.sent
    return driver.sent


@pytest.mark.parametrize("label", methods())
def test_every_argument_has_an_effect(label: str) -> None:
    without = sent_by(label, {})
    # Missing settings are left out, and are not null.
    assert not [line for line in without if None in (line[3] or {}).values()]
    needed, others = needed_and_other(methods()[label])
    chosen = {name: _OTHERS.get(name, name) for name in others}
    chosen |= {name: f"{_OTHERS.get(name, name)}2" for name in needed if name not in ("order", "where", "rules")}
    assert [name for name, value in chosen.items() if sent_by(label, {name: value}) == without] == []
    if "wait" in chosen:
        at_once = sent_by(label, {"wait": False})
        chosen = {name: value for name, value in chosen.items() if name not in ("wait", "on_progress")}
        assert [name for name in chosen if sent_by(label, {"wait": False, name: chosen[name]}) == at_once] == []


@pytest.mark.parametrize("label", methods())
def test_names_are_escaped_in_paths(label: str) -> None:
    needed = [name for name in needed_and_other(methods()[label])[0] if name not in ("order", "where", "rules")]
    # Without an argument, names come from the service.
    for chosen in ({}, *({name: NAME} for name in needed)):
        paths = [path for _, path, *_ in sent_by(label, chosen)]
        assert [path for path in paths if not re.fullmatch(r"([\w/.-]|%[0-9A-F]{2})+", path, re.ASCII)] == []


@pytest.mark.parametrize("label", sorted(methods().keys() - _AT_ONCE))
def test_every_call_has_the_timeout_of_its_client(label: str) -> None:
    # Each of its requests, with a second for the answer's way.
    assert max(limit_s for *_, limit_s in sent_by(label, {}, timeout=9.0)) <= 10 < sent_by(label, {})[0][-1]


def test_events_wait_for_an_unavailable_service_for_the_timeout_of_the_client() -> None:
    driver, by_name = parts(timeout=0.0)
    driver.iterate = lambda flow: flow  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        run(by_name["client"].events(), REFUSED)


@pytest.mark.parametrize("label", methods())
def test_every_request_has_the_credentials(label: str) -> None:
    assert [line for line in sent_by(label, {}, token="t") if "Bearer t" not in line[4]] == []


@pytest.mark.parametrize("label", [label for label in methods() if "timeout" in needed_and_other(methods()[label])[1]])
def test_the_timeout_of_a_call_applies_to_each_request_and_is_optional(label: str) -> None:
    for timeout in (9.0, 0):
        assert max(limit_s for *_, limit_s in sent_by(label, {"timeout": timeout}, timeout=60.0)) <= timeout + 1


@pytest.mark.parametrize("label", ["volumes.create", "volumes.update", "volumes.clone"])
def test_settings_that_are_none_are_left_out(label: str) -> None:
    """As the command line has all that were not chosen."""
    base = {"size_total": 7}
    others = [name for name in needed_and_other(methods()[label])[1] if name not in {"wait", *base}]
    assert len(others) >= 7
    assert sent_by(label, base | dict.fromkeys(others)) == sent_by(label, base)


@pytest.mark.parametrize(
    ("label", "path"),
    [("is_alive", "/healthz"), ("readiness", "/readyz"), ("metrics", "/metrics"), ("subsystems", "/conf/subsystems")],
)
def test_each_method_about_the_service_requests_its_path(label: str, path: str) -> None:
    assert [line[:2] for line in sent_by(f"client.{label}", {})] == [("GET", path)]


def test_the_groups_of_each_role_are_requested() -> None:
    paths = [path for _, path, *_ in sent_by("client.all_roles", {})]
    assert paths == ["/conf/roles", "/conf/roles/a%20b%3F%23%25/egroups", "/conf/roles/r/egroups"]


@pytest.mark.parametrize("name", ["refresh", "ended", "cancel", "retry"])
def test_a_job_returns_the_same_type_of_result_after_each_method(name: str) -> None:
    job = Job.bound(JobRecord.of(JOB), parts()[1]["job"]._executor, Lock.of)
    assert isinstance(getattr(job, name)().wait(), Lock)


def _added_by(method: Callable[..., Any], chosen: dict[str, Any]) -> Any:
    batch = BatchMembers(None, "continue", None)
    method(batch, **{each: _OTHERS.get(each, each) for each in needed_and_other(method)[0]} | chosen)
    return batch.order


@pytest.mark.parametrize(
    "method",
    [member for name, member in inspect.getmembers(BatchMembers, inspect.isfunction) if not name.startswith("_")],
)
def test_every_argument_of_a_batch_member_has_an_effect(method: Callable[..., Any]) -> None:
    base = _ALSO["volumes.update"] if method is BatchMembers.update else {}
    without = _added_by(method, base)
    needed, others = needed_and_other(method)
    options = get_type_hints(settings.ChangeOptions).keys()
    chosen = {name: _OTHERS.get(name, name) for name in others if name not in options}
    chosen |= {name: f"{name}2" for name in needed}
    assert [name for name, value in chosen.items() if _added_by(method, base | {name: value}) == without] == []
