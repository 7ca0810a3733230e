"""Checks of the settings in combination, and of the machine that a server would run on."""

from collections.abc import Iterator

from ..descriptors import RESERVED_DESCRIPTORS, connections_within
from .facts import MachineFacts
from .finding import Finding, Limits, error, note, ok
from .keys import check_keys

__all__ = ["check_machine"]

_NEARLY_ENOUGH = 0.9


def check_machine(facts: MachineFacts, limits: Limits) -> Iterator[Finding]:
    yield _exposure(facts)
    if facts.requires_credentials:
        yield from check_keys(facts, limits)
    if facts.jwks is not None:
        yield _jwks(facts.jwks, facts.jwks_error)
    if facts.certificate is not None:
        yield _certificate(facts, limits)
    yield _descriptors(facts)


def _exposure(facts: MachineFacts) -> Finding:
    if facts.is_exposed and not facts.requires_credentials:
        text = f"with these settings everyone who reaches {facts.host} can read every flag"
        if not facts.is_insecure:
            text = f"with these settings the server does not start: others can reach {facts.host} without credentials"
        return error("authentication", text, "export FLAGENT_CDC_AUTH_ENABLED=true && flagent-cdc keys create NAME")
    if facts.verifies_tokens and not facts.has_audience:
        return note(
            "authentication",
            "tokens of any audience are accepted, also those issued for another service",
            "export FLAGENT_CDC_AUTH_JWT_AUDIENCE=…",
        )
    if facts.requires_credentials and facts.allows_any_origin:
        return note("authentication", "pages of any origin may read answers, if they send a credential")
    return ok(
        "authentication",
        "the server requires credentials"
        if facts.requires_credentials
        else f"only this machine can reach {facts.host}",
    )


def _jwks(place: str, reason: str | None) -> Finding:
    if reason is not None:
        return error("jwks", f"the JWK Set at {place} cannot be read: {reason}", f"curl -sS {place}")
    return ok("jwks", f"the JWK Set at {place} can be read")


def _certificate(facts: MachineFacts, limits: Limits) -> Finding:
    certificate = facts.certificate
    assert certificate is not None
    if certificate.error is not None:
        return error(
            "certificate",
            f"the server cannot use TLS with {certificate.path}: {certificate.error}",
            f"openssl x509 -noout -text -in {certificate.path}",
        )
    days = certificate.days
    if days is not None and days < limits.certificate_days:
        text = "has expired" if days < 0 else f"expires in {days:.0f} days"
        return error("certificate", f"the certificate {certificate.path} {text}", "certbot renew")
    return ok("certificate", f"the certificate {certificate.path} is usable")


def _descriptors(facts: MachineFacts) -> Finding:
    """The limits of the settings apply to each worker, and so does the limit of open files."""
    needed = facts.max_connections + RESERVED_DESCRIPTORS
    if facts.descriptors >= needed:
        text = f"{facts.descriptors} files may be open, enough for {facts.max_connections} connections"
        return ok("descriptors", text)
    possible = connections_within(facts.descriptors)
    # Just short of a limit that few reach, it may never matter.
    report = note if possible >= _NEARLY_ENOUGH * facts.max_connections else error
    return report(
        "descriptors",
        f"{facts.descriptors} files may be open at once, while the settings allow {facts.max_connections} connections: "
        f"beyond {possible} the server may have to refuse them",
        f"ulimit -Hn {needed}  # as root; for a service of systemd: LimitNOFILE={needed}",
    )
