"""Settings of the delivery of webhooks: ``SAPI_<NAME>``."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from worker.config.secret_files import SecretFiles


class WebhookSettings(SecretFiles):
    """Receivers, and the secret of callbacks; read by workers for webhooks only."""

    model_config = SettingsConfigDict(env_prefix="SAPI_", frozen=True, extra="ignore", hide_input_in_errors=True)

    webhooks_file: str = Field(
        "",
        description="TOML file of the receivers of webhooks; if unset, `webhooks.toml` in `SAPI_SECRETS_DIR`",
    )
    callback_secret: SecretStr = Field(
        SecretStr(""), description="Secret with which callbacks are signed (whsec_…); without one there are none"
    )
