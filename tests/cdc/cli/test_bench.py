"""`flagent-cdc bench` in a checkout."""

from tests.fixtures.program import flagent_cdc


def test_a_benchmark_of_the_checkout_runs() -> None:
    done = flagent_cdc("bench", "latency", "--help")
    assert done.returncode == 0
    assert "usage: python -m bench.latency" in done.stdout
