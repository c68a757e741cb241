"""What a KATO instance needs beside its address: headers for a gateway, credentials and certificates."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from kato_tasks.domain.instance import Instance
from kato_tasks.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Access:
    """Headers for all instances, credentials (user and password) of single ones by name, and certificate files in PEM.

    None of these values is ever shown; messages tell which instance they mean by its name alone.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    credentials: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    def headers_for(self, instance: Instance) -> dict[str, str]:
        """Return the headers of each request to this instance."""
        found = dict(self.headers)
        user = self.credentials.get(instance.name)
        if instance.user is not None:
            user = (instance.user, instance.password)
        if user is not None:
            found["authorization"] = "Basic " + base64.b64encode(":".join(user).encode()).decode()
        return found

    def tls(self) -> ssl.SSLContext:
        """Return a context with the trusted authorities and our own certificate.

        Raises ConfigurationError, naming the file, if one cannot be used.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
        except (OSError, ValueError) as exc:
            raise ConfigurationError(
                f"KATO_TASKS_KATO_CA_FILE: {self.ca_file} holds no certificates in PEM form ({exc})"
            ) from exc
        if self.cert_file:
            try:
                # OpenSSL would ask for a password at the terminal; a key that has one is refused instead.
                context.load_cert_chain(self.cert_file, self.key_file or None, password=lambda: "")
            except (OSError, ValueError) as exc:
                raise ConfigurationError(
                    f"KATO_TASKS_KATO_CLIENT_CERT_FILE: {self.cert_file} and its key cannot be used ({exc}); both are "
                    "PEM files, and the key has no password"
                ) from exc
        return context
