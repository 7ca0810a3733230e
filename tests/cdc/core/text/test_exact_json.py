import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.core.text.exact_json import Number, dumps, loads


@pytest.mark.parametrize(
    "text",
    [
        "0.1234567890123456789012345678901234567890",
        '{"a":1.10,"b":[0.0,-1.50,12345678901234567890.5],"c":{"d":1e-9}}',
        '{"long":100000000000000000000000000000000000000001,"ü":"ü€\\"\\\\\\n\\u0001","n":null,"t":true}',
        '["\\u00001.5",2.50]',
        '["\\u00001.5","\\u0000\\u00002","\\u0000",2.50]',
        '{"\\u00001":1.0}',
    ],
)
def test_what_is_read_is_written_again_to_the_last_digit(text: str) -> None:
    assert dumps(loads(text)) == text
    assert dumps(loads(text.encode())) == text


def test_numbers_that_a_float_holds_alike_differ() -> None:
    assert loads("0.10") != loads("0.1")
    assert loads("0.10") == Number("0.10")


def test_values_that_json_cannot_hold_are_refused() -> None:
    with pytest.raises(TypeError, match="cannot be encoded as JSON"):
        dumps({"a": object()})
    with pytest.raises(ValueError, match="Expecting"):
        loads("{")


numbers = st.decimals("-1e30", "1e30", places=3).map(lambda each: Number(f"{each:f}"))
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.sampled_from('\0\\"a1.')) | numbers,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.sampled_from('\0\\"a1.')), inner),
)


@given(documents)
def test_nothing_else_is_taken_for_a_number(document: object) -> None:
    written = dumps(document)
    assert dumps(loads(written)) == written
    assert loads(written) == document
