"""The logs that clients name: each is taken once, and few are kept, whatever clients send."""

from cdc.core.log.other_logs import OtherLogs


def test_a_log_is_taken_once_whatever_the_position() -> None:
    others = OtherLogs()
    for id in ("7-0@later.3f0c9a", "9@later", "1-2@earlier", "later", "", "9-0@"):
        others.note(id)
    assert others.take() == ["later", "earlier"]
    others.note("10-0@later")
    assert others.take() == []


def test_a_log_is_taken_again_when_another_one_is_followed() -> None:
    others = OtherLogs()
    others.note("7-0@later")
    others.clear()
    assert others.take() == []
    others.note("7-0@later")
    assert others.take() == ["later"]


def test_made_up_logs_take_a_few_questions_and_little_memory_and_hide_none_for_ever() -> None:
    others = OtherLogs()
    for turn in range(100):
        for number in range(1000):
            others.note(f"1@x{turn}x{number}")
        assert len(others.take()) == 8
    others.note("7-0@later")
    assert others.take() == ["later"]
