"""Ten thousand subscribers who are told the same: one payload, one loop, one system call for each."""

import os

from .subscriber import Subscriber

__all__ = ["Crowd"]


class Crowd:
    """The plain subscribers of every flag event in one form.

    `_direct` is keyed by file descriptor. To write to ten thousand sockets, the loop touches ten thousand small
    integers and no other object: against a call of each transport's `write`, 1.0 to 1.3 µs of 6 are saved. Both dicts
    are in the order of connection, and so are the sockets in memory; a set costs a tenth more.
    """

    __slots__ = ("_direct", "_through_sinks")

    def __init__(self) -> None:
        self._direct: dict[int, Subscriber] = {}
        self._through_sinks: dict[Subscriber, None] = {}

    def __len__(self) -> int:
        return len(self._direct) + len(self._through_sinks)

    def add(self, subscriber: Subscriber) -> None:
        """Only while nothing that was written to its sink waits there."""
        descriptor = subscriber.sink.descriptor
        if descriptor is None:
            self._through_sinks[subscriber] = None
        else:
            self._direct[descriptor] = subscriber

    def remove(self, subscriber: Subscriber) -> None:
        descriptor = subscriber.sink.descriptor
        if descriptor is None:
            del self._through_sinks[subscriber]
        else:
            del self._direct[descriptor]

    def write(self, data: bytes) -> None:
        """Write to all; who is added or removed meanwhile breaks the loop."""
        size, write = len(data), os.write
        for descriptor in self._direct:
            try:
                sent = write(descriptor, data)
            except OSError:
                # The socket is full, or broken: its sink finds out which.
                sent = 0
            if sent != size:
                self._direct[descriptor].sink.write(memoryview(data)[sent:])
        for subscriber in self._through_sinks:
            subscriber.sink.write(data)
