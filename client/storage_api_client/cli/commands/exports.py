"""``storage-api export …``."""

from __future__ import annotations

import click

from storage_api_client.cli.options import SUBSYSTEM, YES, Group, command, selecting, waiting
from storage_api_client.cli.state import ChangeCommand, State

COLUMNS = ("name", "rules")
POLICY = click.argument("policy")


@click.group("export", cls=Group)
def group() -> None:
    """Export policies: which hosts may mount a volume."""


@command(group, "list", "list_policies")
@SUBSYSTEM
@selecting
def list_(
    state: State,
    subsystem: str,
    *,
    where: tuple[str, ...],
    sort: str | None,
    fields: str | None,
    limit: int | None,
    fresh: bool,
) -> None:
    """List export policies."""
    with state.client() as api:
        policies = api.subsystem(subsystem).policies
        rows = policies.list(where=where, sort=sort, fields=fields, limit=limit, fresh=fresh)
        state.show(rows, fields.split(",") if fields else COLUMNS)


@command(group, "show", "get_policy")
@SUBSYSTEM
@POLICY
@click.option("--fresh", is_flag=True, help="Ask the storage system, whatever is cached.")
def show(state: State, subsystem: str, policy: str, *, fresh: bool) -> None:
    """Show an export policy."""
    with state.client() as api:
        state.show([api.subsystem(subsystem).policies.get(policy, fresh=fresh)], COLUMNS, single=True)


@command(group, "create", "create_policy")
@SUBSYSTEM
@POLICY
@click.option("--rule", "rules", multiple=True, metavar="CLIENT",
              help="Host, .domain, address, network or @netgroup; several are possible.")  # fmt: skip
@waiting
def create(state: State, subsystem: str, policy: str, *, rules: tuple[str, ...], waiting: ChangeCommand) -> None:
    """Create an export policy."""
    with state.client(waiting.timeout) as api:
        policies = api.subsystem(subsystem).policies
        waiting.change(
            lambda **options: policies.create(policy, rules, **options), lambda made: state.show_made(made, COLUMNS)
        )


@command(group, "delete", "delete_policy")
@SUBSYSTEM
@POLICY
@YES
@waiting
def delete(state: State, subsystem: str, policy: str, *, yes: bool, waiting: ChangeCommand) -> None:
    """Delete an export policy that no volume uses."""
    state.confirm(f"Delete the export policy {policy}?", yes=yes)
    with state.client(waiting.timeout) as api:
        policies = api.subsystem(subsystem).policies
        waiting.change(lambda **options: policies.delete(policy, **options), done=f"Policy {policy} is gone.")


@group.group("rule", cls=Group)
def rule_group() -> None:
    """Rules of an export policy."""


@command(rule_group, "add", "ensure_policy_rule_present")
@SUBSYSTEM
@POLICY
@click.argument("rule")
@waiting
def add_rule(state: State, subsystem: str, policy: str, rule: str, *, waiting: ChangeCommand) -> None:
    """Let a client in: a host, a .domain, an address, a network or a @netgroup."""
    with state.client(waiting.timeout) as api:
        policies = api.subsystem(subsystem).policies
        waiting.change(
            lambda **options: policies.add_rule(policy, rule, **options), lambda made: state.show_made(made, COLUMNS)
        )


@command(rule_group, "remove", "ensure_policy_rule_absent")
@SUBSYSTEM
@POLICY
@click.argument("rule")
@waiting
def remove_rule(state: State, subsystem: str, policy: str, rule: str, *, waiting: ChangeCommand) -> None:
    """Let a client in no more."""
    with state.client(waiting.timeout) as api:
        policies = api.subsystem(subsystem).policies
        waiting.change(
            lambda **options: policies.remove_rule(policy, rule, **options), done=f"{policy} lets {rule} in no more."
        )
