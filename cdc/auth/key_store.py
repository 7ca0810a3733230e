"""The port to wherever the API keys are kept: the database, or the copy that the relay makes for a tier."""

from collections.abc import Collection, Sequence
from typing import Protocol

from .api_key import ApiKey
from .key_use import KeyUse
from .stream_token import TokenSecret

__all__ = ["KeyStore"]


class KeyStore(Protocol):
    """Where an authenticator reads the API keys and the secrets that sign stream tokens, and records uses.

    Errors are `SourceError`.
    """

    async def keys_version(self) -> str:
        """A text that differs after any change of the API keys or of the secrets of stream tokens."""

    async def keys(self) -> list[ApiKey]:
        """Every API key; one whose scopes this version cannot read grants nothing."""

    async def stream_token_secrets(self) -> Sequence[TokenSecret]:
        """The secret that signs stream tokens, and those that it has replaced; the same for all workers of a server."""

    async def record_use(self, use: KeyUse) -> Collection[int]:
        """Record uses and refusals of keys; the ids of the keys that were never used before, as far as known."""

    def shutdown_socket(self) -> None:
        """Make every call that waits for an answer fail now."""

    async def close(self) -> None: ...
