"""Who may use each route of the console; a test holds this table to the application's URL map."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.api.front_end import FrontEnd
from worker.catalog.operations import Role

ANYONE, SIGNED_IN = "anyone", "signed in"
ACTION_ROLES = {
    "snapshot": Role.ADMIN, "delete-snapshot": Role.ADMIN, "clone": Role.ADMIN, "roll-back": Role.ADMIN,
    "lock": Role.ADMIN, "change": Role.UBER_ADMIN, "restrict": Role.UBER_ADMIN, "unlock": Role.UBER_ADMIN,
}  # fmt: skip
_VOLUME_ACTION = "/console/<subsystem>/volume-actions/<action>/<path:volume>"
#: By method and rule: the role that it asks for. Of a volume's actions each is an entry of its own.
PAGES = {
    ("GET", "/console/"): Role.USER,
    ("GET", "/console"): Role.USER,
    ("GET", "/console/assets/<name>"): ANYONE,
    ("GET", "/console/jobs"): SIGNED_IN,
    ("GET", "/console/jobs/<job_id>"): SIGNED_IN,
    ("POST", "/console/jobs/<job_id>/<action>"): SIGNED_IN,
    ("GET", "/console/job-actions/<action>"): SIGNED_IN,
    ("POST", "/console/job-actions/<action>"): SIGNED_IN,
    ("GET", "/console/<subsystem>/volumes"): Role.USER,
    ("GET", "/console/<subsystem>/volumes.<kind>"): Role.USER,
    ("GET", "/console/<subsystem>/volumes/<path:volume>"): Role.USER,
    ("GET", "/console/<subsystem>/capacity"): Role.USER,
    ("GET", "/console/<subsystem>/export"): Role.ADMIN,
    ("GET", "/console/<subsystem>/export/<path:policy>"): Role.ADMIN,
    ("POST", "/console/<subsystem>/policy-actions/<action>/<path:policy>"): Role.ADMIN,
    ("GET", "/console/<subsystem>/new-policy"): Role.ADMIN,
    ("POST", "/console/<subsystem>/new-policy"): Role.ADMIN,
    ("GET", "/console/<subsystem>/new-volume"): Role.ADMIN,
    ("POST", "/console/<subsystem>/new-volume"): Role.ADMIN,
    ("GET", "/console/<subsystem>/snapshot-batch"): Role.ADMIN,
    ("POST", "/console/<subsystem>/snapshot-batch"): Role.ADMIN,
    ("GET", "/console/<subsystem>/restricted"): Role.UBER_ADMIN,
    ("POST", "/console/<subsystem>/restricted/<name>"): Role.UBER_ADMIN,
    **{
        (method, _VOLUME_ACTION.replace("<action>", name)): role
        for name, role in ACTION_ROLES.items()
        for method in ("GET", "POST")
    },
}
#: What the forms of routes for several actions need.
_FORM_ROLES: dict[str, Mapping[str, str]] = {
    "/console/jobs/<job_id>/<action>": {"cancel": SIGNED_IN, "retry": Role.ADMIN, "settle": Role.UBER_ADMIN},
    "/console/job-actions/<action>": {"cancel": SIGNED_IN, "retry": Role.ADMIN},
    "/console/<subsystem>/policy-actions/<action>/<path:policy>": dict.fromkeys(
        ("add-rule", "remove-rule", "delete"), Role.ADMIN
    ),
    _VOLUME_ACTION: ACTION_ROLES,
}
#: By rule and action ("" where it has one only): the role without which no page shows the form.
FORMS = {
    **{(rule, action): role for rule, roles in _FORM_ROLES.items() for action, role in roles.items()},
    **{
        (rule, ""): access
        for (method, rule), access in PAGES.items()
        if method == "POST" and "<action>" not in rule and "volume-actions" not in rule
    },
}


def routes_of(front_end: FrontEnd) -> set[tuple[str, str]]:
    """The console's routes, as the application has them."""
    return {
        (method, rule.rule)
        for rule in front_end.app().url_map.iter_rules()
        if rule.rule.startswith("/console")
        for method in (rule.methods or set()) & {"GET", "POST", "PUT", "PATCH", "DELETE"}
    }


def as_one(rule: str) -> str:
    """An entry of the table as the application's rule."""
    return re.sub(r"volume-actions/[a-z-]+/", "volume-actions/<action>/", rule)


def may(roles: tuple[Role, ...], access: str, *, signed_in: bool = True) -> bool:
    """Does a user with these roles have this access?"""
    return access == ANYONE or access in roles or (signed_in and access == SIGNED_IN)
