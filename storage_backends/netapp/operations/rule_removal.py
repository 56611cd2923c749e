"""Removes a client from a policy's rules while others may change the same policy.

A rule's index may have moved since it was read, so a request names the rule by its index *and* the client: where the
rule is not there any more, the filer refuses, the rules are read again, and the request is made anew. ONTAP has two
such requests; for filers that know neither, the index alone is used, and the result is checked afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import Any
from urllib.parse import quote

from storage_backends.errors import InvalidRequest, NotFound, OutcomeUnclear, StorageError
from storage_backends.netapp.ontap.error_codes import is_no_operation
from storage_backends.netapp.ontap.queries import Query, quote_literal
from storage_backends.netapp.ontap.responses import Answer
from storage_backends.netapp.operations.export_rules import OntapRule
from storage_backends.netapp.operations.mutation import Mutation

#: How often the rules may change during a removal before it is given up.
_MAX_ROUNDS = 50
Read = Callable[[], list[OntapRule]]


class _RuleSelector(Enum):
    """How a request identifies the rule."""

    #: ``…/rules/{index}/clients/{match}``: one client of a rule.
    CLIENT = "client"
    #: ``…/rules?index=…&clients.match=…``: the rule at that index, if it has that client.
    QUERY = "query"
    #: ``…/rules/{index}``: the rule at that index, whichever it is.
    INDEX = "index"


class _RuleStillVisible(NotFound):
    """The removed rule is still visible."""


class RuleRemoval:
    """The removal of one client from one policy."""

    def __init__(self, mutation: Mutation, rules_path: str, match: str) -> None:
        self._mutation = mutation
        self._path = rules_path
        self._match = match
        #: The ways that this filer does not support.
        self._unknown: set[_RuleSelector] = set()

    def run(self, read: Read) -> list[OntapRule]:
        """Remove the client, and return the remaining rules.

        Raises:
            OutcomeUnclear: the rules changed too often, or another rule may have been removed.
        """
        rules = read()
        for _ in range(_MAX_ROUNDS):
            holder = next((rule for rule in rules if rule.spellings_of(self._match)), None)
            if holder is None:
                return rules
            rules = self._remove(holder, rules, read)
        raise OutcomeUnclear("Others change the export policy too fast: the rule may be there still.")

    def _remove(self, holder: OntapRule, before: list[OntapRule], read: Read) -> list[OntapRule]:
        """Send one removal, and return the rules afterwards."""
        order = (
            (_RuleSelector.CLIENT, _RuleSelector.QUERY)
            if len(holder.clients) > 1
            else (_RuleSelector.QUERY, _RuleSelector.CLIENT)
        )
        selector = next((selector for selector in order if selector not in self._unknown), _RuleSelector.INDEX)
        is_removed = self._send(selector, holder, before)
        after = self._read_after(holder, read) if is_removed else self._mutation.look(read)
        if before == after:  # A refusal without a reason in the rules: the filer does not know the request.
            self._unknown.add(selector)
        if is_removed and selector is _RuleSelector.INDEX:
            self._require_only(holder, before, after)
        return after

    def _send(self, selector: _RuleSelector, holder: OntapRule, before: list[OntapRule]) -> bool:
        """Send the removal; False if the filer found nothing to remove, or does not know the request."""
        try:
            answer = self._request(selector, holder, str(holders(before, self._match)))
        except StorageError as refusal:
            may_be_unknown = isinstance(refusal, NotFound | InvalidRequest) or is_no_operation(refusal)
            if not may_be_unknown or selector in self._unknown:
                raise
            return False
        return answer.body.get("num_records") != 0

    def _request(self, selector: _RuleSelector, holder: OntapRule, count: str) -> Answer:
        spelling = holder.spellings_of(self._match)[0]
        one_rule = f"{self._path}/{holder.index}"
        if selector is _RuleSelector.CLIENT:
            path = f"{one_rule}/clients/{quote(spelling, safe='')}"
            return self._mutation.send("remove-client", "DELETE", path, holders=count)
        path, query = one_rule, None
        if selector is _RuleSelector.QUERY:
            rule_query: Query = {"index": holder.index, "clients.match": quote_literal(spelling)}
            path, query = self._path, rule_query
        others = [{"match": client} for client in holder.clients if client not in holder.spellings_of(self._match)]
        if not others:
            return self._mutation.send("remove-rule", "DELETE", path, query=query, holders=count)
        body = {"clients": others}
        return self._mutation.send("shorten-rule", "PATCH", path, query=query, body=body, holders=count)

    def _read_after(self, holder: OntapRule, read: Read) -> list[OntapRule]:
        """Return the rules once the removal is visible."""

        def read_without_holder() -> list[OntapRule]:
            rules = read()
            if holder in rules:
                raise _RuleStillVisible("The rule is there (still).")
            return rules

        return self._mutation.await_visible(read_without_holder, missing=_RuleStillVisible)

    def _require_only(self, holder: OntapRule, before: list[OntapRule], after: list[OntapRule]) -> None:
        """Check that the removal by index alone removed nothing else."""
        lost = _lost(before, after) - Counter([holder.details.clients])
        if lost and any(rule.spellings_of(self._match) for rule in after):
            hit = ", ".join(sorted({client for clients in lost for client in clients}))
            raise OutcomeUnclear(
                "Somebody else moved the policy's rules at the same moment, and a rule of theirs may have been hit:"
                f" {hit}. Look at the policy."
            )


def holders(rules: list[OntapRule], match: str) -> int:
    """Return in how many rules a client is, which shows the progress of its removal."""
    return sum(len(rule.spellings_of(match)) for rule in rules)


def _lost(before: list[OntapRule], after: list[OntapRule]) -> Counter[Any]:
    return Counter(rule.details.clients for rule in before) - Counter(rule.details.clients for rule in after)
