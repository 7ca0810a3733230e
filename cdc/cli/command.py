"""What a command is, and how its options become settings.

Settings and their formats are imported when an option of theirs is added: it takes longer than all else that a
command's `--help` needs.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from cdc.core.errors import InvalidInput

if TYPE_CHECKING:
    from cdc.settings.settings import Settings
    from cdc.settings.value_formats import ValueFormat

__all__ = ["BAD_INPUT", "Command", "Parser", "database_url", "settings_from"]

BAD_INPUT = 2


class Parser(argparse.ArgumentParser):
    """Reports bad arguments in one sentence instead of repeating the usage."""

    def error(self, message: str) -> NoReturn:
        _, is_unknown, given = message.partition("unrecognized arguments: --")
        hint = _hint("--" + given.split()[0].partition("=")[0], self._option_string_actions) if is_unknown else ""
        # A question ends the sentence.
        end = f" See {self.prog} --help" if f"{message}{hint}".endswith("?") else f"; see {self.prog} --help"
        print(f"{self.prog}: {message}{hint}{end}", file=sys.stderr)
        raise SystemExit(BAD_INPUT)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Reject a value that is no choice, with the choices as a user writes them."""
        if action.choices is not None and value not in action.choices:
            names = [str(each) for each in action.choices]
            hint = _hint(str(value), names)
            raise argparse.ArgumentError(action, f"must be one of {', '.join(names)}; {value!r} is not{hint}")

    def add_setting(self, option: str, name: str, *, repeatable: bool = False) -> None:
        """Add `option`, which takes precedence over the variable of the setting `name` (`section.field`).

        A repeatable option takes one item of a setting that is a list.
        """
        from cdc.settings.settings import variables

        variable = variables()[name]
        words = f"{variable.text} Default: {variable.written or 'unset'} ({variable.name})."
        self.add_argument(
            option,
            dest=f"setting:{name}",
            type=_reader(lambda: variable.format),
            action="extend" if repeatable else "store",
            metavar=option.removeprefix("--").upper().replace("-", "_"),
            help=words.replace("%", "%%"),
        )

    def add_value(self, option: str, name: str, written: str | None, text: str) -> None:
        """Add an option that is not a setting, with the value format `name` of the settings, such as `COUNT`; without a
        default it is None."""

        def format() -> "ValueFormat":
            from cdc.settings import value_formats

            found: ValueFormat = getattr(value_formats, name)
            return found

        default = None if written is None else format().parse(written)
        words = text if written is None else f"{text} (default: {written})"
        self.add_argument(option, type=_reader(format), default=default, help=words)


def _hint(given: str, names: Iterable[str]) -> str:
    from cdc.core.text.suggestion import did_you_mean

    return did_you_mean(given, names)


def _reader(format_of: "Callable[[], ValueFormat]") -> Callable[[str], Any]:
    def read(text: str) -> Any:
        format = format_of()
        try:
            return format.parse(text)
        except ValueError:
            hint = _hint(text.lower(), format.choices)
            raise argparse.ArgumentTypeError(f"must be {format.description}; {text!r} is not{hint}") from None

    return read


class Command(NamedTuple):
    """`run` takes the parsed options and the environment, and returns the exit code.

    It raises `FlagentCdcError` for errors that the user can fix: one sentence on stderr, exit code 2.
    """

    help: str
    add_arguments: Callable[[Parser], None]
    run: Callable[[argparse.Namespace, Mapping[str, str]], int]


def settings_from(arguments: argparse.Namespace, environment: Mapping[str, str]) -> "Settings":
    """The settings of the environment, overridden by the given options."""
    from cdc.database.database_url import read_database_url
    from cdc.settings.settings import Settings

    given: dict[str, Any] = {
        name.removeprefix("setting:"): tuple(value) if isinstance(value, list) else value
        for name, value in vars(arguments).items()
        if name.startswith("setting:") and value is not None
    }
    if "database.url" in given:
        # Checked here, where the option's name is known.
        read_database_url(given["database.url"], name="--database-url")
    return Settings.from_environment(environment).with_values(given)


def database_url(settings: "Settings") -> str:
    """The database's URL; raises `InvalidInput` if none is set."""
    if settings.database.url is None:
        raise InvalidInput(
            "no database: pass --database-url, or set FLAGENT_CDC_DATABASE_URL or FLAGENT_DB_DBCONNECTIONSTR",
            name="--database-url",
            code="missing_database_url",
        )
    return settings.database.url
