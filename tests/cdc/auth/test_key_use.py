"""The notes of one server process about the use of API keys."""

from cdc.auth.key_use import KeyUseNotes


def test_uses_and_refusals_are_taken_once() -> None:
    notes = KeyUseNotes()
    assert not notes.take()
    notes.note_use(1)
    notes.note_use(1)
    notes.note_refusal("fla_cdc_aaaaaaaa", "expired")
    notes.note_refusal("fla_cdc_aaaaaaaa", "expired")
    use = notes.take()
    assert use.used == {1}
    assert use.refused == {("fla_cdc_aaaaaaaa", "expired"): 2}
    assert not notes.take()


def test_what_could_not_be_recorded_is_kept_with_what_came_since() -> None:
    notes = KeyUseNotes()
    notes.note_use(1)
    notes.note_refusal(None, "malformed")
    use = notes.take()
    notes.note_use(2)
    notes.note_refusal(None, "malformed")
    notes.put_back(use)
    both = notes.take()
    assert both.used == {1, 2}
    assert both.refused == {(None, "malformed"): 2}


def test_strangers_fill_a_bounded_number_of_counters() -> None:
    notes = KeyUseNotes()
    notes.note_refusal("fla_cdc_aaaaaaaa", "revoked")
    for number in range(5_000):
        notes.note_refusal(f"fla_cdc_{number:08}", "unknown")
    notes.note_refusal("fla_cdc_aaaaaaaa", "revoked")
    refused = notes.take().refused
    assert len(refused) <= 105
    assert sum(refused.values()) == 5_002
    assert refused["fla_cdc_aaaaaaaa", "revoked"] == 2
