"""How Sphinx builds the manual: from Markdown, offline, with nothing that a reader's browser fetches from elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import orjson

from deploy.docs import openapi, reference

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "storage-api"
author = "The authors of storage-api"
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
html_theme = "alabaster"
html_title = "Storage API"
html_static_path = ["_static"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "description": "Volumes, snapshots, locks and export policies on storage systems, by jobs",
    "fixed_sidebar": True,
    "page_width": "76rem",
    "sidebar_width": "15rem",
    "font_family": "system-ui, sans-serif",
    "head_font_family": "system-ui, sans-serif",
    "show_powered_by": False,
}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}


def _fill_reference(_app: Sphinx, name: str, source: list[str]) -> None:
    """Put what the routes say into the reference."""
    if name == "reference":
        source[0] += reference.markdown(openapi.document())


def _finish(app: Sphinx, failure: Exception | None) -> None:
    """Add the OpenAPI document, and the mark that lets GitHub show folders such as ``_static``."""
    if failure is None:
        folder = Path(app.outdir)
        (folder / ".nojekyll").touch()
        (folder / "openapi.json").write_bytes(orjson.dumps(openapi.document(), option=orjson.OPT_INDENT_2))


def setup(app: Sphinx) -> None:
    """Tie both to the build."""
    app.connect("source-read", _fill_reference)
    app.connect("build-finished", _finish)
