"""Writes the manual page and the completions for shells below ``share``: ``python tools/share.py [--check]``."""

from __future__ import annotations

import sys
from pathlib import Path

from storage_api_client.cli.completion import script
from storage_api_client.cli.manual import page
from storage_api_client.cli.program import command_line

_SHARE = Path(__file__).resolve().parents[1] / "share"


def files() -> dict[Path, str]:
    """Return each file with what it must hold."""
    main = command_line()
    return {
        _SHARE / "man/man1/storage-api.1": page(main),
        _SHARE / "bash-completion/completions/storage-api": script(main, "bash") + "\n",
        _SHARE / "zsh/site-functions/_storage-api": script(main, "zsh") + "\n",
        _SHARE / "fish/vendor_completions.d/storage-api.fish": script(main, "fish") + "\n",
    }


def main() -> None:
    """Write them; with --check, fail where one is not as it would be written."""
    stale = [path for path, text in files().items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in sys.argv:
        sys.exit(f"run `make client_files`: {', '.join(path.name for path in stale)}" if stale else 0)
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files()[path], encoding="utf-8")


if __name__ == "__main__":
    main()
