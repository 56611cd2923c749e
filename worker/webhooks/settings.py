"""What configures the delivery of webhooks: ``SAPI_<NAME>``."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from worker.config.secret_files import SecretFiles


class WebhookSettings(SecretFiles):
    """Receivers, and the secret of callbacks; read by workers for webhooks only."""

    model_config = SettingsConfigDict(env_prefix="SAPI_", frozen=True, extra="ignore", hide_input_in_errors=True)

    webhooks_file: str = Field("", description="TOML file with a table for each receiver of webhooks")
    callback_secret: SecretStr = Field(
        SecretStr(""), description="Secret with which callbacks are signed (whsec_…); without one there are none"
    )

    @property
    def is_configured(self) -> bool:
        """Is there anything to send?"""
        return bool(self.webhooks_file or self.callback_secret.get_secret_value())
