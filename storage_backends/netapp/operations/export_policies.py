"""Export policies: each client of ONTAP's rules is a rule of ours, and a rule of several clients keeps the others."""

from __future__ import annotations

from storage_backends.errors import AlreadyExists, NoSuchPolicy, NotFound
from storage_backends.journal import Journal
from storage_backends.models import ExportPolicy
from storage_backends.netapp.ontap import mapping as records
from storage_backends.netapp.ontap.client import Filer
from storage_backends.netapp.ontap.lookups import all_records, in_vserver, pages
from storage_backends.netapp.ontap.queries import literal
from storage_backends.netapp.ontap.responses import Json
from storage_backends.netapp.operations.mutation import Change
from storage_backends.netapp.operations.volume_patch import invalid

_POLICIES = "/protocols/nfs/export-policies"


def _rule(match: str) -> Json:
    """NFS with the rights that the service has always given."""
    return {
        "clients": [{"match": match}],
        "protocols": ["nfs"],
        "ro_rule": ["sys"],
        "rw_rule": ["sys"],
        "superuser": ["sys"],
        "anonymous_user": "0",
    }


class Exports:
    """The export policies of the vserver."""

    def __init__(self, filer: Filer) -> None:
        self._filer = filer

    def list_all(self, journal: Journal) -> list[ExportPolicy]:
        """All, with their rules."""
        query = in_vserver(self._filer)
        listed: list[ExportPolicy] = []
        for page in pages(self._filer, _POLICIES, query, records.POLICY_FIELDS, journal=journal):
            listed += [self._shown(record, journal) for record in page]
            journal.progress(len(listed), None, "policies", "listing export policies")
        return listed

    def _shown(self, record: Json, journal: Journal) -> ExportPolicy:
        rules = record.get("rules") or []
        if record.get("are_rules_truncated"):
            rules = self._rules(record["id"], journal)
        return records.policy(record["name"], rules)

    def get(self, policy: str, journal: Journal) -> ExportPolicy:
        """One, with its rules."""
        return records.policy(policy, self._rules(self.id_of(policy, journal), journal))

    def id_of(self, policy: str, journal: Journal) -> int:
        """The number of the policy of exactly that name.

        Raises:
            NoSuchPolicy: there is none.
        """
        query = in_vserver(self._filer, name=literal(policy))
        for record in all_records(self._filer, _POLICIES, query, ("id", "name"), journal=journal):
            if record.get("name") == policy:
                return int(record["id"])
        raise NoSuchPolicy("There is no such export policy.")

    def _rules(self, policy_id: int, journal: Journal) -> list[Json]:
        try:
            return all_records(self._filer, f"{_POLICIES}/{policy_id}/rules", {}, records.RULE_FIELDS, journal=journal)
        except NotFound:
            raise NoSuchPolicy("There is no such export policy (any more).") from None

    def create(self, policy: str, rules: list[str], journal: Journal) -> ExportPolicy:
        """Create one with all its rules, or not at all."""
        try:
            self.id_of(policy, journal)
        except NoSuchPolicy:
            pass
        else:
            raise AlreadyExists("There is an export policy of that name already.")
        if not all(rules):
            raise invalid("/rules", "A rule is empty.")
        change = self._change(journal)
        body = {
            "name": policy,
            "svm": {"name": self._filer.vserver},
            "rules": [_rule(match) for match in dict.fromkeys(rules)],
        }
        change.send("create", "POST", _POLICIES, body=body)
        return self.reread(change, policy)

    def delete(self, policy: str, journal: Journal) -> None:
        """Delete one that no volume uses."""
        number = self.id_of(policy, journal)
        self._change(journal).send("delete", "DELETE", f"{_POLICIES}/{number}", policy_id=str(number))

    def add_rule(self, policy: str, rule: str, journal: Journal) -> ExportPolicy:
        """Append a rule unless some rule has that client already."""
        number = self.id_of(policy, journal)
        change = self._change(journal)
        if rule not in records.policy(policy, self._rules(number, journal)).rules:
            try:
                change.send("add-rule", "POST", f"{_POLICIES}/{number}/rules", body=_rule(rule), policy_id=str(number))
            except AlreadyExists:
                change.begun = True  # Somebody was faster.
        return self.reread(change, policy)

    def remove_rule(self, policy: str, rule: str, journal: Journal) -> ExportPolicy:
        """Remove a client from every rule that has it; the rule itself goes with its last client."""
        number = self.id_of(policy, journal)
        change = self._change(journal)
        for found in self._rules(number, journal):
            if rule in records.matches(found):
                self._without(change, number, found, rule)
        return self.reread(change, policy)

    def _without(self, change: Change, policy_id: int, found: Json, match: str) -> None:
        path = f"{_POLICIES}/{policy_id}/rules/{found['index']}"
        others = [{"match": other} for other in records.matches(found) if other != match]
        if others:
            change.send("shorten-rule", "PATCH", path, body={"clients": others}, policy_id=str(policy_id))
            return
        try:
            change.send("remove-rule", "DELETE", path, policy_id=str(policy_id))
        except NotFound:
            change.begun = True  # Somebody was faster; a policy that is gone is told by reading it.

    def reread(self, change: Change, policy: str) -> ExportPolicy:
        """The policy as it is after a change."""
        read: ExportPolicy = change.look(lambda: self.get(policy, change.journal))
        return read

    def _change(self, journal: Journal) -> Change:
        return Change(self._filer, journal, missing=NoSuchPolicy)
