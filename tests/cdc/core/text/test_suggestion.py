from cdc.core.text.suggestion import did_you_mean


def test_the_nearest_name_is_suggested_and_a_distant_one_is_not() -> None:
    names = ["flag_updated", "flag_deleted"]
    assert did_you_mean("flag_update", names) == "; did you mean flag_updated?"
    assert did_you_mean("rows", names) == ""
    assert did_you_mean("flag_update", []) == ""
