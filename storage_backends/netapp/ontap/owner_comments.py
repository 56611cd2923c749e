"""Comments of objects that the service creates: the user's text, then the id of the job."""

from __future__ import annotations

import re

MAX_COMMENT_CHARACTERS = 1023
#: The end of a comment: the job that created the object.
_OWNER = re.compile(r"(?:^|\s)job:[\w-]*?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


def owner_comment(job_id: str, text: str = "") -> str:
    """Return the comment with the user's ``text`` and the id of the job that creates the object."""
    return f"{text} job:{job_id}" if text else f"job:{job_id}"


def literal_comment(text: str) -> str:
    """Return a comment that reads as ``text``: an end like ours is repeated, since one is removed."""
    owner = _OWNER.search(text)
    return text if owner is None else f"{text} {owner[0].strip()}"


def fits_beside_owner(job_id: str, text: str) -> bool:
    """Do both fit into a comment?"""
    return len(owner_comment(job_id, text)) <= MAX_COMMENT_CHARACTERS


def is_made_by(comment: object, job_id: str) -> bool:
    """Does the comment contain the id of that job?"""
    return isinstance(comment, str) and comment.endswith(owner_comment(job_id))


def without_owner(comment: str | None) -> str | None:
    """Return the user's text in a comment."""
    return comment if comment is None or "job:" not in comment else _OWNER.sub("", comment)
