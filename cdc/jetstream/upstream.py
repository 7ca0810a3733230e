"""A node that is fed by JetStream alone, and never touches PostgreSQL."""

import secrets

from ..auth.key_store import KeyStore
from ..core.log.lane import FLAGS, Lane
from ..errors import InvalidInput
from ..settings.settings import Settings
from ..source.upstream import Replica, Source
from .address import NatsAddress
from .api_keys import JetStreamKeys
from .directory import JetStreamDirectory
from .layout import Layout
from .listener import JetStreamListener, StreamTimes
from .log import JetStreamLog
from .log_history import JetStreamLogHistory

__all__ = ["JetStreamUpstream"]


class JetStreamUpstream:
    """The port `Upstream` of a tier. Made before workers are forked, so that they share the secret of stream tokens."""

    def __init__(self, settings: Settings) -> None:
        """Raises `InvalidInput`."""
        if settings.nats.source is None:
            raise InvalidInput("FLAGENT_CDC_SOURCE names no NATS server", name="FLAGENT_CDC_SOURCE")
        self.address = NatsAddress.of(settings, settings.nats.source, name="FLAGENT_CDC_SOURCE")
        self._layout = Layout(settings.nats.stream)
        self._times = StreamTimes(probe_s=settings.listener.probe_interval_s)
        given = settings.auth.stream_token_secret
        self._secret = secrets.token_bytes(32) if given is None else given.encode()

    def open(self, replica: Replica, lane: Lane = FLAGS) -> Source:
        layout = self._layout.of(lane)
        log = JetStreamLog(self.address, layout)
        return Source(log, JetStreamListener(self.address, layout, log, replica, self._times))

    def lanes(self) -> JetStreamDirectory:
        return JetStreamDirectory(self.address, self._layout)

    def table_source(self) -> None:
        """The tables themselves are in PostgreSQL only."""

    def log_history(self, lane: Lane = FLAGS) -> JetStreamLogHistory | None:
        """None for a lane ordered when read: its pages depend on transactions that only PostgreSQL knows."""
        return None if lane.is_polled else JetStreamLogHistory(self.address, self._layout.of(lane))

    def exposure_store(self) -> None:
        """Nodes of this tier never write to the database."""

    def key_store(self) -> KeyStore:
        return JetStreamKeys(self.address, self._layout, self._secret)
