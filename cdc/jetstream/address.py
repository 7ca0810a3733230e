"""Where NATS is and how to log in there, as the settings say."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from ..errors import InvalidInput
from ..settings.settings import Settings

__all__ = ["NatsAddress"]

_SCHEMES = ("nats", "tls")


@dataclass(frozen=True, slots=True)
class NatsAddress:
    """The servers of one cluster and one way to log in. Nothing secret is in its `str` or `repr`."""

    servers: tuple[str, ...] = field(repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    credentials: Path | None = None
    nkey: Path | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    def __str__(self) -> str:
        """Hosts and ports alone, for people and logs."""
        places = [urlsplit(server) for server in self.servers]
        return ",".join(f"{place.scheme}://{_host(place.hostname)}:{place.port or 4222}" for place in places)

    @classmethod
    def of(cls, settings: Settings, urls: str, *, name: str) -> Self:
        """Read `nats://a:4222,nats://b:4222`; raises `InvalidInput` that names `name` and shows no credential."""
        servers = tuple(url.strip() for url in urls.split(","))
        has_login = [_read(server, name) for server in servers]
        ways = {
            "FLAGENT_CDC_NATS_USER": settings.nats.user,
            "FLAGENT_CDC_NATS_TOKEN": settings.nats.token,
            "FLAGENT_CDC_NATS_CREDENTIALS": settings.nats.credentials,
            "FLAGENT_CDC_NATS_NKEY": settings.nats.nkey,
            f"a login in {name}": True if any(has_login) else None,
        }
        given = [way for way, value in ways.items() if value is not None]
        if len(given) > 1:
            raise InvalidInput(f"more than one way to log in to NATS: {', '.join(given)}; give one", name=name)
        if (settings.nats.user is None) != (settings.nats.password is None):
            raise InvalidInput("FLAGENT_CDC_NATS_USER and FLAGENT_CDC_NATS_PASSWORD belong together", name=name)
        if (settings.nats.tls_cert is None) != (settings.nats.tls_key is None):
            raise InvalidInput("FLAGENT_CDC_NATS_TLS_CERT and FLAGENT_CDC_NATS_TLS_KEY belong together", name=name)
        address = cls(
            servers,
            settings.nats.user,
            settings.nats.password,
            settings.nats.token,
            settings.nats.credentials,
            settings.nats.nkey,
            settings.nats.tls_ca,
            settings.nats.tls_cert,
            settings.nats.tls_key,
        )
        address.tls()
        return address

    def tls(self) -> ssl.SSLContext | None:
        """None where no TLS is asked for; the server may still ask. Raises `InvalidInput` for files it cannot use."""
        if self.tls_ca is None and self.tls_cert is None and not any(s.startswith("tls:") for s in self.servers):
            return None
        try:
            context = ssl.create_default_context(cafile=None if self.tls_ca is None else str(self.tls_ca))
            if self.tls_cert is not None:
                context.load_cert_chain(self.tls_cert, self.tls_key)
        except (OSError, ValueError) as error:
            raise InvalidInput(
                f"FLAGENT_CDC_NATS_TLS_CA, …_CERT or …_KEY cannot be used: {error}", name="FLAGENT_CDC_NATS_TLS_CA"
            ) from error
        return context


def _host(name: str | None) -> str:
    return f"[{name}]" if name and ":" in name else name or "localhost"


def _read(server: str, name: str) -> bool:
    """Whether the URL holds a login."""
    try:
        parts = urlsplit(server)
        is_good = parts.scheme in _SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        is_good = is_good and parts.path in ("", "/") and not parts.query and not parts.fragment
    except ValueError:
        is_good = False
    if not is_good:
        # Not what was written: it may hold a password.
        raise InvalidInput(
            f"{name} must be nats://host:4222 or tls://host:4222, several with commas between them", name=name
        )
    return bool(parts.username or parts.password)
