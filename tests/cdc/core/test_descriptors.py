from cdc.core.descriptors import ARRIVING, HEALTH_CHECKS, RESERVED_DESCRIPTORS, connections_within


def test_what_the_process_needs_itself_is_left() -> None:
    assert connections_within(256) == 256 - RESERVED_DESCRIPTORS
    assert RESERVED_DESCRIPTORS > ARRIVING + HEALTH_CHECKS


def test_there_is_always_one_connection() -> None:
    assert connections_within(10) == connections_within(RESERVED_DESCRIPTORS) == 1
