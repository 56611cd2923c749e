"""``/protocols``: clients' locks, export policies and their rules; all without jobs."""

from __future__ import annotations

import re
from urllib.parse import unquote

from tests.ontap_simulator.errors import Refusal, missing
from tests.ontap_simulator.exchange import Reply, Request, Route, in_scope, listing, one
from tests.ontap_simulator.queries import matches
from tests.ontap_simulator.shapes import LOCK, POLICY, RULE
from tests.ontap_simulator.world import Record, World, full_rule

#: ONTAP shows at most this many rules in a policy's own record.
SHOWN_RULES = 100


def list_locks(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    return listing(world, request, LOCK, world.locks.values())


def delete_lock(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    lock = world.locks.get(path_match["uuid"])
    if lock is None or not in_scope(request, lock):
        raise missing()
    del world.locks[path_match["uuid"]]
    world.effect("DELETE", request.path, client=lock["client_address"])
    return Reply()


# --- policies


def _shown(policy: Record) -> Record:
    if len(policy["rules"] or []) <= SHOWN_RULES:
        return policy | {"are_rules_truncated": False}
    return policy | {"rules": policy["rules"][:SHOWN_RULES], "are_rules_truncated": True}


def _policy(world: World, request: Request, path_match: re.Match[str]) -> Record:
    policy = world.policies.get(int(path_match["id"]))
    if policy is None or not in_scope(request, policy):
        raise missing("id")
    return policy


def list_policies(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    return listing(world, request, POLICY, [_shown(policy) for policy in world.policies.values()], "id")


def get_policy(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    return one(world, request, POLICY, _shown(_policy(world, request, path_match)))


def create_policy(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    body = request.body
    POLICY.require_body(body, "POST")
    svm = body.get("svm", {}).get("name") or request.scope
    if svm not in world.vservers:
        raise Refusal(2621462, "The specified SVM name does not exist")
    name = body.get("name", "")
    if not name or " " in name:
        raise Refusal(1703952, "Invalid ruleset name provided. No spaces allowed in a ruleset name")
    if any(policy["name"] == name and policy["svm"]["name"] == svm for policy in world.policies.values()):
        raise Refusal(1, "duplicate entry", target="name")
    rules = [[client["match"] for client in rule["clients"]] for rule in body.get("rules", [])]
    for rule in rules:
        _require_clients(rule)
    if len({tuple(rule) for rule in rules}) < len(rules):
        raise Refusal(1704071, "The export policy was not created because of duplicate export policy rules.")
    policy = world.add_policy(svm, name, rules)
    policy["rules"] = [{"index": index, **rule} for index, rule in enumerate(body.get("rules", []), 1)]
    world.effect("POST", request.path, **body)
    return Reply(201, {}, {"Location": policy["_links"]["self"]["href"]})


def _require_clients(clients: list[str]) -> None:
    if len(set(clients)) < len(clients):
        raise Refusal(1704050, "Invalid clientmatch: clientmatch list contains a duplicate string.")
    for client in clients:
        if not client or re.search(r"[\s,|!]", client):
            raise Refusal(1704039, f'Invalid clientmatch "{client}"')


def delete_policy(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    policy = _policy(world, request, path_match)
    if policy["name"] == "default":
        raise Refusal(1703947, "Cannot delete default ruleset.")
    for volume in world.volumes.values():
        if volume["svm"] == policy["svm"] and volume["nas"]["export_policy"]["name"] == policy["name"]:
            raise Refusal(1703945, "Ruleset is in use by a volume.")
    del world.policies[policy["id"]]
    world.effect("DELETE", request.path, name=policy["name"])
    return Reply()


# --- rules


def _rule(policy: Record, path_match: re.Match[str]) -> Record:
    for rule in policy["rules"]:
        if rule["index"] == int(path_match["index"]):
            match: Record = rule
            return match
    raise missing("index")


def list_rules(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    policy = _policy(world, request, path_match)
    return listing(world, request, RULE, sorted(policy["rules"] or [], key=lambda rule: rule["index"]), "index")


def create_rule(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    policy = _policy(world, request, path_match)
    body = request.body
    RULE.require_body(body, "POST")
    clients = [client["match"] for client in body["clients"]]
    _require_clients(clients)
    protocols = body.get("protocols")
    if any(_clients(rule) == clients and rule["protocols"] == protocols for rule in policy["rules"]):
        raise Refusal(1704070, "Export policy rule already exists.")
    index = body.get("index") or 1 + max((rule["index"] for rule in policy["rules"]), default=0)
    insert_rule(policy, full_rule(index, clients, ro_rule=["any"], rw_rule=["any"]) | body | {"index": index})
    world.effect("POST", request.path, **body)
    return Reply(201, {}, {"Location": f"/api{request.path}/{index}"})


def insert_rule(policy: Record, rule: Record) -> None:
    """Put a rule at its index: a rule that is there moves up, and so do those behind it, to the next gap."""
    moved = rule["index"]
    for other in sorted(policy["rules"], key=lambda one: one["index"]):
        if other["index"] == moved:
            other["index"] = moved = moved + 1
    policy["rules"].append(rule)


def delete_rules(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    """Of a query: every rule that meets it goes."""
    if "query" not in world.rule_requests:
        raise Refusal(3, "DELETE is not supported on this path.")
    policy = _policy(world, request, path_match)
    if not request.conditions:
        raise Refusal(262179, "A query is needed.")
    hit = [rule for rule in policy["rules"] if matches(rule, request.conditions)]
    if not hit:
        raise missing()
    for rule in hit:
        policy["rules"].remove(rule)
        world.effect("DELETE", request.path, policy=policy["name"], clients=_clients(rule))
    return Reply(200, {"num_records": len(hit)})


def patch_rules(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    """Of a query: every rule that meets it is changed."""
    if "query" not in world.rule_requests:
        raise Refusal(3, "PATCH is not supported on this path.")
    policy = _policy(world, request, path_match)
    RULE.require_body(request.body, "PATCH")
    hit = [rule for rule in policy["rules"] if request.conditions and matches(rule, request.conditions)]
    if not hit:
        raise missing()
    for rule in hit:
        rule.update(request.body)
        world.effect("PATCH", request.path, **request.body)
    return Reply(200, {"num_records": len(hit)})


def delete_client(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    if "client" not in world.rule_requests:
        raise missing("path")
    policy = _policy(world, request, path_match)
    rule, match = _rule(policy, path_match), unquote(path_match["match"])
    if match not in _clients(rule):
        raise missing("match")
    if len(rule["clients"]) == 1 and "query" in world.rule_requests:
        raise Refusal(1704044, "A rule must have a client.")
    if len(rule["clients"]) == 1:
        policy["rules"].remove(rule)
    rule["clients"] = [client for client in rule["clients"] if client["match"] != match]
    world.effect("DELETE", request.path, policy=policy["name"], client=match)
    return Reply()


def add_client(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    rule = _rule(_policy(world, request, path_match), path_match)
    _require_clients([*_clients(rule), request.body["match"]])
    rule["clients"] = [*rule["clients"], {"match": request.body["match"]}]
    world.effect("POST", request.path, **request.body)
    return Reply(201)


def _clients(rule: Record) -> list[str]:
    return [client["match"] for client in rule["clients"]]


def patch_rule(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    rule = _rule(_policy(world, request, path_match), path_match)
    body = request.body
    RULE.require_body(body, "PATCH")
    if not body:
        raise Refusal(262190, "The PATCH request has no fields to change.")
    _require_clients([client["match"] for client in body.get("clients", [])])
    rule.update(body)
    world.effect("PATCH", request.path, **body)
    return Reply()


def delete_rule(world: World, request: Request, path_match: re.Match[str]) -> Reply:
    policy = _policy(world, request, path_match)
    rule = _rule(policy, path_match)
    policy["rules"].remove(rule)
    world.effect("DELETE", request.path, policy=policy["name"], clients=_clients(rule))
    return Reply()


_POLICIES = r"/protocols/nfs/export-policies"
_POLICY = _POLICIES + r"/(?P<id>\d+)"
_RULE = _POLICY + r"/rules/(?P<index>\d+)"
ROUTES: list[Route] = [
    ("GET", r"/protocols/locks", list_locks),
    ("DELETE", r"/protocols/locks/(?P<uuid>[^/]+)", delete_lock),
    ("GET", _POLICIES, list_policies),
    ("POST", _POLICIES, create_policy),
    ("GET", _POLICY, get_policy),
    ("DELETE", _POLICY, delete_policy),
    ("GET", _POLICY + r"/rules", list_rules),
    ("POST", _POLICY + r"/rules", create_rule),
    ("DELETE", _POLICY + r"/rules", delete_rules),
    ("PATCH", _POLICY + r"/rules", patch_rules),
    ("POST", _RULE + r"/clients", add_client),
    ("DELETE", _RULE + r"/clients/(?P<match>[^/]+)", delete_client),
    ("PATCH", _RULE, patch_rule),
    ("DELETE", _RULE, delete_rule),
]
