"""The demo's writer in its thread: it reports each change, stops when asked, and reports why it cannot write."""

import threading

import pytest

from cdc.demo.writer import Writer
from cdc.demo.writer_loop import WriterLoop


@pytest.mark.usefixtures("flagent_url")
def test_the_loop_tells_what_it_does_until_it_is_stopped(flagent_url: str) -> None:
    with Writer(flagent_url, seed=1) as writer:
        writer.fill()
    told: list[str] = []
    three = threading.Event()

    def tell(line: str) -> None:
        told.append(line)
        if len(told) == 3:
            three.set()

    loop = WriterLoop(flagent_url, seed=1, schema="public", interval_s=0.001, report=tell)
    loop.start()
    assert three.wait(20)
    loop.stop()
    count = len(told)
    loop.stop()
    assert len(told) == count


def test_the_loop_says_why_it_cannot_go_on() -> None:
    told: list[str] = []
    said = threading.Event()

    def tell(line: str) -> None:
        told.append(line)
        said.set()

    loop = WriterLoop("postgresql://ann:secret@127.0.0.1:1/d", seed=1, schema="public", interval_s=0.001, report=tell)
    loop.start()
    assert said.wait(20)
    loop.stop()
    assert told[0].startswith("the writer waits for its database: postgresql://ann@127.0.0.1:1/d cannot be reached")
