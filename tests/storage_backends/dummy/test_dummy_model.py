"""DummyStorage compared with a small model: any order of changes to snapshots and policies."""

from __future__ import annotations

from dataclasses import dataclass, field
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from storage_backends.client_matches import canonical_match, canonical_matches
from storage_backends.configuration.options import DummyOptions
from storage_backends.dummy import DummyStorage
from storage_backends.errors import (
    AlreadyExists,
    InvalidRequest,
    NoSuchPolicy,
    NoSuchSnapshot,
    NoSuchVolume,
    PolicyInUse,
    StorageError,
    TooManySnapshots,
)
from storage_backends.journal import InMemoryJournal

LIMIT = 3
VOLUMES = st.sampled_from(["a", "b", "*"])
SNAPSHOTS = st.sampled_from(["s1", "s2", "s3", "s4", "*"])
POLICIES = st.sampled_from(["default", "p", "q|p", "*"])
RULES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3)


@dataclass
class ModelVolume:
    policy: str = "default"
    #: Name of each snapshot and the policy that it holds, oldest first.
    snapshots: dict[str, str] = field(default_factory=dict)


class Filer(RuleBasedStateMachine):
    """Volumes, snapshots and policies in dictionaries, changed beside the dummy."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        options = DummyOptions(volumes=0, snapshot_limit=LIMIT, state_dir=self.folder.name)
        self.backend = DummyStorage(options, name="model")
        self.volumes: dict[str, ModelVolume] = {}
        self.taken: set[str] = set()
        self.policies: dict[str, list[str]] = {"default": []}

    def teardown(self) -> None:
        self.backend.close()
        self.folder.cleanup()

    def expect(self, error: type[StorageError] | None, operation: str, **arguments: object) -> bool:
        """Carry out an operation, which is refused so or, with None, done; tell which."""
        call = getattr(self.backend, operation)
        if error is None:
            call(**arguments, journal=InMemoryJournal())
            return True
        with pytest.raises(error):
            call(**arguments, journal=InMemoryJournal())
        return False

    @rule(volume=VOLUMES, policy=POLICIES)
    def create_volume(self, volume: str, policy: str) -> None:
        error = AlreadyExists if volume in self.taken else None if policy in self.policies else InvalidRequest
        if self.expect(error, "create_volume", volume=volume, active_policy_name=policy):
            self.volumes[volume] = ModelVolume(policy)
            self.taken.add(volume)

    @rule(volume=VOLUMES)
    def restrict_volume(self, volume: str) -> None:
        if self.expect(None if volume in self.volumes else NoSuchVolume, "restrict_volume", volume=volume):
            del self.volumes[volume]

    @rule(volume=VOLUMES, policy=POLICIES)
    def update_volume(self, volume: str, policy: str) -> None:
        error = NoSuchVolume if volume not in self.volumes else None if policy in self.policies else InvalidRequest
        if self.expect(error, "update_volume", volume=volume, active_policy_name=policy):
            self.volumes[volume].policy = policy

    @rule(volume=VOLUMES, name=SNAPSHOTS, purge=st.booleans())
    def create_snapshot(self, volume: str, name: str, purge: bool) -> None:
        snapshots = self.volumes[volume].snapshots if volume in self.volumes else None
        error: type[StorageError] | None = None
        if snapshots is None:
            error = NoSuchVolume
        elif name in snapshots:
            error = AlreadyExists
        elif len(snapshots) >= LIMIT and not purge:
            error = TooManySnapshots
        if self.expect(error, "create_snapshot", volume=volume, name=name, purge_old_if_needed=purge):
            assert snapshots is not None
            if len(snapshots) >= LIMIT:
                del snapshots[next(iter(snapshots))]
            snapshots[name] = self.volumes[volume].policy

    @rule(volume=VOLUMES, name=SNAPSHOTS)
    def delete_snapshot(self, volume: str, name: str) -> None:
        if self.expect(self.missing(volume, name), "delete_snapshot", volume=volume, name=name):
            del self.volumes[volume].snapshots[name]

    @rule(volume=VOLUMES, name=SNAPSHOTS)
    def roll_back_volume(self, volume: str, name: str) -> None:
        if self.expect(self.missing(volume, name), "roll_back_volume", volume=volume, from_snapshot=name):
            present = self.volumes[volume]
            names = list(present.snapshots)
            for later in names[names.index(name) + 1 :]:
                del present.snapshots[later]
            if present.snapshots[name] in self.policies:
                present.policy = present.snapshots[name]

    @rule(policy=POLICIES, rules=st.lists(RULES, max_size=4))
    def create_policy(self, policy: str, rules: list[str]) -> None:
        error = AlreadyExists if policy in self.policies else None
        if self.expect(error, "create_policy", policy=policy, rules=rules):
            self.policies[policy] = canonical_matches(rules)

    @rule(policy=POLICIES)
    def delete_policy(self, policy: str) -> None:
        used = policy == "default" or policy in {volume.policy for volume in self.volumes.values()}
        error = NoSuchPolicy if policy not in self.policies else PolicyInUse if used else None
        if self.expect(error, "delete_policy", policy=policy):
            del self.policies[policy]

    @rule(policy=POLICIES, text=RULES, present=st.booleans())
    def ensure_rule(self, policy: str, text: str, present: bool) -> None:
        operation = f"ensure_policy_rule_{'present' if present else 'absent'}"
        if self.expect(None if policy in self.policies else NoSuchPolicy, operation, policy=policy, rule=text):
            rules, text = self.policies[policy], canonical_match(text)
            if present != (text in rules):
                rules.append(text) if present else rules.remove(text)

    def missing(self, volume: str, name: str) -> type[StorageError] | None:
        if volume not in self.volumes:
            return NoSuchVolume
        return None if name in self.volumes[volume].snapshots else NoSuchSnapshot

    @invariant()
    def both_hold_the_same(self) -> None:
        volumes = {volume.name: volume for volume in self.backend.list_volumes(journal=InMemoryJournal())}
        assert {name: volume.active_policy_name for name, volume in volumes.items()} == {
            name: volume.policy for name, volume in self.volumes.items()
        }
        for name, volume in self.volumes.items():
            snapshots = self.backend.list_snapshots(name, journal=InMemoryJournal())
            assert [snapshot.name for snapshot in snapshots] == list(volume.snapshots)
            times = [snapshot.creation_time or "" for snapshot in snapshots]
            assert times == sorted(set(times))
        policies = self.backend.list_policies(journal=InMemoryJournal())
        assert {policy.name: list(policy.rules) for policy in policies} == self.policies


TestFiler = Filer.TestCase
TestFiler.settings = settings(stateful_step_count=30)
