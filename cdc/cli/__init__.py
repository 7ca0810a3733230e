"""The command line: `flagent-cdc COMMAND`.

Each module of this package that defines `COMMAND` is a command of the same name (with `-` for `_`), so adding a
command is adding a file. Only the module that is asked for gets imported; the overview imports them all.
"""

import importlib
import importlib.metadata
import os
import pkgutil
import signal
import sys
from collections.abc import Mapping, Sequence

from cdc.cli.command import BAD_INPUT, Command, Parser
from cdc.core.errors import FlagentCdcError
from cdc.core.text.suggestion import did_you_mean

__all__ = ["main"]

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 for bad input, 130 for Ctrl-C, or the command's own."""
    if arguments is None:
        arguments = sys.argv[1:]
        # A service manager's SIGTERM ends a command as Ctrl-C does: what it started is stopped and cleaned up.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
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


def _run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0 if arguments else BAD_INPUT
    if arguments[0] in ("--version", "-V"):
        print(f"flagent-cdc {importlib.metadata.version('flagent-cdc')}")
        return 0
    name = arguments[0]
    if name.startswith("-"):
        return _refuse(f"{name} is not an option here; see flagent-cdc --help")
    command = _find(name)
    if command is None:
        return _refuse(f"{name!r} is not a command{did_you_mean(name, _names()) or '; see flagent-cdc --help'}")
    parser = Parser(prog=f"flagent-cdc {name}", description=command.help)
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments[1:]), environment)


def _modules() -> dict[str, str]:
    return {each.name.replace("_", "-"): f"{__name__}.{each.name}" for each in pkgutil.iter_modules(__path__)}


def _find(name: str) -> Command | None:
    module = _modules().get(name)
    found = module and getattr(importlib.import_module(module), "COMMAND", None)
    return found if isinstance(found, Command) else None


def _names() -> list[str]:
    return [name for name in _modules() if _find(name)]


def _overview() -> str:
    commands = {name: command for name in _modules() if (command := _find(name))}
    width = max(map(len, commands), default=0)
    lines = [f"  {name:<{width}}  {command.help}" for name, command in commands.items()]
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
