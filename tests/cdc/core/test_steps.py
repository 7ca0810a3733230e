"""Steps that are run at once."""

from collections.abc import Generator

import pytest

from cdc.core.steps import release_in_turns, run_steps


def steps(log: list[int], *, fails: bool = False) -> Generator[None, None, str]:
    for number in range(3):
        log.append(number)
        yield
    if fails:
        raise ValueError("the last step")
    return "done"


def test_all_steps_are_run_and_the_result_is_returned() -> None:
    log: list[int] = []
    assert run_steps(steps(log)) == "done"
    assert log == [0, 1, 2]


def test_what_a_step_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="the last step"):
        run_steps(steps([], fails=True))


def test_a_list_is_emptied_some_at_a_time() -> None:
    objects = list(range(1_000))
    sizes = [len(objects) for _ in release_in_turns(objects)]
    assert objects == []
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) > 2
