"""Checks of the API keys of a server that requires credentials."""

from collections.abc import Iterator, Sequence

from .facts import KeyFacts, MachineFacts
from .finding import Finding, Limits, error, note, ok

__all__ = ["check_keys"]

_SHOWN = 10


def check_keys(facts: MachineFacts, limits: Limits) -> Iterator[Finding]:
    keys = facts.keys
    if keys is None:
        yield note("keys", "the API keys were not checked: the database was not read")
        return
    unreadable = [key for key in keys if not key.is_readable]
    if unreadable:
        yield error(
            "keys", f"API keys whose scopes cannot be read are rejected: {_names(unreadable)}", _revoke(unreadable)
        )
    elif not keys and not facts.verifies_tokens:
        yield error("keys", "no API key is valid, so all requests will be rejected", "flagent-cdc keys create NAME")
    else:
        yield ok("keys", f"valid API keys: {len(keys)}")
    yield from _expiry(keys, limits)
    unused = [key for key in keys if key.idle_days > limits.key_idle_days]
    if unused:
        days = f"{limits.key_idle_days:.0f} days"
        yield note("keys_unused", f"API keys were not used for {days}: {_names(unused)}", _revoke(unused))


def _expiry(keys: Sequence[KeyFacts], limits: Limits) -> Iterator[Finding]:
    lasting = [key for key in keys if key.expires_days is None]
    if lasting:
        yield note(
            "keys_never_expire",
            f"API keys never expire: {_names(lasting)}",
            "flagent-cdc keys create NAME --expires-in 365  # in their place, then revoke them",
        )
    ending = [key for key in keys if key.expires_days is not None and key.expires_days < limits.key_expires_days]
    if ending:
        days = f"{limits.key_expires_days:.0f} days"
        yield note(
            "keys_expire_soon",
            f"API keys expire within {days}: {_names(ending)}",
            "flagent-cdc keys create NAME  # and give it to their clients",
        )


def _names(keys: Sequence[KeyFacts]) -> str:
    rest = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(key.prefix for key in keys[:_SHOWN]) + rest


def _revoke(keys: Sequence[KeyFacts]) -> str:
    return " && ".join(f"flagent-cdc keys revoke {key.prefix}" for key in keys[:_SHOWN])
