"""`flagent-cdc bench NAME …`: runs a benchmark; they are part of the source, not of the wheel."""

import argparse
import os
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path

from cdc.cli.command import Command, Parser
from cdc.core.errors import InvalidInput

_ROOT = Path(__file__).parent.parent.parent


def add_arguments(parser: Parser) -> None:
    parser.add_argument("name", help="the benchmark, such as cluster, fanout, latency, writer")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="…", help="the benchmark's options")


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """What `python -m bench.NAME` does in a checkout; its exit code."""
    names = _names()
    if not names:
        raise InvalidInput("the benchmarks are not installed; run this from a checkout of the source", name="bench")
    if arguments.name not in names:
        raise InvalidInput(
            f"{arguments.name!r} is not a benchmark; choose from {', '.join(sorted(names))}", name="name"
        )
    # Inherited by the processes that a benchmark starts.
    sys.path.insert(0, str(_ROOT))
    os.environ["PYTHONPATH"] = str(_ROOT)
    sys.argv = [f"bench.{arguments.name}", *arguments.rest]
    try:
        runpy.run_module(f"bench.{arguments.name}", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if isinstance(ended.code, str):
            raise InvalidInput(ended.code, name=arguments.name) from None
        return ended.code or 0
    return 0


def _names() -> set[str]:
    packages = {file.parent.name for file in _ROOT.glob("bench/*/__main__.py")}
    modules = {file.stem for file in _ROOT.glob("bench/*.py") if "__main__" in file.read_text(encoding="utf-8")}
    return packages | modules


COMMAND = Command("Run a benchmark; only from a checkout of the source.", add_arguments, run)
