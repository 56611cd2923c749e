"""Export policies: each client of ONTAP's rules is a rule of ours; other rules are never changed."""

from __future__ import annotations

from contextlib import suppress

from storage_backends.client_matches import canonical_match, canonical_matches
from storage_backends.errors import (
    AlreadyExists,
    NoSuchPolicy,
    NotFound,
    ResourceBusy,
    StorageError,
)
from storage_backends.journal import Journal
from storage_backends.models import DetailedExportPolicy, ExportPolicy
from storage_backends.netapp.ontap.client import OntapClient
from storage_backends.netapp.ontap.fields import Fields
from storage_backends.netapp.ontap.lookups import all_records, in_svm, require_svm, svm_pages
from storage_backends.netapp.ontap.mapping import has_name
from storage_backends.netapp.ontap.queries import quote_literal
from storage_backends.netapp.ontap.responses import Json
from storage_backends.netapp.operations.export_rules import (
    POLICY_FIELDS,
    RULE_FIELDS,
    OntapRule,
    deciding_rule,
    nfs_rule,
    our_rule,
    policy_of,
    rules_of,
)
from storage_backends.netapp.operations.mutation import Mutation
from storage_backends.netapp.operations.rule_removal import RuleRemoval
from storage_backends.netapp.operations.volume_patch import invalid

POLICIES = "/protocols/nfs/export-policies"


class ExportPolicies:
    """The export policies of the SVM."""

    def __init__(self, client: OntapClient) -> None:
        self._client = client

    def list_all(self, journal: Journal) -> list[ExportPolicy]:
        """Return all policies with their rules."""
        listed: list[ExportPolicy] = []
        for page in svm_pages(self._client, POLICIES, {}, POLICY_FIELDS, journal=journal):
            for record in filter(has_name, page):
                with suppress(NoSuchPolicy):  # It was deleted after the page was read.
                    listed.append(self._shown(record, journal))
            journal.progress(len(listed), None, "policies", "listing export policies")
        return listed

    def _shown(self, record: Json, journal: Journal) -> ExportPolicy:
        rules = record.get("rules")
        number = Fields(record).number("id")
        # If the filer shows only some of the rules, or malformed ones, they are read separately.
        is_whole = record.get("are_rules_truncated") is not True and isinstance(rules, list | None)
        if not is_whole and number is not None:
            return policy_of(record["name"], self.rules(number, record["name"], journal)).summary
        return policy_of(record["name"], rules_of(rules, record["name"])).summary

    def get(self, policy: str, journal: Journal) -> DetailedExportPolicy:
        """Return one policy with its rules."""
        return policy_of(policy, self.rules(self.id_of(policy, journal), policy, journal))

    def id_of(self, policy: str, journal: Journal) -> int:
        """Return the id of the policy with exactly that name.

        Raises:
            NoSuchPolicy: there is none.
        """
        query = in_svm(self._client, name=quote_literal(policy))
        for record in all_records(self._client, POLICIES, query, ("id", "name"), journal=journal):
            if record.get("name") == policy:
                number = Fields(record).number("id")
                if number is not None:
                    return number
                raise StorageError("The storage system does not tell the export policy's number.")
        require_svm(self._client, journal=journal)
        raise NoSuchPolicy("There is no such export policy.")

    def rules(self, policy_id: int, policy: str, journal: Journal) -> list[OntapRule]:
        """Return the rules of a policy, in the order in which they apply."""
        try:
            records = all_records(self._client, f"{POLICIES}/{policy_id}/rules", {}, RULE_FIELDS, journal=journal)
        except NotFound:
            require_svm(self._client, journal=journal)
            raise NoSuchPolicy("There is no such export policy (any more).") from None
        return rules_of(records, policy)

    def create(self, policy: str, rules: list[str], journal: Journal) -> ExportPolicy:
        """Create a policy with all its rules, or none."""
        try:
            self.id_of(policy, journal)
        except NoSuchPolicy:
            pass
        else:
            raise AlreadyExists("There is an export policy of that name already.")
        if not all(rules):
            raise invalid("/rules", "A rule is empty.")
        mutation = self._mutation(journal)
        body = {
            "name": policy,
            "svm": {"name": self._client.vserver},
            "rules": [our_rule(match) for match in canonical_matches(rules)],
        }
        mutation.send("create", "POST", POLICIES, body=body)
        return self.reread(mutation, policy)

    def delete(self, policy: str, journal: Journal) -> None:
        """Delete a policy that no volume uses."""
        number = self.id_of(policy, journal)
        self._mutation(journal).send("delete", "DELETE", f"{POLICIES}/{number}", policy_id=str(number))

    # --- rules

    def add_rule(self, policy: str, rule: str, journal: Journal) -> ExportPolicy:
        """Append a rule unless there is one for that client; raises unless the client then has the access of our rules.

        Raises:
            ResourceBusy: another rule gives the client less.
        """
        match = canonical_match(rule)
        number = self.id_of(policy, journal)
        mutation = self._mutation(journal)
        present = self.rules(number, policy, journal)
        require_access(present, match)
        if nfs_rule(present, match) is None:
            path = f"{POLICIES}/{number}/rules"
            try:
                mutation.send("add-rule", "POST", path, body=our_rule(match))
            except AlreadyExists:
                _require_none_of_another_protocol(present, match)
                mutation.partially_applied = True  # Another request was faster.
            present = self._rules_with(mutation, number, policy, match)
            require_access(present, match)
        return policy_of(policy, present).summary

    def _rules_with(self, mutation: Mutation, number: int, policy: str, match: str) -> list[OntapRule]:
        """Return the rules once the added one is visible."""

        def read_with_rule() -> list[OntapRule]:
            rules = self.rules(number, policy, mutation.journal)
            if nfs_rule(rules, match) is not None:
                return rules
            raise NotFound("The rule is not there (yet).")

        return mutation.await_visible(read_with_rule)

    def remove_rule(self, policy: str, rule: str, journal: Journal) -> ExportPolicy:
        """Remove a client, in every spelling, from every rule that has it; a rule without clients is deleted."""
        mutation = self._mutation(journal)
        number = self.id_of(policy, journal)
        removal = RuleRemoval(mutation, f"{POLICIES}/{number}/rules", canonical_match(rule))
        return policy_of(policy, removal.run(lambda: self.rules(number, policy, journal))).summary

    def reread(self, mutation: Mutation, policy: str) -> ExportPolicy:
        """Return the policy after a change."""
        return mutation.await_visible(lambda: self.get(policy, mutation.journal)).summary

    def _mutation(self, journal: Journal) -> Mutation:
        return Mutation(self._client, journal, missing=NoSuchPolicy)


def require_access(rules: list[OntapRule], match: str) -> None:
    """Check that no rule gives the client less than our rules give.

    Raises:
        ResourceBusy: one does; the message names it.
    """
    deciding = deciding_rule(rules, match)
    if deciding is not None and not deciding.grants_required_access:
        raise ResourceBusy(
            f"{str(deciding).capitalize()} of the policy comes first and gives {match} less access than asked for."
            " The service does not change other administrators' rules: have that rule changed or removed.",
            transient=False,
            retryable=False,
        )


def _require_none_of_another_protocol(rules: list[OntapRule], match: str) -> None:
    """Check that no rule for other protocols names the client, where the filer refused ours because of a rule.

    Raises:
        ResourceBusy: one does; the message names it.
    """
    for rule in rules:
        if rule.spellings_of(match):
            raise ResourceBusy(
                f"{str(rule).capitalize()} of the policy gives {match} no access by NFS, and the storage system takes"
                " no other rule for it: have that rule changed or removed.",
                transient=False,
                retryable=False,
            )
