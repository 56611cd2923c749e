"""``storage-api login``, ``logout`` and ``whoami``."""

from __future__ import annotations

from typing import Any

import click

from storage_api_client.cli.exit_status import ExitStatus
from storage_api_client.cli.options import Group, command
from storage_api_client.cli.state import State, Stop


def add_to(main: Group) -> None:
    """Add the commands to the command line."""

    @command(main, "login", "sign_in", "finish_sign_in", "sign_in_with_password", "sign_in_with_password_by_post",
             "show_resource_metadata")  # fmt: skip
    @click.option("--issuer", metavar="URL",
                  help="The identity provider (default: of the profile, else of the service).")  # fmt: skip
    @click.option("--client-id", metavar="ID",
                  help="Who this program is there (default: likewise).")  # fmt: skip
    @click.option("--scope", metavar="SCOPES", help="What to ask for.")
    @click.option("--audience", metavar="NAME", help="For whom the token shall be, where the provider asks.")
    @click.option("--browser", is_flag=True, help="Use a browser here, also where the provider has the device flow.")
    @click.option("--client-credentials", is_flag=True,
                  help="As a machine; the secret is in STORAGE_API_CLIENT_SECRET, or asked for.")  # fmt: skip
    @click.option("--basic", metavar="USER",
                  help="With a user name and a password; that is in STORAGE_API_PASSWORD, or asked for.")  # fmt: skip
    def login(state: State, **options: Any) -> None:
        """Sign in, and keep that in a file that nobody else may read.

        With the device flow of the identity provider where it has one, else with a browser on this machine. A
        development server on this machine needs neither.
        """
        from storage_api_client.cli.login import sign_in

        sign_in(state, **options)

    @command(main, "logout", "sign_out", "sign_out_by_post")
    def logout(state: State) -> None:
        """Forget how one signed in here."""
        from storage_api_client.cli.login import sign_out

        sign_out(state)

    @command(main, "whoami", "list_my_roles", "am_i_a")
    @click.option("--role", metavar="ROLE", help="Only check that you have this role; the exit status is 4 if not.")
    def whoami(state: State, *, role: str | None) -> None:
        """Show where you are signed in, how, and with which roles."""
        from storage_api_client.cli.login import how_signed_in

        with state.client() as api:
            if role:
                if not api.has_role(role):
                    state.note(f"You do not have the role {role}.")
                    raise Stop(ExitStatus.NOT_AUTHORISED)
                return
            list(api.jobs.list(limit=1))  # Strangers have roles, too, but no jobs.
            row = {"url": api.url, "profile": state.service.profile.name, **how_signed_in(state.service)}
            state.show([{**row, "roles": list(api.roles())}], ("url", "roles"), single=True)
