"""A live local copy of Flagent's feature flags."""
from ._backoff import ReconnectConfig
__all__ = ["ReconnectConfig"]
