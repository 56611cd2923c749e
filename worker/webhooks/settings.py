"""Settings of the delivery of webhooks: ``SAPI_<NAME>``."""

from __future__ import annotations

from pydantic import Field, SecretStr

from worker.config.public_url import PublicUrlSettings


class WebhookSettings(PublicUrlSettings):
    """Receivers, the secret of callbacks, and where links lead; read by workers for webhooks."""

    webhooks_file: str = Field(
        "",
        description="TOML file of the receivers of webhooks; if unset, `webhooks.toml` in `SAPI_SECRETS_DIR`",
    )
    callback_secret: SecretStr = Field(
        SecretStr(""), description="Secret with which callbacks are signed (whsec_…); without one there are none"
    )
