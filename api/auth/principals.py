"""Principals: the sender of a request (by session, bearer token, password, or anonymous) with its roles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from api.auth.settings import AuthSettings
from worker.catalog.operations import Role

How = Literal["session", "bearer", "basic", "anonymous"]
EVERY_ROLE = frozenset(Role)
#: In a list of groups, ``sub:<id>`` is the one account with that id (a machine's, mostly) and never a group.
_SUBJECT = "sub:"


@dataclass(frozen=True, slots=True)
class Principal:
    """The sender of a request. Roles are distinct: none contains another."""

    #: Empty for an anonymous client.
    name: str = ""
    roles: frozenset[Role] = frozenset()
    method: How = "anonymous"
    #: An id that does not change with the name: issuer and `sub`, or the way of signing in.
    id: str = ""

    @property
    def owner(self) -> str:
        """The owner of their jobs: the id, since names may be chosen by users and need not be unique."""
        return self.id or self.name

    @property
    def signed_in(self) -> bool:
        """Is the client not anonymous?"""
        return self.method != "anonymous"


@dataclass(frozen=True, slots=True)
class Identity:
    """A user as a provider describes them."""

    name: str
    subject: str = ""
    groups: tuple[str, ...] = field(default=())
    issuer: str = ""

    @property
    def id(self) -> str:
        """An id that does not change with the name; the name where the provider sends no `sub`."""
        return f"{self.issuer} {self.subject}" if self.subject else f"name {self.name}"


class RoleMapping:
    """Which roles exist, and who has them."""

    def __init__(self, settings: AuthSettings) -> None:
        self._groups_of = settings.groups_of
        self._debug = settings.debug
        self._basic = frozenset(settings.basic_auth_roles)

    def exists(self, role: Role) -> bool:
        """Does a role that is given to groups exist? One without groups does not, except in debug mode."""
        return bool(self._groups_of[role]) or self._debug

    def groups(self, role: Role) -> tuple[str, ...]:
        """The groups whose members have ``role``."""
        return self._groups_of[role]

    def anonymous_roles(self) -> frozenset[Role]:
        """The roles of anonymous clients, which all others have as well."""
        return frozenset() if self._groups_of[Role.USER] else frozenset({Role.USER})

    def of_identity(self, identity: Identity) -> frozenset[Role]:
        """The roles of a user of the provider."""
        groups = {group for group in identity.groups if not group.startswith(_SUBJECT)}
        if identity.subject:
            groups.add(_SUBJECT + identity.subject)
        return self.anonymous_roles() | self._roles_of_groups(groups)

    def of_basic(self) -> frozenset[Role]:
        """The roles of the one user of HTTP Basic."""
        return self.anonymous_roles() | {role for role in self._basic if self.exists(role)}

    def _roles_of_groups(self, user_groups: Iterable[str]) -> frozenset[Role]:
        user_groups = frozenset(user_groups)
        return frozenset(role for role, groups in self._groups_of.items() if user_groups & frozenset(groups))
