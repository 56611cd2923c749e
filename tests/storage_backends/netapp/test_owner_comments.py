"""Comments that say which job made an object."""

from __future__ import annotations

import pytest

from storage_backends.netapp.ontap.owner_comments import (
    fits_beside_owner,
    is_made_by,
    literal_comment,
    owner_comment,
    without_owner,
)

JOB = "01a21bdf-3dfc-7b28-ade2-a41bf9ec12c8"
ANOTHER = "01a21bdf-3dfa-79ba-b2c2-2c6c4556217f"


@pytest.mark.parametrize(
    ("comment", "is_made"),
    [
        (owner_comment(JOB), True),
        (owner_comment(JOB, "of the db team"), True),
        (owner_comment(ANOTHER, f"copied from job:{JOB}"), False),
        (f"job:{JOB} and more", False),
        (JOB, False),
        ("", False),
        (None, False),
    ],
)
def test_only_the_end_of_a_comment_says_who_made_it(comment: str | None, is_made: bool) -> None:
    assert is_made_by(comment, JOB) is is_made


@pytest.mark.parametrize("text", ["", "of the db team", f"copied from job:{ANOTHER} or so"])
def test_users_see_their_own_text_alone(text: str) -> None:
    assert without_owner(owner_comment(JOB, text)) == text
    assert without_owner(text) == text


@pytest.mark.parametrize("text", ["", "of the db team", f"copied by job:{ANOTHER}", f"job:{ANOTHER}"])
def test_a_text_that_ends_like_ours_is_read_unchanged(text: str) -> None:
    assert without_owner(literal_comment(text)) == text


def test_similar_texts_are_unchanged() -> None:
    assert without_owner(f"myjob:{ANOTHER}") == f"myjob:{ANOTHER}"
    assert without_owner(None) is None


def test_both_fit_into_a_comment() -> None:
    longest = 1023 - len(f" job:{JOB}")
    assert fits_beside_owner(JOB, "x" * longest)
    assert not fits_beside_owner(JOB, "x" * (longest + 1))
