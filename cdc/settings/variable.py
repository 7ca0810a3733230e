"""The environment variable of a setting: its name, the format of its value, its default, its sentence in the manual."""

from dataclasses import dataclass, field
from typing import Any

from ..core.errors import InvalidInput
from .value_formats import ValueFormat

__all__ = ["Variable", "optional", "setting"]


@dataclass(frozen=True, slots=True)
class Variable:
    """Where a field comes from: `written` is its default as a user would write it, a `secret` value is never shown."""

    name: str
    form: ValueFormat
    written: str
    text: str
    secret: bool = False

    def read(self, text: str) -> Any:
        """Parse the value in `text`; raises `InvalidInput` that names the variable, the value and the allowed form."""
        try:
            return self.form.parse(text)
        except ValueError as error:
            shown = "this value" if self.secret else repr(text)
            raise InvalidInput(
                f"{self.name} must be {self.form.form}; {shown} is not", name=self.name, code="invalid_setting"
            ) from error


def setting(name: str, form: ValueFormat, written: str, text: str) -> Any:
    """A field with the default that `written` parses to."""
    return field(default=form.parse(written), metadata={"variable": Variable(name, form, written, text)})


def optional(name: str, form: ValueFormat, text: str, *, default: Any = None, secret: bool = False) -> Any:
    """A field that is `default` when the variable is unset: None, or an empty tuple for a list."""
    return field(default=default, repr=not secret, metadata={"variable": Variable(name, form, "", text, secret)})
