"""Who a client is, once its credential has been read."""

from dataclasses import dataclass

from ..core.subscription.grant import EVERYTHING, Grant

__all__ = ["ANYBODY", "Identity"]


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """One holder of a credential; equal only to itself.

    `name` is fit for a log. `key_id` is the API key that it stands or falls with, `expires_at` its end in seconds
    since the epoch, None for none. `is_stream_token` is True for a stream
    token, which opens streams and nothing else.
    """

    name: str
    grant: Grant
    key_id: int | None = None
    expires_at: float | None = None
    is_stream_token: bool = False


ANYBODY = Identity("anybody", EVERYTHING)
"""Everyone, where no credentials are asked for."""
