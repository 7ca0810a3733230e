"""The command line: `flagent-cdc COMMAND`.

Each entry of `SUMMARIES` is a module of this package (with `_` for `-`) that defines `COMMAND`. Only the module that is
asked for gets imported, and it imports late what `--help` does not need.
"""

import importlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from cdc.cli.command import BAD_INPUT, Command, Parser
from cdc.core.errors import FlagentCdcError

__all__ = ["SUMMARIES", "main"]

INTERRUPTED = 130

# What the overview shows: to ask the commands themselves would import everything that any of them needs.
SUMMARIES = {
    "bench": "Run a benchmark; only from a checkout of the source.",
    "demo": "Run the server on an embedded PostgreSQL with about thirty flags that change every second.",
    "doctor": "Check for known problems and print the fix for each.",
    "keys": "Create, list and revoke API keys, and read their audit log.",
    "migrate": "Install into a database with Flagent's tables, or upgrade; safe to repeat.",
    "prune": "Delete the oldest commits of the change log, by age and by size, as servers do by themselves.",
    "relay": "Copy the change log to NATS JetStream, for servers that read from there.",
    "serve": "Run the server on a database, on NATS, or on an embedded PostgreSQL if none is given.",
    "tail": "Show the stream of a server, live.",
    "torture": "Fault-injection test: verify that nothing is lost, invented, repeated or reordered. Uses a new schema,"
    " which subscribers of the same database see while it runs.",
    "uninstall": "Remove triggers, functions and the change log from a database.",
    "unwatch": "Stop capturing a table; the change log keeps its past changes.",
    "watch": "Watch a table, or list the watched tables.",
}


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 for bad input, 130 for Ctrl-C, or the command's own."""
    if arguments is None:
        arguments = sys.argv[1:]
        # A service manager's SIGTERM ends a command as Ctrl-C does: what it started is stopped and cleaned up.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        sys.unraisablehook = _interrupt_again
    # A terminal or pipe that cannot show a character gets a question mark, never a traceback.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        code = _run(arguments, os.environ if environment is None else environment)
        sys.stdout.flush()
        return code
    except FlagentCdcError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); what Python still flushes at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _interrupt_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Python drops what is raised in a destructor or a weak reference's callback: there, Ctrl-C would do nothing."""
    if not isinstance(unraisable.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    import threading

    # A moment later: here it would be dropped too.
    again = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM))
    again.daemon = True
    again.start()


def _run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0 if arguments else BAD_INPUT
    if arguments[0] in ("--version", "-V"):
        from importlib.metadata import version

        print(f"flagent-cdc {version('flagent-cdc')}")
        return 0
    name = arguments[0]
    if name.startswith("-"):
        return _refuse(f"{name} is not an option here; see flagent-cdc --help")
    command = _find(name)
    if command is None:
        from cdc.core.text.suggestion import did_you_mean

        return _refuse(f"{name!r} is not a command{did_you_mean(name, SUMMARIES) or '; see flagent-cdc --help'}")
    parser = Parser(prog=f"flagent-cdc {name}", description=command.help)
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments[1:]), environment)


def _find(name: str) -> Command | None:
    if name not in SUMMARIES:
        return None
    found = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").COMMAND
    assert isinstance(found, Command)
    return found


def _overview() -> str:
    width = max(map(len, SUMMARIES))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in SUMMARIES.items()]
    return "\n".join(
        [
            "usage: flagent-cdc COMMAND [OPTION ...]",
            "",
            *lines,
            "",
            "flagent-cdc COMMAND --help shows a command's options.",
        ]
    )


def _refuse(sentence: str) -> int:
    print(f"flagent-cdc: {sentence}", file=sys.stderr)
    return BAD_INPUT
