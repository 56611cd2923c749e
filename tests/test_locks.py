"""Whatever a lock guards is used under that lock alone: a lock that is forgotten shows in no other test."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_KINDS = ("threading.Lock()", "threading.RLock()", "threading.Condition()")
_TOP = Path(__file__).parents[1]


@dataclass(frozen=True)
class Guard:
    """A lock of a class, and what it guards: fields, and methods that are called with the lock held."""

    file: str
    owner: str
    lock: str
    fields: frozenset[str]
    held: frozenset[str] = frozenset()
    #: Methods that look at a field once without the lock, since an old value does no harm there.
    lookers: frozenset[str] = frozenset()


def _guard(place: str, lock: str, fields: str, held: str = "", lookers: str = "") -> Guard:
    file, _, owner = place.partition("::")
    return Guard(file, owner, lock, *(frozenset(names.split()) for names in (fields, held, lookers)))


GUARDS = (
    _guard("api/limits/slots.py::Slots", "_lock", "_by_requester", "_is_full_for"),
    _guard("api/limits/bodies_in_flight.py::BodiesInFlight", "_lock", "_sent", "_is_full_for _fits"),
    _guard("api/auth/bearer.py::TokenCache", "_lock", "_answers"),
    _guard("api/auth/rate_limits.py::RateLimiter", "_lock", "_resets"),
    _guard("api/response_cache/middleware.py::ResponseCacheMiddleware", "_lock", "_responses", lookers="__call__"),
    _guard("api/http/admin_server.py::_Server", "_lock", "_began_s"),
    _guard("api/events/hub.py::EventHub", "_lock", "_readers _thread _recent _before", "_index_after _remember"),
    _guard("api/http/buffered_lines.py::BufferedLines", "_writing", "_file"),
    _guard("api/limits/concurrency_limiter.py::ConcurrencyLimiter", "_remembered_lock", "_remembered"),
    _guard("api/limits/fair_queue.py::FairQueue", "_lock", "_free _again _waiting", "_next"),
    _guard("api/v3/fields.py::Renderer", "_lock", "_rendered"),
    _guard("worker/jobs/repeated_requests.py::HeldRequests", "_lock", "_held _forgotten _thread", "_start"),
    _guard("worker/jobs/notifications.py::_Channel", "_lock", "_watches _thread", lookers="_listen_once"),
    _guard("worker/config/audit_log.py::AuditLog", "_lock", "_ends_at _written _left_out", "_next_window _fits _count"),
    _guard("worker/maintenance/loop.py::MaintenanceLoop", "_lock", "_reconciling"),
    _guard("worker/store/metrics.py::CounterBuffer", "_lock", "_counts _thread", lookers="start_flushing"),
    _guard("worker/store/metrics.py::CounterBuffer", "_flushing", "_add"),
    _guard("worker/messaging/publisher.py::TaskPublisher", "_starting", "_thread", lookers="_start close"),
    _guard("worker/store/write_probe.py::WriteProbe", "_lock", "_probed_at _state"),
    _guard("worker/backends/gateway.py::BackendGateway", "_lock", "_backend", lookers="close"),
    _guard("worker/listings/process_cache.py::ListingCache", "_lock", "_present _former", "_make_room", "get _updated"),
    _guard("worker/listings/process_cache.py::ListingCache", "_loading", "_updated _keep"),
    _guard("worker/execution/runner.py::Slots", "_lock", "_taken _turned_away", "_pop_turned_away"),
    _guard("worker/execution/lease.py::LeaseRenewer", "_lock", "_leases"),
    _guard("storage_backends/login_guard.py::LoginGuard", "_changed", "_logins", lookers="record_acceptance"),
    _guard("storage_backends/dummy/database.py::Database", "_listing", "_opened"),
    _guard("storage_backends/dummy/database.py::Database", "_preparing", "_prepared _prepare"),
)


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: f"{guard.owner}.{guard.lock}")
def test_guarded_attributes_are_used_with_their_lock(guard: Guard):
    methods = [node for node in _class_of(guard).body if isinstance(node, ast.FunctionDef)]
    assert guard.held | guard.lookers <= {method.name for method in methods}
    used = [use for method in methods for use in _uses(guard, method, method.name in guard.held)]
    assert {name for name, _, _ in used} == guard.fields | guard.held
    assert [(name, line) for name, line, is_held in used if not is_held] == []


def test_every_lock_guards_known_attributes():
    known = {(guard.file, guard.lock) for guard in GUARDS}
    # These are taken by `acquire` or through another object; what they do is tested by what waits for them.
    others = {
        ("storage_backends/dummy/database.py", "_writing"), ("api/auth/cached_document.py", "_lock"),
        ("storage_backends/netapp/ontap/client.py", "lock"),
        # It guards no field: large responses are sent one at a time.
        ("api/response_cache/middleware.py", "_large"),
    }  # fmt: skip
    assert set(_locks()) == known | others


def test_collections_shared_by_threads_have_a_lock():
    """cachetools' dictionaries are not safe by themselves."""
    decorators = [
        ast.unparse(decorator)
        for file in sorted((_TOP / "api").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
    ]
    remembered = [text for text in decorators if text.startswith("cached(")]
    assert len(remembered) >= 2
    assert [text for text in remembered if "lock=" not in text] == []


def _class_of(guard: Guard) -> ast.ClassDef:
    tree = ast.parse((_TOP / guard.file).read_text())
    (found,) = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == guard.owner)
    return found


def _uses(guard: Guard, node: ast.AST, is_held: bool) -> Iterator[tuple[str, int, bool]]:
    """Each use of what is guarded: its name, its line, and whether the lock is held there."""
    if isinstance(node, ast.FunctionDef) and node.name == "__init__":
        return
    if isinstance(node, ast.FunctionDef) and node.name in guard.lookers:
        # Only what it does with the lock is looked at.
        yield from (use for child in ast.iter_child_nodes(node) for use in _uses(guard, child, False) if use[2])
        return
    if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self" and node.attr in guard.fields | guard.held:
        yield node.attr, node.lineno, is_held
    takes = isinstance(node, ast.With) and any(f"self.{guard.lock}" in ast.unparse(item) for item in node.items)
    for child in ast.iter_child_nodes(node):
        yield from _uses(guard, child, is_held or takes)


def _locks() -> Iterator[tuple[str, str]]:
    """The file and the name of each lock that an object has."""
    for package in ("api", "worker", "storage_backends"):
        for file in sorted((_TOP / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Assign) and any(kind in ast.unparse(node.value) for kind in _KINDS):
                    (target,) = node.targets
                    assert isinstance(target, ast.Attribute)
                    yield str(file.relative_to(_TOP)), target.attr
