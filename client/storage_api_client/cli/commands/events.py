"""``storage-api events``."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from storage_api_client.cli.options import Group, command, job_filter, jobs_chosen
from storage_api_client.cli.state import State
from storage_api_client.cli.streams import is_unicode


def add_to(main: Group) -> None:
    """Add the command to the command line."""

    @command(main, "events", "list_events")
    @jobs_chosen
    @click.option("--after", metavar="EVENT", help="Go on after this event; without it, from now on.")
    @click.option("--limit", type=click.IntRange(1), metavar="N", help="End after N events.")
    def events(state: State, *, after: str | None, limit: int | None, **chosen: Any) -> None:
        """Show the changes of jobs as they happen: a line for each, or with -o json a JSON object on each line.

        Goes on after a lost connection, until it is interrupted.
        """
        with state.client() as api:
            for number, event in enumerate(api.events(after=after, **job_filter(chosen)), 1):
                _write(state, event)
                if number == limit:
                    return


def _write(state: State, event: Any) -> None:
    from storage_api_client.cli.output import for_people
    from storage_api_client.cli.progress import describe

    job = event.job
    if job is None:
        state.note(f"Some events were missed ({event.kind}): they are kept no longer.")
    elif state.format == "table":
        when = for_people("updated_at", job.raw.get("updated_at"))
        code = f" {job.error.code}" if job.error else ""
        click.echo(f"{when}  {job.id}  {job.operation}  {job.target}  {describe(job)}{code}")
    elif state.format == "name":
        click.echo(job.id)
    else:
        click.echo(json.dumps({"id": event.id, "job": job.raw}, ensure_ascii=not is_unicode(sys.stdout)))
