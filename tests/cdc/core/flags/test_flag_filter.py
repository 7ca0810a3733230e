from typing import Any

import pytest

from cdc.core.flags.flag_filter import FlagFilter

FLAG = {
    "key": "checkout",
    "description": "50% Off, ÄRGER",
    "enabled": True,
    "tags": [{"id": 1, "value": "web"}, {"id": 2, "value": "pay ment"}],
    "environmentId": 7,
    "projectId": 9,
}


@pytest.mark.parametrize(
    ("demands", "is_found"),
    [
        ({}, True),
        ({"enabled": True}, True),
        ({"enabled": False}, False),
        ({"key": "checkout"}, True),
        ({"key": "Checkout"}, False),
        ({"key": ""}, False),
        ({"description": "50% Off, ÄRGER"}, True),
        ({"description": "50% off, ärger"}, False),
        ({"description_like": ""}, True),
        ({"description_like": "OFF"}, True),
        ({"description_like": "ärger"}, True),
        ({"description_like": "%"}, True),
        ({"description_like": r"\%"}, True),
        ({"description_like": r"r\%"}, False),
        ({"description_like": "o_f"}, True),
        ({"description_like": "off_ärger"}, False),
        ({"description_like": "50%ärger"}, True),
        ({"description_like": "ärger%50"}, False),
        # With the `%` that is put behind it, it is an escaped one: a description that ends so.
        ({"description_like": "\\"}, False),
        ({"tags": "web"}, True),
        ({"tags": "other, \u00a0pay ment "}, True),
        ({"tags": "Web,pay"}, False),
        ({"tags": ""}, False),
        ({"tags": ",web"}, True),
        ({"environment_id": 7}, True),
        ({"environment_id": 8}, False),
        ({"project_id": 9}, True),
        ({"project_id": 8}, False),
        ({"enabled": True, "key": "checkout", "tags": "other"}, False),
    ],
)
def test_a_flag_has_to_be_all_that_is_demanded(demands: dict[str, Any], is_found: bool) -> None:
    assert FlagFilter(**demands).matches(FLAG) is is_found


def test_a_flag_without_environment_belongs_to_all_but_one_without_project_to_none() -> None:
    flag = {**FLAG, "environmentId": None, "projectId": None}
    assert FlagFilter(environment_id=8).matches(flag)
    assert not FlagFilter(project_id=8).matches(flag)
