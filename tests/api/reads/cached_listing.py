"""A listing that is cached."""

from __future__ import annotations


def listed(service):
    """Have the volumes listed."""
    assert service.get().status_code == 202
    assert service.run_all() == 1
