"""A flag at rest: encoded once, from its packed rows."""

import json

from cdc.core.flags.flag_bound import FlagBound
from cdc.core.flags.stored_flag import StoredFlag
from tests.cdc.core.flagent import Flagent

BOUND = FlagBound()


def stored(**columns: object) -> StoredFlag:
    flagent = Flagent()
    flagent.flag("a", **columns)
    flagent.insert("variants", flag_id=1, attachment='{"a": "\\"b\\""}')
    flag = flagent.catalog().stored("public", 1)
    assert flag is not None
    return flag


def test_its_json_is_encoded_once() -> None:
    flag = stored()
    assert json.loads(flag.text(BOUND)) == flag.render()
    assert flag.text(BOUND) is flag.text(BOUND)
    assert flag.text_with_schema(BOUND, "t") == flag.text(BOUND)[:-1] + b',"schema":"t"}'


def test_a_flag_beyond_the_bound_is_encoded_and_hashed_reduced_and_rendered_whole() -> None:
    flag, bound = stored(notes="x" * 1_000), FlagBound(600)
    assert json.loads(flag.text(bound)) == bound.sent(flag.render())
    assert flag.render()["notes"] == "x" * 1_000
    assert flag.crc(bound) == flag.known_crc == bound.crc(flag.render())


def test_after_a_change_of_the_bound_it_is_encoded_again() -> None:
    flag = stored(notes="x" * 1_000)
    whole, crc = flag.text(BOUND), flag.crc(BOUND)
    flag.forget_encodings()
    assert flag.text(FlagBound(600)) != whole
    assert flag.crc(FlagBound(600)) != crc


def test_evaluation_gets_attachments_with_the_quotes_that_the_rest_shape_strips() -> None:
    flag = stored()
    assert flag.render()["variants"][0]["attachment"] == {"a": "b"}
    assert flag.render_for_evaluation()["variants"][0]["attachment"] == {"a": '"b"'}
