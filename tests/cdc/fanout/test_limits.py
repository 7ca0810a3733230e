from dataclasses import FrozenInstanceError

import pytest

from cdc.fanout.limits import HubLimits


def test_a_lagging_server_waits_less_long_than_it_has_to_prove_itself_current() -> None:
    limits = HubLimits()
    assert 0 < limits.ahead_wait_s < limits.ahead_proof_s < limits.keep_alive_s
    with pytest.raises(FrozenInstanceError):
        limits.stall_s = 1.0  # type: ignore[misc]
