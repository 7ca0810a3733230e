"""The tree of tests mirrors the tree of the source: each module has a test module of its name, or a reason why not."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

WITHOUT: dict[str, str] = {
    "cdc/auth/key_store": "only a protocol; auth/test_authenticator and postgres/test_key_reader use it",
    "cdc/core/evaluation/source": "only a protocol; evaluation/test_evaluator and core/evaluation/test_evaluate use it",
    "cdc/core/javaregex/syntax": "only data classes; core/javaregex/test_parser builds every kind of node",
    "cdc/core/log/table_column": "only data; postgres/test_lane_reader reads it, jetstream/test_directory writes it",
    "cdc/core/row_filter/expression": "only data classes; filters/test_parser builds every kind of node",
    "cdc/core/row_filter/row_query": "only data; wire/test_message reads it, filters/test_compiler uses it",
    "cdc/jetstream/listener": "follows a relay through NATS; jetstream/test_tier and test_cluster test it in a node",
    "cdc/jetstream/log": "reads what a relay has copied; jetstream/test_tier holds it against the log in PostgreSQL",
    "cdc/jetstream/stream_copier": "the work of an active relay; jetstream/test_relay kills, freezes and cuts it off",
    "cdc/jetstream/upstream": "opens the parts of a tier; jetstream/test_tier and test_log_history use each of them",
    "cdc/source/table": "only protocols; postgres/test_table_reader tests what keeps them",
    "cdc/source/upstream": "only protocols; source/contract tests what keeps them, for memory and PostgreSQL",
}
"""Modules without a test module of their name, and the reason: only data, or tested as part of what is named."""

MODULES = sorted(
    str(file.relative_to(ROOT).with_suffix(""))
    for room in ("cdc", "api")
    for file in (ROOT / room).rglob("*.py")
    if file.name not in ("__init__.py", "__main__.py")
)


def mirror_of(module: str) -> Path:
    folder, _, name = module.rpartition("/")
    return ROOT / "tests" / folder / f"test_{name}.py"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_a_test_module_of_its_name_or_a_reason_why_not(module: str) -> None:
    assert mirror_of(module).is_file() != (module in WITHOUT), (
        f"{module} has both a test module and a reason why it has none"
        if module in WITHOUT
        else f"{module}.py has no {mirror_of(module).relative_to(ROOT)}: write it, or give the reason in WITHOUT"
    )


def test_the_list_of_reasons_is_short_and_names_only_modules_that_exist() -> None:
    assert WITHOUT.keys() <= set(MODULES)
    assert len(WITHOUT) <= 12
    assert all(len(reason) > 20 for reason in WITHOUT.values())
