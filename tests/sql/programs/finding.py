"""Something that a program has shown to be wrong."""

from dataclasses import dataclass

__all__ = ["Finding", "shortened"]

_SHOWN = 600


@dataclass(frozen=True, slots=True)
class Finding:
    """`kind` is the same for the same defect in another program, as far as can be said.

    `is_of_readers`: what readers got is wrong; else it is what writers noticed.
    """

    kind: str
    text: str
    is_of_readers: bool = False

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


def shortened(value: object) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
