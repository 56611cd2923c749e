"""What each driver can be told, as light data: names, types and defaults, without importing any vendor's library.

A driver is constructed as ``Driver(options, name=subsystem)``; the name of the subsystem is not an option.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class DummyOptions:
    """What a ``DummyStorage`` can be told."""

    #: How many volumes to make up when its state is new (0 to 200,000), or the path of a JSON list of records.
    volumes: int | str = 12
    #: How long a full listing of volumes takes, in seconds, spread over its pages.
    list_latency_s: float = 0.0
    #: How long any other call takes, in seconds.
    latency_s: float = 0.0
    #: How many snapshots one volume can have.
    snapshot_limit: int = 255
    #: The folder of its state; empty: SAPI_STATE_DIR, or ``.dev/state``.
    state_dir: str = ""
    #: The path of a file; while that exists, every call is refused with ``BackendUnavailable`` before anything is done.
    away_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetappOptions:
    """What a ``NetappStorage`` can be told."""

    username: str
    password: str = field(repr=False)
    vserver: str
    #: The management host; empty: the vserver's name.
    hostname: str = ""
    port: int = 443
    scheme: str = "https"
    #: Check the filer's certificate; or the path of the authorities' certificates to check it with.
    verify: bool | str = True
    #: How long one HTTP request may take, in seconds.
    timeout_s: float = 30.0
    #: How many requests one process has under way at a time.
    max_connections: int = 8
    #: Names of volume fields to leave out of queries on old releases, comma separated.
    fields: str = ""


Options = DummyOptions | NetappOptions
