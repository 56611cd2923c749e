"""The comment of an object that the service made: the user's own text, then which job made it."""

from __future__ import annotations

import re

MAX_COMMENT_CHARACTERS = 1023
#: At the end of a comment: the job that made the object.
_OWNER = re.compile(r"(?:^|\s)job:[\w-]*?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


def owner_comment(job_id: str, text: str = "") -> str:
    """The comment by which an object is known to have been made by that job, after the user's ``text``."""
    return f"{text} job:{job_id}" if text else f"job:{job_id}"


def fits_beside_owner(job_id: str, text: str) -> bool:
    """Is there room for both in a comment?"""
    return len(owner_comment(job_id, text)) <= MAX_COMMENT_CHARACTERS


def is_made_by(comment: object, job_id: str) -> bool:
    """Does a comment say that the object was made by that job?"""
    return isinstance(comment, str) and comment.endswith(owner_comment(job_id))


def without_owner(comment: str | None) -> str | None:
    """The user's own text in a comment."""
    return comment if comment is None or "job:" not in comment else _OWNER.sub("", comment)
