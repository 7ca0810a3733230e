import pytest

from cdc.core.diagnosis import KeyFacts, State

from .examples import of_machine, states

GOOD = KeyFacts("fla_cdc_good", expires_days=200.0, idle_days=1.0)


@pytest.mark.parametrize(
    ("keys", "words"),
    [((), "all requests will be rejected"), ((GOOD, KeyFacts("fla_cdc_x", is_readable=False)), "fla_cdc_x")],
)
def test_keys_that_let_nobody_in_are_an_error(keys: tuple[KeyFacts, ...], words: str) -> None:
    found = states(of_machine(requires_credentials=True, keys=keys))
    assert found.keys() == {"keys"}
    assert words in found["keys"]


@pytest.mark.parametrize(
    ("key", "check", "words"),
    [
        (KeyFacts("fla_cdc_x", expires_days=None), "keys_never_expire", "never expire: fla_cdc_x"),
        (KeyFacts("fla_cdc_x", expires_days=29.0), "keys_expire_soon", "within 30 days: fla_cdc_x"),
        (KeyFacts("fla_cdc_x", expires_days=200.0, idle_days=91.0), "keys_unused", "not used for 90 days: fla_cdc_x"),
    ],
)
def test_a_key_to_replace_or_revoke_is_a_note(key: KeyFacts, check: str, words: str) -> None:
    findings = of_machine(requires_credentials=True, verifies_tokens=True, has_audience=True, keys=(GOOD, key))
    notes = states(findings, State.NOTE)
    assert notes.keys() == {check}
    assert words in notes[check]
    assert GOOD.prefix not in notes[check]


def test_keys_in_order_are_counted_and_many_are_cut_off() -> None:
    assert states(of_machine(requires_credentials=True, keys=(GOOD,)), State.NOTE) == {}
    many = tuple(KeyFacts(f"fla_cdc_{number}", expires_days=None) for number in range(12))
    assert states(of_machine(requires_credentials=True, keys=many), State.NOTE)["keys_never_expire"].endswith(
        "fla_cdc_9 and 2 more"
    )


def test_keys_are_unknown_without_the_database() -> None:
    assert "not read" in states(of_machine(requires_credentials=True, keys=None), State.NOTE)["keys"]
