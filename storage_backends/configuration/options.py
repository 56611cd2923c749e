"""The options of each driver: names, types and defaults, without importing any vendor's library.

A driver is constructed as ``Driver(options, name=subsystem)``; the name of the subsystem is not an option.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from storage_backends.configuration.secret import Secret

#: The types of options' values.
OptionValue = str | int | float | bool | Secret

MAX_VOLUMES = 200_000
MAX_PORT = 65_535


def _stripped(value: Any) -> Any:
    """Strip white space at the ends of a text, but not of a secret, where it is significant."""
    return value.strip() if isinstance(value, str) else value


def _no_flag(value: Any) -> Any:
    """Refuse true and false where a number is expected: pydantic would read them as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic takes ValueErrors
    return _stripped(value)


def _secret(value: Any) -> Any:
    return Secret(value) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_stripped)]
Seconds = Annotated[float, BeforeValidator(_no_flag), Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, BeforeValidator(_no_flag)]
SecretText = Annotated[Secret, BeforeValidator(_secret)]


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)


class DummyOptions(_Options):
    """The options of ``DummyStorage``."""

    volumes: Annotated[int | str, BeforeValidator(_no_flag)] = Field(
        12,
        union_mode="left_to_right",
        description="How many volumes to make up when its state is new (0 to 200,000), or the path of a JSON list of"
        " records.",
    )
    list_latency_s: Seconds = Field(
        0.0, description="How long a full listing of volumes takes, in seconds, spread over its pages."
    )
    latency_s: Seconds = Field(0.0, description="How long any other call takes, in seconds.")
    snapshot_limit: Count = Field(255, ge=0, description="How many snapshots one volume can have.")
    state_dir: Text = Field("", description="The folder of its state; empty: SAPI_STATE_DIR, or ``.dev/state``.")
    away_file: Text = Field(
        "",
        description="The path of a file; while that exists, every call is refused with ``BackendUnavailable`` before"
        " anything is done.",
    )

    @model_validator(mode="after")
    def _check_volumes(self) -> Self:
        if isinstance(self.volumes, int) and not 0 <= self.volumes <= MAX_VOLUMES:
            raise ValueError(f"volumes must be 0 to {MAX_VOLUMES}, or the path of a JSON file")
        if isinstance(self.volumes, str) and not Path(self.volumes).is_file():
            raise ValueError("volumes must be a whole number or the path of a JSON file that is there")
        return self


class NetappOptions(_Options):
    """The options of ``NetappStorage``."""

    username: Text = Field(description="The account that signs in to ONTAP's REST interface.")
    password: SecretText = Field(description="Its password; one in a file is read again whenever the file is replaced.")
    vserver: Text = Field(description="The storage virtual machine (SVM) whose volumes these are.")
    hostname: Text = Field("", description="The management host; empty: the vserver's name.")
    port: Count = Field(443, ge=1, le=MAX_PORT, description="The port there.")
    scheme: Annotated[Literal["https", "http"], BeforeValidator(_stripped)] = Field(
        "https", description="``https``, or ``http`` for a simulator."
    )
    verify: Annotated[bool | str, BeforeValidator(_stripped)] = Field(
        True,
        union_mode="left_to_right",
        description="Check the filer's certificate; or the path of the authorities' certificates to check it with.",
    )
    timeout_s: Annotated[float, BeforeValidator(_no_flag)] = Field(
        30.0, gt=0, allow_inf_nan=False, description="How long one HTTP request may take, in seconds."
    )
    max_connections: Count = Field(8, gt=0, description="How many requests one process has under way at a time.")
    fields: Text = Field(
        "", description="Names of volume fields to leave out of queries on old releases, comma separated."
    )

    @model_validator(mode="after")
    def _check_account(self) -> Self:
        for name, value in (
            ("username", self.username),
            ("password", self.password.current()),
            ("vserver", self.vserver),
        ):
            if not value:
                raise ValueError(f"{name} must not be empty")
        return self


Options = DummyOptions | NetappOptions

#: The options of each driver, by its class name.
OPTIONS: dict[str, type[Options]] = {"DummyStorage": DummyOptions, "NetappStorage": NetappOptions}


def build(driver: str, values: Mapping[str, OptionValue]) -> Options:
    """Return the driver's options.

    Raises:
        ValueError: one is missing, unknown or impossible; the message is one line and never holds a value.
    """
    fields = OPTIONS[driver].model_fields
    if values.keys() - fields.keys():
        raise ValueError(f"an option is not known; {driver} takes {', '.join(fields)}")
    try:
        return OPTIONS[driver].model_validate(dict(values))
    except ValidationError as error:
        raise ValueError("; ".join(dict.fromkeys(map(_problem, error.errors(include_input=False))))) from None


def _problem(error: Any) -> str:
    """Return the option and the message of one of pydantic's errors, which contains no value here."""
    message = error["msg"].removeprefix("Value error, ")
    return f"{error['loc'][0]}: {message}" if error["loc"] else message
