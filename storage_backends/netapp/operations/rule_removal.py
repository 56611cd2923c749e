"""Taking a client out of a policy's rules while others change the same policy.

A rule's index may have moved since it was read, so a request names the rule by its index *and* the client: where the
rule is not there any more, the filer refuses, the rules are read again, and the request is made anew. Filers that know
no such request are asked by the index alone, and looked at afterwards: where something else
went, it is said so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from storage_backends.errors import NotFound, OutcomeUnclear, StorageError
from storage_backends.netapp.ontap.error_codes import is_no_operation
from storage_backends.netapp.ontap.queries import Query, quote_literal
from storage_backends.netapp.operations.export_rules import OntapRule
from storage_backends.netapp.operations.mutation import Mutation

#: How often the rules may have moved under our hands before it is given up.
_MAX_ROUNDS = 50
Read = Callable[[], list[OntapRule]]


class RuleRemoval:
    """The removal of one client from one policy."""

    def __init__(self, mutation: Mutation, rules_path: str, policy_id: int, match: str) -> None:
        self._mutation = mutation
        self._path = rules_path
        self._policy_id = str(policy_id)
        self._match = match
        #: Whether the filer refused a request that names a rule by its client.
        self._by_index = False

    def run(self, read: Read) -> list[OntapRule]:
        """Remove the client, and return the rules that are left.

        Raises:
            OutcomeUnclear: others moved the rules too often, or a rule went that was not meant.
        """
        rules = read()
        for _ in range(_MAX_ROUNDS):
            holder = next((rule for rule in rules if rule.spellings_of(self._match)), None)
            if holder is None:
                return rules
            if self._by_index:
                rules = self._remove_by_index(holder, rules, read)
                continue
            is_removed = self._remove_by_client(holder, rules)
            before, rules = rules, self._read_after(holder, read) if is_removed else self._mutation.look(read)
            # A refusal that nothing on the filer explains: it does not know the request.
            self._by_index |= not is_removed and before == rules
        raise OutcomeUnclear("Others change the export policy too fast: the rule may be there still.")

    def _remove_by_client(self, holder: OntapRule, rules: list[OntapRule]) -> bool:
        """Send one removal; False if the filer found nothing to remove, or does not know the request."""
        spelling, number, count = holder.spellings_of(self._match)[0], self._policy_id, self._count(rules)
        try:
            if len(holder.clients) > 1:
                path = f"{self._path}/{holder.index}/clients/{quote(spelling, safe='')}"
                answer = self._mutation.send("shorten-rule", "DELETE", path, policy_id=number, holders=count)
            else:
                query: Query = {"index": holder.index, "clients.match": quote_literal(spelling)}
                answer = self._mutation.send(
                    "remove-rule", "DELETE", self._path, query=query, policy_id=number, holders=count
                )
        except NotFound:
            return False
        except StorageError as refusal:
            if not is_no_operation(refusal) and not _is_unknown_argument(refusal):
                raise
            return False
        return answer.body.get("num_records") != 0

    def _count(self, rules: list[OntapRule]) -> str:
        """In how many places the client stands, for whoever must find out later how far this came."""
        return str(holders(rules, self._match))

    def _read_after(self, holder: OntapRule, read: Read) -> list[OntapRule]:
        """The rules once the removal shows in them."""

        def shown() -> list[OntapRule]:
            rules = read()
            if holder in rules:
                raise NotFound("The rule is there (still).")
            return rules

        return self._mutation.await_visible(shown)

    # --- for filers that know no request by client

    def _remove_by_index(self, holder: OntapRule, before: list[OntapRule], read: Read) -> list[OntapRule]:
        path, number, count = f"{self._path}/{holder.index}", self._policy_id, self._count(before)
        others = [client for client in holder.clients if client not in holder.spellings_of(self._match)]
        try:
            if others:
                body = {"clients": [{"match": client} for client in others]}
                self._mutation.send("shorten-rule", "PATCH", path, body=body, policy_id=number, holders=count)
            else:
                self._mutation.send("remove-rule", "DELETE", path, policy_id=number, holders=count)
        except NotFound:
            return self._mutation.look(read)
        after: list[OntapRule] = self._mutation.look(read)
        lost = _lost(before, after) - Counter([holder.shown.clients])
        if lost and any(rule.spellings_of(self._match) for rule in after):
            raise OutcomeUnclear(
                "Somebody else moved the policy's rules at the same moment, and a rule of theirs may have been hit:"
                f" {', '.join(sorted({client for clients in lost for client in clients}))}. Look at the policy."
            )
        return after


def _lost(before: list[OntapRule], after: list[OntapRule]) -> Counter[Any]:
    return Counter(rule.shown.clients for rule in before) - Counter(rule.shown.clients for rule in after)


def holders(rules: list[OntapRule], match: str) -> int:
    """In how many places of the rules a client stands."""
    return sum(len(rule.spellings_of(match)) for rule in rules)


def _is_unknown_argument(refusal: StorageError) -> bool:
    return refusal.backend_error is not None and refusal.backend_error.code in {"262177", "262179"}
