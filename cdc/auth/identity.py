"""The identity of a client, after its credential was verified."""

from dataclasses import dataclass

from ..core.subscription.grant import EVERYTHING, Grant

__all__ = ["ANYBODY", "Identity"]


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """One holder of a credential; equal only to itself.

    `name` may be logged. `key_id` is the API key behind it: revoking that key ends the identity. `expires_at` is in
    seconds since the epoch, None if it does not expire. `is_stream_token` is True for a stream token, which opens
    streams and nothing else; `key_grant` is the grant of its key where the token has a narrower one.
    """

    name: str
    grant: Grant
    key_id: int | None = None
    expires_at: float | None = None
    is_stream_token: bool = False
    key_grant: Grant | None = None


ANYBODY = Identity("anybody", EVERYTHING)
"""Every client, if authentication is off."""
