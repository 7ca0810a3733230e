"""The demo's writer in its thread: it reports each change, stops when asked, and reports why it cannot write."""

import threading

import pytest

from cdc.demo.writer import Writer
from cdc.demo.writer_loop import WriterLoop


@pytest.mark.usefixtures("flagent_url")
def test_the_loop_reports_each_change_until_it_is_stopped(flagent_url: str) -> None:
    with Writer(flagent_url, seed=1) as writer:
        writer.fill()
    lines: list[str] = []
    three = threading.Event()

    def report(line: str) -> None:
        lines.append(line)
        if len(lines) == 3:
            three.set()

    loop = WriterLoop(flagent_url, seed=1, schema="public", interval_s=0.001, report=report)
    loop.start()
    assert three.wait(20)
    loop.stop()
    count = len(lines)
    loop.stop()
    assert len(lines) == count


def test_the_loop_reports_why_it_cannot_write() -> None:
    lines: list[str] = []
    reported = threading.Event()

    def report(line: str) -> None:
        lines.append(line)
        reported.set()

    loop = WriterLoop("postgresql://ann:secret@127.0.0.1:1/d", seed=1, schema="public", interval_s=0.001, report=report)
    loop.start()
    assert reported.wait(20)
    loop.stop()
    assert lines[0].startswith("waiting for the database: postgresql://ann@127.0.0.1:1/d cannot be reached")
