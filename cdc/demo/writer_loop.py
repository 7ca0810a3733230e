"""Keeps the demo's writer writing, in a thread of its own, until it is told to stop."""

import threading
from collections.abc import Callable

from cdc.demo.writer import Writer
from cdc.errors import FlagentCdcError, is_retryable

__all__ = ["WriterLoop"]

PAUSE_S = 2.0
"""How long it waits before it comes back to a database that went away."""


class WriterLoop:
    """One `Writer.step` every `interval_s`; `tell` gets each line, from the thread."""

    def __init__(self, url: str, *, seed: int, schema: str, interval_s: float, tell: Callable[[str], None]) -> None:
        self._url = url
        self._seed = seed
        self._schema = schema
        self._interval_s = interval_s
        self._tell = tell
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when the writer has finished what it was at; may be called before `start`, and again."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                with Writer(self._url, seed=self._seed, schema=self._schema) as writer:
                    while not self._stopped.wait(self._interval_s):
                        self._tell(writer.step())
            except FlagentCdcError as error:
                if not is_retryable(error):
                    self._tell(f"the writer has stopped: {error}")
                    return
                self._tell(f"the writer waits for its database: {error}")
                # With the same seed it would repeat its first deeds on a state that has them already.
                self._seed += 1
                self._stopped.wait(PAUSE_S)
