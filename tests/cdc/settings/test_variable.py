"""The variable of a setting: how it is parsed, and what an error message shows of it."""

from dataclasses import dataclass, fields

import pytest

from cdc.core.errors import InvalidInput
from cdc.settings.value_formats import DURATION, SIZE
from cdc.settings.variable import Variable, optional, setting


@dataclass(frozen=True, kw_only=True)
class Section:
    interval_s: float = setting("INTERVAL", DURATION, "500ms", "Time between two looks.")
    limit: int | None = optional("LIMIT", SIZE, "Maximum size.")
    secret: str | None = optional("SECRET", SIZE, "Not shown.", default="geheim", secret=True)


def test_a_default_is_written_as_a_user_would_and_parsed() -> None:
    assert Section().interval_s == 0.5
    assert Section().limit is None


def test_a_secret_is_left_out_of_the_representation() -> None:
    assert "interval_s=0.5" in repr(Section())
    assert "geheim" not in repr(Section())


def test_a_field_carries_its_variable() -> None:
    interval, limit, secret = (field.metadata["variable"] for field in fields(Section))
    assert interval == Variable("INTERVAL", DURATION, "500ms", "Time between two looks.")
    assert limit == Variable("LIMIT", SIZE, "", "Maximum size.")
    assert secret.secret


def test_a_bad_value_names_the_variable_the_value_and_the_format() -> None:
    with pytest.raises(InvalidInput, match=r"^INTERVAL must be a duration such as .*; 'soon' is not$") as caught:
        Variable("INTERVAL", DURATION, "", "").read("soon")
    assert (caught.value.name, caught.value.code) == ("INTERVAL", "invalid_setting")


def test_a_bad_secret_is_not_repeated() -> None:
    with pytest.raises(InvalidInput, match=r"^SECRET must be a size in bytes .*; this value is not$") as caught:
        Variable("SECRET", SIZE, "", "", secret=True).read("geheim")
    assert "geheim" not in str(caught.value)
