"""Facts about the settings and this machine."""

import asyncio
import resource
import ssl
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from cryptography import x509

from ..auth.jwks_source import JwksSource
from ..core.diagnosis import CertificateFacts, KeyFacts, MachineFacts
from ..settings.settings import Settings

__all__ = ["read_machine"]


def read_machine(settings: Settings, *, is_exposed: bool, keys: tuple[KeyFacts, ...] | None = None) -> MachineFacts:
    """The facts about settings and machine; `keys` is the result of `read_keys`, None if the database was not read."""
    return MachineFacts(
        host=settings.listen.host,
        is_exposed=is_exposed,
        requires_credentials=settings.auth.is_required,
        is_insecure=settings.listen.insecure,
        verifies_tokens=_verifies_tokens(settings),
        has_audience=settings.auth.jwt_audience is not None,
        allows_any_origin="*" in settings.web.cors_origins,
        workers=settings.listen.workers,
        max_connections=settings.most_streams,
        # The server raises its soft limit to this one.
        descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        certificate=_certificate(settings.listen.tls_cert, settings.listen.tls_key),
        jwks=settings.auth.jwt_jwks,
        jwks_error=None if settings.auth.jwt_jwks is None else _jwks_error(settings.auth.jwt_jwks),
        keys=keys,
    )


def _verifies_tokens(settings: Settings) -> bool:
    sources = (settings.auth.jwt_secret, settings.auth.jwt_public_key, settings.auth.jwt_jwks)
    return any(source is not None for source in sources)


def _certificate(cert: Path | None, key: Path | None) -> CertificateFacts | None:
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        missing = "FLAGENT_CDC_TLS_CERT" if cert is None else "FLAGENT_CDC_TLS_KEY"
        return CertificateFacts(str(cert or key), f"{missing} is missing")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
        ends = x509.load_pem_x509_certificate(cert.read_bytes()).not_valid_after_utc
    except ssl.SSLError as error:
        return CertificateFacts(str(cert), f"{key} does not match it ({error.reason})")
    except (OSError, ValueError) as error:
        return CertificateFacts(str(cert), str(error))
    return CertificateFacts(str(cert), days=(ends - datetime.now(UTC)).total_seconds() / 86_400)


def _jwks_error(place: str) -> str | None:
    try:
        keys = asyncio.run(JwksSource(place).read())
    except (OSError, ValueError, httpx2.HTTPError) as error:
        return str(error) or f"no answer from {urlsplit(place).netloc or place}"
    return None if keys else "it holds no usable key"
