"""The memory of a subscriber that filters rows."""

from bench.rows.__main__ import Scene, filtered, of_flags


def test_a_subscriber_with_a_filter_takes_half_as_much_again_as_one_of_a_flag_at_most() -> None:
    for select in (of_flags, filtered):
        Scene(select, 1)  # for what is imported and cached at its first use
    flag, row = (Scene(select, 2_000).bytes_each for select in (of_flags, filtered))
    assert row <= 1.5 * flag
