"""What a command is, and how its options become settings."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from cdc.settings import Settings, variables_by_field

__all__ = ["BAD_INPUT", "Command", "Parser", "settings_from"]

BAD_INPUT = 2


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence instead of repeating the usage."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(BAD_INPUT)

    def add_setting(self, option: str, name: str, *, repeatable: bool = False) -> None:
        """Add `option`, which wins over the variable of the setting `name`; both are written in the same form.

        A repeatable option takes one item of a setting that is a list.
        """
        variable = variables_by_field()[name]

        def parse(text: str) -> Any:
            try:
                return variable.form.parse(text)
            except ValueError:
                shown = "this value" if variable.secret else repr(text)
                raise argparse.ArgumentTypeError(f"must be {variable.form.form}; {shown} is not") from None

        words = f"{variable.text} Default: {variable.written or 'unset'} ({variable.name})."
        self.add_argument(
            option,
            dest=f"setting:{name}",
            type=parse,
            action="extend" if repeatable else "store",
            metavar=option.removeprefix("--").upper().replace("-", "_"),
            help=words.replace("%", "%%"),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """`run` gets the parsed options and the environment, and returns the exit code.

    It raises `FlagentCdcError` for what the user can mend: one sentence on stderr, exit code 2.
    """

    help: str
    add_arguments: Callable[[Parser], None]
    run: Callable[[argparse.Namespace, Mapping[str, str]], int]


def settings_from(arguments: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
    """The settings of the environment, with the options that were given in their place."""
    given: dict[str, Any] = {
        name.removeprefix("setting:"): tuple(value) if isinstance(value, list) else value
        for name, value in vars(arguments).items()
        if name.startswith("setting:") and value is not None
    }
    return dataclasses.replace(Settings.from_environment(environment), **given)
