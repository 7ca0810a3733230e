from cdc.core.freshness import Freshness, FreshnessTracker, ShownFreshness


def test_a_proof_holds_for_one_and_a_half_intervals_and_a_second() -> None:
    proof = FreshnessTracker(0)
    assert proof.freshness(8.5, 5) == Freshness(True, 8500)
    assert proof.freshness(8.6, 5) == Freshness(False, 8600)
    assert proof.freshness(2.5, 1) == Freshness(True, 2500)


def test_an_older_answer_takes_nothing_back() -> None:
    proof = FreshnessTracker(0)
    proof.renew(10)
    proof.renew(4)
    assert proof.freshness(11, 5).age_ms == 1000


def test_who_hears_nothing_is_not_fresh() -> None:
    assert FreshnessTracker(0).freshness(0, 5, is_hearing=False) == Freshness(False, 0)


def test_changes_between_answers_are_counted() -> None:
    answers = iter([False, True, True, False, False])
    shown = ShownFreshness(lambda: Freshness(next(answers), 0))
    found = [(shown().fresh, shown.changes) for _ in range(5)]
    assert found == [(False, 0), (True, 1), (True, 1), (False, 2), (False, 2)]
