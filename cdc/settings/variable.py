"""The environment variable of a setting: its name, the format of its value, its default, its sentence in the manual."""

from dataclasses import dataclass, field
from typing import Any

from ..core.errors import InvalidInput
from ..core.text.suggestion import did_you_mean
from .value_formats import ValueFormat

__all__ = ["Variable", "optional", "setting"]


@dataclass(frozen=True, slots=True)
class Variable:
    """The variable of a field: `written` is its default as a user would write it; a `secret` value is never shown."""

    name: str
    format: ValueFormat
    written: str
    text: str
    secret: bool = False

    def read(self, text: str) -> Any:
        """Parse `text`; raises `InvalidInput` that names the variable, the value and the allowed format."""
        try:
            return self.format.parse(text)
        except ValueError as error:
            shown = "this value" if self.secret else repr(text)
            hint = "" if self.secret else did_you_mean(text.lower(), self.format.choices)
            raise InvalidInput(
                f"{self.name} must be {self.format.description}; {shown} is not{hint}",
                name=self.name,
                code="invalid_setting",
            ) from error


def setting(name: str, format: ValueFormat, written: str, text: str) -> Any:
    """A field whose default is `written`, parsed."""
    return field(default=format.parse(written), metadata={"variable": Variable(name, format, written, text)})


def optional(name: str, format: ValueFormat, text: str, *, default: Any = None, secret: bool = False) -> Any:
    """A field that has the value `default` if the variable is unset: None, or an empty tuple for a list."""
    return field(default=default, repr=not secret, metadata={"variable": Variable(name, format, "", text, secret)})
