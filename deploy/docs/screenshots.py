"""``python -m deploy.docs.screenshots http://127.0.0.1:8000``: the console's pages as pictures for the manual.

Needs a running development server and Chromium. It makes a volume with snapshots, and restricts it afterwards.
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from api.console.job_links import jobs_url

_FOLDER = Path(__file__).resolve().parents[2] / "docs" / "_static"
_CHROMIUM = "/usr/bin/chromium"
_VOLUME = "screenshot_db01"
_SIZE = {"width": 1180, "height": 760}
_WAIT = {"Prefer": "wait=25"}


def main(arguments: list[str]) -> int:
    """Take the pictures; 0 when all were taken."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport=_SIZE, base_url=arguments[0])  # type: ignore[arg-type]
        page.goto("/login?next=/console/")
        failed = _prepare(page)
        for name, path in pages_of(failed, _let_wait(page)).items():
            answer = page.goto(path)
            if answer is None or not answer.ok:
                raise SystemExit(f"{path} is not to be seen: {answer and answer.status}")
            # The volume's time line is below what a window shows.
            page.screenshot(path=_FOLDER / f"console-{name}.png", full_page=name == "volume")
        for system in ("dummy", "slow"):
            page.request.delete(f"/v4/{system}/volumes/{_VOLUME}", headers=_WAIT)
        browser.close()
    return 0


def pages_of(failed: str, waiting: str) -> dict[str, str]:
    """Return the pages that are pictured, by the names of the pictures.

    Args:
        failed: the id of a job that failed.
        waiting: the id of a job that waits for others.
    """
    return {
        "volumes": "/console/dummy/volumes?sort=-size_used",
        "capacity": "/console/dummy/capacity",
        "volume": f"/console/dummy/volumes/{_VOLUME}",
        "roll-back": f"/console/dummy/volume-actions/roll-back/{_VOLUME}?from_snapshot=before-upgrade",
        "job": f"/console/jobs/{failed}",
        "job-waiting": f"/console/jobs/{waiting}",
        "jobs": jobs_url(everybody=True, state="queued"),
        "overview": "/console/",
    }


def _prepare(page: Page) -> str:
    """Make a volume with snapshots and a lock; the id of a job that failed, since another host holds the lock."""
    for system in ("dummy", "slow"):
        page.request.get(f"/v4/{system}/volumes?limit=1", headers=_WAIT)
        # Where pictures were taken before, the volume is out of service.
        restricted = page.request.get(f"/v4/{system}/restricted", headers=_WAIT).json()
        if any(each["name"] == _VOLUME for each in restricted):
            page.request.post(f"/v4/{system}/restricted/{_VOLUME}/reinstate", data={}, headers=_WAIT)
    path = f"/v4/dummy/volumes/{_VOLUME}"
    page.request.post(path, data={"size_total": 10 * 2**30, "comment": "Orders of the shop"}, headers=_WAIT)
    for name in ("before-upgrade", "after-upgrade", "nightly"):
        page.request.post(f"{path}/snapshots/{name}", data={}, headers=_WAIT)
        # The marks on the time line are to lie apart.
        page.wait_for_timeout(1500)
    page.request.put(f"{path}/locks/dbhost01.example.org", headers=_WAIT)
    refused = page.request.put(f"{path}/locks/dbhost02.example.org", headers=_WAIT)
    return _job_of(refused.headers)


def _let_wait(page: Page) -> str:
    """Submit changes of one volume of the slow storage system; the id of the last, which waits for the others."""
    path = f"/v4/slow/volumes/{_VOLUME}"
    made = page.request.post(path, data={"size_total": 2**30})
    for name in ("first", "second"):
        made = page.request.post(f"{path}/snapshots/{name}", data={})
    return _job_of(made.headers)


def _job_of(headers: dict[str, str]) -> str:
    return headers["operation-location"].rpartition("/")[2]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
