from cdc.core.diagnosis import function_in
from cdc.database.queries import objects


def test_every_shipped_function_can_be_compared() -> None:
    functions = [one for one in objects() if "create or replace function" in one.text]
    found = [function_in(one.text) for one in functions]
    assert None not in found
    assert {name for function in found if function for name in [function[0]]} == {one.name[4:] for one in functions}


def test_a_function_has_name_body_and_rights() -> None:
    text = """-- What it does.
create or replace function flagent_cdc.two(a int)
returns int language sql security definer set search_path = '' as $$
    select a + 2
$$;
revoke all on function flagent_cdc.two(int) from public;"""
    assert function_in(text) == ("two", "\n    select a + 2\n", True)


def test_other_objects_are_no_functions() -> None:
    assert function_in("create or replace view flagent_cdc.one as select 1 as one;") is None
    assert function_in("create or replace function public.one() returns int as $$ select 1 $$;") is None
