"""Flags that depend on others."""

from collections import Counter

from cdc.core.evaluation import CompiledFlag, EvaluationRequest, evaluate

from .flags import FlagList, ask, flag, segment


def message(*flags: dict[str, object]) -> str | None:
    """What the debug log says about the first flag, None where it gives a variant."""
    log = ask(flags, {"flagKey": flags[0]["key"], "entityID": "u"})["evalDebugLog"]
    return None if log is None else str(log["msg"])


def test_a_dependency_with_a_variant_does_not_block() -> None:
    assert message(flag(1, "a", dependsOn=["b"]), flag(2, "b")) is None


def test_a_missing_dependency_blocks() -> None:
    assert message(flag(1, "a", dependsOn=["b"])) == 'dependency "b" not found'


def test_a_disabled_dependency_blocks() -> None:
    blocked = 'dependency "b" is disabled or has no variant'
    assert message(flag(1, "a", dependsOn=["b"]), flag(2, "b", enabled=False)) == blocked


def test_a_dependency_without_a_variant_blocks_whatever_comes_after() -> None:
    without = flag(2, "b", segments=[segment(rolloutPercent=0)])
    blocked = 'dependency "b" is disabled or has no variant'
    assert message(flag(1, "a", dependsOn=["c", "b", "x"]), without, flag(3, "c")) == blocked


def test_a_blocked_flag_names_no_segment() -> None:
    assert ask([flag(1, "a", dependsOn=["b"])], {"flagID": 1})["segmentID"] is None


def test_a_dependency_is_found_by_key_even_where_an_id_looks_like_it() -> None:
    assert message(flag(1, "a", dependsOn=["2"]), flag(2, "b")) == 'dependency "2" not found'


def test_dependencies_of_dependencies_count() -> None:
    chain = [flag(1, "a", dependsOn=["b"]), flag(2, "b", dependsOn=["c"])]
    assert message(*chain) is not None
    assert message(*chain, flag(3, "c")) is None


def test_circles_of_any_length_block() -> None:
    assert message(flag(1, "a", dependsOn=["a"])) is not None
    assert message(flag(1, "a", dependsOn=["b"]), flag(2, "b", dependsOn=["a"])) is not None
    assert message(flag(1, "a", dependsOn=["b"]), flag(2, "b", dependsOn=["c"]), flag(3, "c", dependsOn=["b"]))


def test_a_chain_of_thousands_needs_no_deep_stack() -> None:
    flags = {f"k{number}": flag(number, f"k{number}", dependsOn=[f"k{number + 1}"]) for number in range(5000)}
    flags["k5000"] = flag(5000, "k5000")
    source = FlagList(flags.values())
    by_key = {compiled.key: compiled for compiled in source.flags}
    source.by_key = by_key.get  # type: ignore[method-assign]
    request = EvaluationRequest.parse({"flagKey": "k0", "entityID": "u"})
    assert evaluate(source, request, new_entity_id=str).decision.variant_id == 100


def test_a_lattice_of_dependencies_is_looked_up_once_per_flag() -> None:
    layers = [
        flag(2 * layer + side, f"{layer}-{side}", dependsOn=[f"{layer + 1}-0", f"{layer + 1}-1"] if layer < 30 else [])
        for layer in range(31)
        for side in (0, 1)
    ]
    source = FlagList(layers)
    asked: Counter[str] = Counter()
    plain = source.by_key

    def counted(key: str, /) -> CompiledFlag | None:
        asked[key] += 1
        return plain(key)

    source.by_key = counted  # type: ignore[method-assign]
    request = EvaluationRequest.parse({"flagKey": "0-0", "entityID": "u"})
    assert evaluate(source, request, new_entity_id=str).decision.variant_id == 100
    assert max(asked.values()) <= 2
