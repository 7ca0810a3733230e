import json

import pytest

from cdc.core.text.json_text import encode, encode_sorted


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, None, 1.5]}, '{"b":1,"a":[true,null,1.5]}'),
        ("ü/</script>", '"ü/</script>"'),
        ('"\\\n\x00\x7f', '"\\"\\\\\\n\\u0000\x7f"'),
        ("\U0001f600", '"\U0001f600"'),
    ],
)
def test_text_is_compact_with_only_the_necessary_escapes(value: object, text: str) -> None:
    assert encode(value) == text
    assert json.loads(text) == value


def test_half_a_surrogate_pair_stays_an_escape() -> None:
    assert encode({"ü": "a\ud83d"}) == '{"ü":"a\\ud83d"}'
    assert encode("\ude00\ud83d") == '"\\ude00\\ud83d"'
    encode("a\ud83d").encode()


def test_keys_are_sorted_by_code_point_at_every_level() -> None:
    assert encode_sorted({"b": {"ä": 1, "Z": 2, "a": 3}, "B": []}) == '{"B":[],"b":{"Z":2,"a":3,"ä":1}}'
    assert encode_sorted({"b": "\ud83d", "a": 1}) == '{"a":1,"b":"\\ud83d"}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_lacks_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode(value)
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_sorted(value)
