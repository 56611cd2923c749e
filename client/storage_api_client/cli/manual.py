"""The manual page, made of the commands' own help."""

from __future__ import annotations

from collections.abc import Iterator

import click

from storage_api_client.cli.names import PROGRAM
from storage_api_client.version import VERSION

_HEAD = f'.TH "{PROGRAM.upper()}" "1" "" "{PROGRAM} {VERSION}" "Storage API"'
_FILES = (
    (
        "config.toml",
        "Profiles: [profiles.NAME] with url, output, ca_file, timeout, issuer, client_id, scope, audience.",
    ),
    ("credentials.json", "Beside it, with mode 0600: what signing in stored."),
)
_VARIABLES = (
    ("STORAGE_API_URL", "Where the service is, as --url."),
    ("STORAGE_API_TOKEN", "A bearer token, in the place of what signing in stored."),
    ("STORAGE_API_PROFILE", "Profile of config.toml, as --profile."),
    ("STORAGE_API_OUTPUT", "Form of what is written to standard output, as --output."),
    ("STORAGE_API_CLIENT_SECRET, STORAGE_API_PASSWORD", "Secrets for login, so that nobody needs to be asked."),
    ("NO_COLOR", "No colours."),
)  # fmt: skip
_STATUSES = (
    ("0", "Done."),
    ("1", "The job failed, or the request was refused."),
    ("2", "Usage."),
    ("3", "Outcome unknown: the change may or may not have happened."),
    ("4", "Not signed in, or a role is missing."),
    ("5", "Not found."),
    ("75", "The service or the storage system is unavailable, or a queue is full."),
    ("124", "Still running when the time was over."),
    ("130", "Interrupted; the job goes on."),
)  # fmt: skip


def page(main: click.Group) -> str:
    """Return the manual page in roff."""
    context = click.Context(main, info_name=PROGRAM)
    lines = [
        _HEAD,
        ".SH NAME",
        f"{PROGRAM} \\- volumes, snapshots, locks and export policies on storage systems",
        ".SH SYNOPSIS",
        f".B {PROGRAM}",
        "[OPTIONS] COMMAND [ARGS]...",
        ".SH DESCRIPTION",
        *_text(main.help or ""),
        ".SH OPTIONS",
        *_options(main, context),
        ".SH COMMANDS",
        *(line for command, its in _walk(main, context) for line in _command(command, its)),
    ]
    for title, entries in (("EXIT STATUS", _STATUSES), ("ENVIRONMENT", _VARIABLES), ("FILES", _FILES)):
        lines += [f".SH {title}", *(line for name, text in entries for line in (".TP", f".B {_quoted(name)}", text))]
    return "\n".join(lines) + "\n"


def _walk(group: click.Group, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """Every command that is no group, with its context."""
    for name in group.list_commands(context):
        command = group.commands[name]
        its = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _walk(command, its)
        else:
            yield command, its


def _command(command: click.Command, context: click.Context) -> list[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    return [f'.SS "{_quoted(context.command_path)} {_quoted(usage)}"', *_text(command.help or ""),
            *_options(command, context)]  # fmt: skip


def _options(command: click.Command, context: click.Context) -> list[str]:
    """The options of a command; general ones are with the program itself."""
    general = {"url", "profile", "output"} if context.parent else set()
    lines = []
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name not in general:
            names, text = parameter.get_help_record(context) or ("", "")
            lines += [".TP", f".B {_quoted(names)}", _quoted(text) or "\\&"]
    return lines


def _text(help_: str) -> list[str]:
    """Paragraphs; those that are not to be wrapped begin with a backspace, as Click has it."""
    lines = []
    for paragraph in help_.strip().split("\n\n"):
        if paragraph.startswith("\b"):
            lines += [".PP", ".nf", *(_quoted(line) for line in paragraph.splitlines()[1:]), ".fi"]
        else:
            lines += [".PP", _quoted(" ".join(paragraph.split()))]
    return lines


def _quoted(text: str) -> str:
    """Text as roff shows it."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{text}" if text.startswith((".", "'")) else text
