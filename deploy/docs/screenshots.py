"""``python -m deploy.docs.screenshots http://127.0.0.1:8000``: the console's pages as pictures for the manual.

Needs a running development server and Chromium. It makes a volume with snapshots, and restricts it afterwards.
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

_FOLDER = Path(__file__).resolve().parents[2] / "docs" / "_static"
_CHROMIUM = "/usr/bin/chromium"
_VOLUME = "screenshot_db01"
_SIZE = {"width": 1180, "height": 760}


def main(arguments: list[str]) -> int:
    """Take the pictures; 0 when all were taken."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport=_SIZE, base_url=arguments[0])  # type: ignore[arg-type]
        page.goto("/login?next=/console/")
        job = _prepare(page)
        pages = {
            "overview": "/console/",
            "volumes": "/console/dummy/volumes?sort=-size_used",
            "volume": f"/console/dummy/volumes/{_VOLUME}",
            "roll-back": f"/console/dummy/volume-actions/roll-back/{_VOLUME}?from_snapshot=before-upgrade",
            "job": f"/console/jobs/{job}",
        }
        for name, path in pages.items():
            page.goto(path)
            page.screenshot(path=_FOLDER / f"console-{name}.png")
        page.request.delete(f"/v4/dummy/volumes/{_VOLUME}", headers={"Prefer": "wait=20"})
        browser.close()
    return 0


def _prepare(page: Page) -> str:
    """Make a volume with snapshots; the id of the last job."""
    wait = {"Prefer": "wait=20"}
    page.request.get("/v4/dummy/volumes", headers=wait)
    page.request.post(f"/v4/dummy/volumes/{_VOLUME}", data={"size_total": 10 * 2**30}, headers=wait)
    job = ""
    for name in ("before-upgrade", "after-upgrade", "nightly"):
        made = page.request.post(f"/v4/dummy/volumes/{_VOLUME}/snapshots/{name}", data={}, headers=wait)
        job = made.headers["operation-location"].rpartition("/")[2]
    return job


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
