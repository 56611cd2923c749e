"""``storage-api status``, ``subsystem list``, ``role list`` and ``completion``."""

from __future__ import annotations

import click

from storage_api_client.cli.exit_status import ExitStatus
from storage_api_client.cli.options import Group, command
from storage_api_client.cli.state import State, Stop

_SHELLS = ("bash", "zsh", "fish")


def add_to(main: Group) -> None:
    """Add the commands to the command line."""
    _add_status(main)
    _add_completion(main)

    @main.group("subsystem", cls=Group)
    def subsystem() -> None:
        """Storage systems."""

    @command(subsystem, "list", "list_subsystems")
    def list_subsystems(state: State) -> None:
        """List the storage systems that the service has."""
        with state.client() as api:
            state.show(api.subsystems(), ("name",))

    @main.group("role", cls=Group)
    def role() -> None:
        """Roles."""

    @command(role, "list", "list_roles", "list_egroups")
    def list_roles(state: State) -> None:
        """List the roles, and the groups whose members have them."""
        with state.client() as api:
            rows = [{"name": name, "groups": list(groups)} for name, groups in api.all_roles().items()]
            state.show(rows, ("name", "groups"))

    @main.group("session", cls=Group)
    def session() -> None:
        """Sessions of people who signed in with a browser."""

    @command(session, "end", "end_sessions")
    @click.argument("user", metavar="USER")
    def end_sessions(state: State, user: str) -> None:
        """End all sessions of a user, by name or id: they must sign in again. Needs UBER_ADMIN."""
        with state.client() as api:
            state.note(f"Sessions ended: {api.end_sessions(user)}.")


def _add_status(main: Group) -> None:
    @command(main, "status", "healthz", "readyz", "metrics")
    @click.option("--metrics", is_flag=True, help="Show the metrics, in Prometheus's text format.")
    def status(state: State, *, metrics: bool) -> None:
        """Show how the service stands; the exit status is 75 where it takes no jobs now."""
        with state.client() as api:
            if metrics:
                click.echo(api.metrics(), nl=False)
                return
            is_ready, document = api.readiness()
            row = {"url": api.url, "alive": api.is_alive(), "ready": is_ready, **(document or {})}
            if not is_ready:
                row["status"] = row.get("detail") or row.get("status") or "the service does not answer"
            state.show([row], ("url", "status"), single=True)
            if not is_ready:
                raise Stop(ExitStatus.UNAVAILABLE)


def _add_completion(main: Group) -> None:
    @command(main, "completion")
    @click.argument("shell", type=click.Choice(_SHELLS))
    def completion(state: State, shell: str) -> None:
        r"""Print the completion for a shell.

        \b
        storage-api completion bash > ~/.local/share/bash-completion/completions/storage-api
        """
        from storage_api_client.cli.completion import script

        click.echo(script(main, shell))
