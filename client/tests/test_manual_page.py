"""The manual page: what roff would take for its own is quoted."""

from __future__ import annotations

import click

from storage_api_client.cli.manual import page
from storage_api_client.cli.options import Group


def test_text_is_escaped_for_roff() -> None:
    main = Group("storage-api", help=".config is a folder.\n\n\b\n'quoted'\n\nback\\slash")
    main.add_command(click.Command("x", params=[click.Option(["--a-b"], help=".hidden files")]))
    lines = page(main).splitlines()
    for line in (r"\&.config is a folder.", r"\&'quoted'", r"back\eslash", r"\&.hidden files"):
        assert line in lines
    assert any(line.startswith(r".B \-\-a\-b") for line in lines)
