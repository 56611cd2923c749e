"""Filters for jobs, and how they are translated to properties of the index in Redis."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations
from typing import Any, Literal, NamedTuple

from worker.catalog.operations import BATCH, Role, operation_named
from worker.jobs.record import Job, State

#: Sequence numbers are exact in Redis up to here.
MAX_SEQ = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs; empty (or 0) means any. Times are Unix milliseconds, exclusive."""

    states: tuple[State, ...] = ()
    #: One of these; `batch` is one, too.
    operations: tuple[str, ...] = ()
    subsystem: str = ""
    #: The volume as the client named it.
    volume: str = ""
    #: The id of the batch that they belong to.
    batch: str = ""
    requested_by: str = ""
    created_after_ms: int = 0
    created_before_ms: int = 0
    finished_after_ms: int = 0
    finished_before_ms: int = 0
    ids: tuple[str, ...] = ()

    def matches(self, job: Job) -> bool:
        """Is this job one of them?"""
        return (
            (not self.operations or job.operation.name in self.operations)
            and self.subsystem in ("", job.subsystem)
            and self.volume in ("", job.volume)
            and self.batch in ("", job.batch)
            and self.requested_by in ("", job.requester)
            and (not self.states or job.state in self.states)
            and (not self.ids or job.id in self.ids)
            and _within(job.created_ms, self.created_after_ms, self.created_before_ms)
            and _within(job.finished_ms, self.finished_after_ms, self.finished_before_ms)
        )


@dataclass(frozen=True, slots=True)
class JobScope:
    """Which jobs may be seen: those of the requester (by their id), those whose roles are among ``roles``; or all."""

    requester: str = ""
    roles: frozenset[Role] = frozenset()
    everybody: bool = False

    def includes(self, job: Job) -> bool:
        """Is this job one of them?"""
        if self.everybody or (self.requester and job.is_of(key_of(self.requester))):
            return True
        return bool(self.roles) and job.roles <= self.roles


def roles_property(roles: Iterable[Role]) -> str:
    """Return the name of a set of roles, as the record and the index have it."""
    return "+".join(sorted(roles))


@lru_cache(10_000)
def key_of(text: str) -> str:
    """Return a digest of a text chosen by a client, for use in Redis keys."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def index_query(
    job_filter: JobFilter, scope: JobScope, *, seqs: tuple[int, int], limit: int, effort: int
) -> Mapping[str, Any]:
    """Return the query for the script `list_jobs`; ``seqs``: the sequence numbers above and below which to search."""
    floor, below = seqs
    return {
        "floor": floor,
        "below": below,
        "limit": limit,
        "effort": effort,
        "groups": _groups(job_filter, scope),
        "batch": job_filter.batch,
        "volume": job_filter.volume,
        "classes": _classes(job_filter.states),
        "created_after": job_filter.created_after_ms,
        "created_before": job_filter.created_before_ms,
        "finished_after": job_filter.finished_after_ms,
        "finished_before": job_filter.finished_before_ms,
    }


class _Part(NamedTuple):
    """One condition: names of properties, of which a job must have one."""

    kind: Literal["what", "who", "seen by"]
    names: list[str]


def _groups(job_filter: JobFilter, scope: JobScope) -> list[list[str]]:
    """Return lists of properties (see `lua/index_functions.lua`); a job must have one property of each list.

    Conditions for which the index has combined properties are combined: each alone may be frequent, both together rare.
    """
    parts = [*_named_parts(job_filter), *_scope_parts(job_filter, scope)]
    pairs = [(one, other) for one, other in combinations(parts, 2) if one.kind == "what" and other.kind != "seen by"]
    alone = [part for part in parts if job_filter.states or not any(part in pair for pair in pairs)]
    classes = _classes(job_filter.states)
    groups = [_together(*pair) for pair in pairs]
    groups += [[f"{name} {state_class}" for name in part.names for state_class in classes] for part in alone]
    if not groups or any(not state.done for state in job_filter.states):
        groups.append([f"state:{state}" for state in job_filter.states or State])
    return groups


def _named_parts(job_filter: JobFilter) -> Iterator[_Part]:
    if job_filter.operations:
        yield _Part("what", [f"operation:{name}" for name in job_filter.operations])
    if job_filter.subsystem:
        yield _Part("what", [f"subsystem:{job_filter.subsystem}"])
    if job_filter.requested_by:
        name_key = key_of(job_filter.requested_by)
        yield _Part("who", [f"requester:{name_key}", f"named:{name_key}"])


def _scope_parts(job_filter: JobFilter, scope: JobScope) -> Iterator[_Part]:
    """The condition for the scope; none for all jobs, or where the roles allow to see all jobs of the operations."""
    requester_properties = [f"requester:{key_of(scope.requester)}"] if scope.requester else []
    seen = [_is_seen_by(scope.roles, name) for name in job_filter.operations]
    if scope.everybody or (seen and all(answer is True for answer in seen)):
        return
    if scope.roles and (not seen or any(answer is not False for answer in seen)):
        yield _Part("seen by", requester_properties + _roles_properties(scope.roles))
    else:
        yield _Part("who", requester_properties)


def _is_seen_by(roles: frozenset[Role], name: str) -> bool | None:
    """Do these roles show every job of an operation? None: some of them, as of batches with members of other roles."""
    operation = operation_named(name)
    return None if operation in (None, BATCH) else operation.role in roles


def _together(one: _Part, other: _Part) -> list[str]:
    """The combined properties of two conditions."""
    first, second = (other, one) if other.kind == "who" else (one, other)
    return [f"{property_} {more}" for property_ in first.names for more in second.names]


def _classes(states: Sequence[State]) -> list[str]:
    """The classes of states in the index: all unfinished ones are one."""
    return list(dict.fromkeys(state.value if state.done else "open" for state in states or State))


def _roles_properties(roles: Iterable[Role]) -> list[str]:
    subsets = chain.from_iterable(combinations(sorted(roles), count) for count in range(1, len(set(roles)) + 1))
    return [f"roles:{roles_property(names)}" for names in subsets]


def _within(moment_ms: int | None, after_ms: int, before_ms: int) -> bool:
    if not after_ms and not before_ms:
        return True
    return moment_ms is not None and moment_ms > after_ms and (not before_ms or moment_ms < before_ms)
