"""Runs the demo's writer in a thread until `stop`."""

import threading
from collections.abc import Callable

from cdc.demo.writer import Writer
from cdc.errors import FlagentCdcError, is_retryable

__all__ = ["WriterLoop"]

PAUSE_S = 2.0
"""Pause before it reconnects after the connection to the database was lost."""


class WriterLoop:
    """One `Writer.step` every `interval_s`; `report` receives each line, from the thread."""

    def __init__(self, url: str, *, seed: int, schema: str, interval_s: float, report: Callable[[str], None]) -> None:
        self._url = url
        self._seed = seed
        self._schema = schema
        self._interval_s = interval_s
        self._report = report
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop, and return after the current step; may be called before `start`, and more than once."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                with Writer(self._url, seed=self._seed, schema=self._schema) as writer:
                    while not self._stopped.wait(self._interval_s):
                        self._report(writer.step())
            except FlagentCdcError as error:
                if not is_retryable(error):
                    self._report(f"stopped: {error}")
                    return
                self._report(f"waiting for the database: {error}")
                # The same seed would repeat its first changes on a state that already has them.
                self._seed += 1
                self._stopped.wait(PAUSE_S)
