# Generated from ../aio/volumes.py by tools/make_blocking.py: change it there, and run `make client_files`.
"""The volumes of one subsystem, with their snapshots and locks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, overload

from storage_api_client.blocking.executor import Executor
from storage_api_client.blocking.job import Job
from storage_api_client.models import Lock, Snapshot, Volume
from storage_api_client.operations import batches, volumes
from storage_api_client.operations.paths import Where
from storage_api_client.operations.settings import ChangeOptions, CloneSettings, NewVolume, VolumeChanges, split
from storage_api_client.operations.volumes import Fields
from storage_api_client.protocol.batches import run_batch

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from storage_api_client.models.batches import MemberResult


class Volumes:
    """Reads and changes of volumes.

    A volume is named by its name or by ``node:/junction/path``. Each change waits for its end and returns what it led
    to; with ``wait=False`` it returns its job at once.
    """

    def __init__(self, executor: Executor, subsystem: str) -> None:
        self._executor = executor
        self._subsystem = subsystem

    def list(
        self,
        *,
        where: Where = None,
        sort: str | None = None,
        fields: Fields = None,
        limit: int | None = None,
        fresh: bool = False,
    ) -> Iterator[Volume]:
        """Iterate over the volumes, page by page.

        Args:
            where: conditions on fields, as {"name": "db*", "size_used": ">1TB"}.
            sort: fields to sort by, as "-size_used,name".
            fields: the fields that are wanted; the others are then None.
            limit: the most that are wanted.
            fresh: ask the storage system, whatever is cached.
        """
        return self._executor.pages(
            volumes.list_volumes(self._subsystem, where, sort, fields), limit=limit, fresh=fresh
        )

    def get(self, volume: str, *, fresh: bool = False) -> Volume:
        """Return one volume.

        Raises:
            NotFound: there is none of this name.
        """
        return self._executor.read(volumes.get_volume(self._subsystem, volume), fresh=fresh)

    @overload
    def create(self, volume: str, *, wait: Literal[True] = True, **settings: Unpack[NewVolume]) -> Volume: ...
    @overload
    def create(self, volume: str, *, wait: Literal[False], **settings: Unpack[NewVolume]) -> Job[Volume]: ...
    def create(self, volume: str, *, wait: bool = True, **settings: Any) -> Any:
        """Create a volume; ``settings`` are its fields, sizes in bytes or as "10GiB"."""
        body, _ = split(settings)
        return self._executor.change(volumes.create_volume(self._subsystem, volume, body), settings, wait=wait)

    @overload
    def clone(
        self,
        volume: str,
        from_volume: str,
        from_snapshot: str,
        *,
        wait: Literal[True] = True,
        **settings: Unpack[CloneSettings],
    ) -> Volume: ...
    @overload
    def clone(
        self,
        volume: str,
        from_volume: str,
        from_snapshot: str,
        *,
        wait: Literal[False],
        **settings: Unpack[CloneSettings],
    ) -> Job[Volume]: ...
    def clone(self, volume: str, from_volume: str, from_snapshot: str, *, wait: bool = True, **settings: Any) -> Any:
        """Create a volume as an independent copy of another's snapshot."""
        body, _ = split(settings)
        change = volumes.clone_volume(self._subsystem, volume, from_volume, from_snapshot, body)
        return self._executor.change(change, settings, wait=wait)

    @overload
    def roll_back(
        self, volume: str, to: str, *, wait: Literal[True] = True, **options: Unpack[ChangeOptions]
    ) -> Volume: ...
    @overload
    def roll_back(
        self, volume: str, to: str, *, wait: Literal[False], **options: Unpack[ChangeOptions]
    ) -> Job[Volume]: ...
    def roll_back(self, volume: str, to: str, *, wait: bool = True, **options: Any) -> Any:
        """Make a volume what it was when the snapshot ``to`` was made; later snapshots go."""
        return self._executor.change(volumes.roll_back_volume(self._subsystem, volume, to), options, wait=wait)

    @overload
    def update(self, volume: str, *, wait: Literal[True] = True, **changes: Unpack[VolumeChanges]) -> Volume: ...
    @overload
    def update(self, volume: str, *, wait: Literal[False], **changes: Unpack[VolumeChanges]) -> Job[Volume]: ...
    def update(self, volume: str, *, wait: bool = True, **changes: Any) -> Any:
        """Change a volume's settings."""
        body, _ = split(changes)
        return self._executor.change(volumes.update_volume(self._subsystem, volume, body), changes, wait=wait)

    @overload
    def restrict(self, volume: str, *, wait: Literal[True] = True, **options: Unpack[ChangeOptions]) -> None: ...
    @overload
    def restrict(self, volume: str, *, wait: Literal[False], **options: Unpack[ChangeOptions]) -> Job[None]: ...
    def restrict(self, volume: str, *, wait: bool = True, **options: Any) -> Any:
        """Take a volume out of service: unmounted and offline, with its data kept."""
        return self._executor.change(volumes.restrict_volume(self._subsystem, volume), options, wait=wait)

    def restricted(
        self, *, where: Where = None, sort: str | None = None, fields: Fields = None, limit: int | None = None
    ) -> Iterator[Volume]:
        """Iterate over the volumes that were taken out of service."""
        return self._executor.pages(volumes.list_restricted_volumes(self._subsystem, where, sort, fields), limit=limit)

    @overload
    def reinstate(
        self,
        volume: str,
        junction_path: str | None = None,
        *,
        wait: Literal[True] = True,
        **options: Unpack[ChangeOptions],
    ) -> Volume: ...
    @overload
    def reinstate(
        self, volume: str, junction_path: str | None = None, *, wait: Literal[False], **options: Unpack[ChangeOptions]
    ) -> Job[Volume]: ...
    def reinstate(self, volume: str, junction_path: str | None = None, *, wait: bool = True, **options: Any) -> Any:
        """Bring a restricted volume back: online, and mounted at ``junction_path`` (default: ``/<name>``)."""
        change = volumes.reinstate_volume(self._subsystem, volume, junction_path)
        return self._executor.change(change, options, wait=wait)

    def snapshots(
        self,
        volume: str,
        *,
        where: Where = None,
        sort: str | None = None,
        fields: Fields = None,
        limit: int | None = None,
        fresh: bool = False,
    ) -> Iterator[Snapshot]:
        """Iterate over a volume's snapshots; arguments as of ``list``."""
        what = volumes.list_snapshots(self._subsystem, volume, where, sort, fields)
        return self._executor.pages(what, limit=limit, fresh=fresh)

    def get_snapshot(self, volume: str, name: str, *, fresh: bool = False) -> Snapshot:
        """Return one snapshot.

        Raises:
            NotFound: there is none of this name.
        """
        return self._executor.read(volumes.get_snapshot(self._subsystem, volume, name), fresh=fresh)

    @overload
    def snapshot(
        self,
        volume: str,
        name: str,
        *,
        purge_old_if_needed: bool = False,
        wait: Literal[True] = True,
        **options: Unpack[ChangeOptions],
    ) -> Snapshot: ...
    @overload
    def snapshot(
        self,
        volume: str,
        name: str,
        *,
        purge_old_if_needed: bool = False,
        wait: Literal[False],
        **options: Unpack[ChangeOptions],
    ) -> Job[Snapshot]: ...
    def snapshot(
        self, volume: str, name: str, *, purge_old_if_needed: bool = False, wait: bool = True, **options: Any
    ) -> Any:
        """Make a snapshot; where the limit is reached, the oldest one goes first if ``purge_old_if_needed``."""
        change = volumes.create_snapshot(self._subsystem, volume, name, purge_old_if_needed=purge_old_if_needed)
        return self._executor.change(change, options, wait=wait)

    def snapshot_each(
        self,
        name: str,
        *,
        where: Where,
        purge_old_if_needed: bool = False,
        on_failure: str = "continue",
        **options: Unpack[ChangeOptions],
    ) -> tuple[MemberResult, ...]:
        """Make a snapshot of each volume that meets conditions, in one batch, and return what became of each.

        Raises:
            Refused: no volume meets them.
            BatchFailed: not all succeeded.
        """
        template = volumes.create_snapshot(self._subsystem, batches.EACH, name, purge_old_if_needed=purge_old_if_needed)
        order = {**batches.for_each(self._subsystem, where, template), "on_failure": on_failure}
        flow = run_batch(self._executor.context, batches.create_batch(order), self._executor.options(options))
        return self._executor.run(flow)

    @overload
    def delete_snapshot(
        self, volume: str, name: str, *, wait: Literal[True] = True, **options: Unpack[ChangeOptions]
    ) -> None: ...
    @overload
    def delete_snapshot(
        self, volume: str, name: str, *, wait: Literal[False], **options: Unpack[ChangeOptions]
    ) -> Job[None]: ...
    def delete_snapshot(self, volume: str, name: str, *, wait: bool = True, **options: Any) -> Any:
        """Delete a snapshot."""
        return self._executor.change(volumes.delete_snapshot(self._subsystem, volume, name), options, wait=wait)

    def locks(self, volume: str, *, fresh: bool = False) -> Iterator[Lock]:
        """Iterate over the hosts that hold locks on a volume."""
        return self._executor.pages(volumes.list_locks(self._subsystem, volume), fresh=fresh)

    @overload
    def lock(self, volume: str, host: str, *, wait: Literal[True] = True, **options: Unpack[ChangeOptions]) -> Lock: ...
    @overload
    def lock(self, volume: str, host: str, *, wait: Literal[False], **options: Unpack[ChangeOptions]) -> Job[Lock]: ...
    def lock(self, volume: str, host: str, *, wait: bool = True, **options: Any) -> Any:
        """Give a host the lock on a volume."""
        return self._executor.change(volumes.create_lock(self._subsystem, volume, host), options, wait=wait)

    @overload
    def unlock(
        self, volume: str, host: str, *, wait: Literal[True] = True, **options: Unpack[ChangeOptions]
    ) -> None: ...
    @overload
    def unlock(
        self, volume: str, host: str, *, wait: Literal[False], **options: Unpack[ChangeOptions]
    ) -> Job[None]: ...
    def unlock(self, volume: str, host: str, *, wait: bool = True, **options: Any) -> Any:
        """Take the lock on a volume from a host."""
        return self._executor.change(volumes.remove_lock(self._subsystem, volume, host), options, wait=wait)
