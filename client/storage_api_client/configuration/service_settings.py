"""Which service is meant, and who asks."""

from __future__ import annotations

import os
from dataclasses import dataclass

from storage_api_client.addresses import checked_url
from storage_api_client.configuration.credentials_file import CredentialsFile, Entry
from storage_api_client.configuration.development import find_development_server
from storage_api_client.configuration.files import ConfigurationError, Profile, read_profile
from storage_api_client.protocol.retries import Anonymous, Credentials
from storage_api_client.sign_in.static_credentials import bearer
from storage_api_client.sign_in.stored_credentials import stored_credentials

_NO_ADDRESS = (
    "Which service? Name it with --url or STORAGE_API_URL, or as url of a profile in config.toml; "
    "or be in a checkout with a running development server."
)


@dataclass(frozen=True)
class ServiceSettings:
    """What was found.

    Attributes:
        entry: what is stored by signing in, for this profile and this address.
    """

    url: str
    profile: Profile
    credentials: Credentials
    entry: Entry | None

    @property
    def ca_file(self) -> str | None:
        """Certificates of authorities to trust, in the place of the system's."""
        return self.profile.ca_file


def find(url: str | None = None, profile: str | None = None) -> ServiceSettings:
    """Return which service is meant, and who asks.

    The address: ``url``, STORAGE_API_URL, the profile's, the development server of this checkout, or where one signed
    in last. Credentials: STORAGE_API_TOKEN, or what signing in stored for this profile and address.

    Raises:
        ConfigurationError: there is no address, or a file is wrong.
    """
    profile_name = profile or os.environ.get("STORAGE_API_PROFILE") or None
    chosen = read_profile(profile_name)
    stored = CredentialsFile()
    configured_url = url or os.environ.get("STORAGE_API_URL") or chosen.url
    address = configured_url or (None if profile_name else find_development_server()) or _last_address(stored, chosen)
    if not address:
        raise ConfigurationError(_NO_ADDRESS)
    try:
        address = checked_url(address)
    except ValueError as error:
        raise ConfigurationError(f"{error}.") from error
    entry = stored.find(chosen.name, address)
    return ServiceSettings(address, chosen, _credentials(entry, stored), entry)


def _last_address(stored: CredentialsFile, profile: Profile) -> str | None:
    entry = stored.find(profile.name)
    return str(entry["url"]) if entry else None


def _credentials(entry: Entry | None, stored: CredentialsFile) -> Credentials:
    if token := os.environ.get("STORAGE_API_TOKEN"):
        return bearer(token)
    return stored_credentials(entry, stored) if entry else Anonymous()
