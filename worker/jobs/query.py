"""Which jobs are looked for, as filters, and the properties under which the index in Redis has them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations
from typing import Any

from worker.catalog.operations import Role
from worker.jobs.record import Job, State

#: Sequence numbers are exact in Redis up to here.
MAX_SEQ = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs; empty (or 0) means any. Times are Unix milliseconds, and excluded themselves."""

    states: tuple[State, ...] = ()
    operation: str = ""
    subsystem: str = ""
    #: The volume as it was named by the client.
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
            self.operation in ("", job.operation.name)
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
    """Whose jobs: the requester's own (by their id), and those whose roles are among ``roles``; or everybody's."""

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
    """Return text that a client chose as a part of keys: of one length, and harmless."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def index_query(
    wanted: JobFilter, scope: JobScope, *, seqs: tuple[int, int], limit: int, effort: int
) -> Mapping[str, Any]:
    """Return what `list_jobs` is asked; ``seqs``: above and below which sequence numbers to look."""
    floor, below = seqs
    return {
        "floor": floor,
        "below": below,
        "limit": limit,
        "effort": effort,
        "groups": _groups(wanted, scope),
        "volume": wanted.volume,
        "created_after": wanted.created_after_ms,
        "created_before": wanted.created_before_ms,
        "finished_after": wanted.finished_after_ms,
        "finished_before": wanted.finished_before_ms,
    }


def _groups(wanted: JobFilter, scope: JobScope) -> list[list[str]]:
    """Lists of properties, of each of which a job must have one."""
    groups = _state_groups(wanted)
    if wanted.batch:
        groups.append([f"batch:{wanted.batch}"])
    if wanted.requested_by:
        name_key = key_of(wanted.requested_by)
        groups.append([f"requester:{name_key}", f"named:{name_key}"])
    if not scope.everybody:
        groups.append(_scope_properties(scope.roles, scope.requester))
    return groups or [_scope_properties(frozenset(Role))]


def _state_groups(wanted: JobFilter) -> list[list[str]]:
    """Operations and subsystems are entered together with the state that a job is in."""
    named = {"operation": wanted.operation, "subsystem": wanted.subsystem}
    before = [f"{name}:{value} " for name, value in named.items() if value]
    if not before and not wanted.states:
        return []
    states = wanted.states or tuple(State)
    return [[f"{each}state:{state}" for state in states] for each in before or [""]]


def _scope_properties(roles: frozenset[Role], requester: str = "") -> list[str]:
    subsets = chain.from_iterable(combinations(sorted(roles), count) for count in range(1, len(roles) + 1))
    own = [f"requester:{key_of(requester)}"] if requester else []
    return own + [f"roles:{roles_property(names)}" for names in subsets]


def _within(moment_ms: int | None, after_ms: int, before_ms: int) -> bool:
    if not after_ms and not before_ms:
        return True
    return moment_ms is not None and moment_ms > after_ms and (not before_ms or moment_ms < before_ms)
