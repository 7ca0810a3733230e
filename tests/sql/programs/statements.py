"""Random statements of every kind on the tables of `schema`. The same few rows are hit often, so sessions collide.

Nothing in them differs between two databases: no times of the clock, no object numbers, no places of rows, and what is
inserted from a query is ordered.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .schema import COUNTED, FLAG_TABLES, TABLES, typed_columns

__all__ = ["ROUTINES", "Statement", "StatementWriter"]


@dataclass(frozen=True, slots=True)
class Statement:
    """`is_alone`: must be a message of its own, outside a transaction block."""

    sql: str
    copy: str | None = None
    is_ordered: bool = False
    is_alone: bool = False

    @property
    def may_be_extended(self) -> bool:
        return self.copy is None and ";" not in self.sql


_Statements = Sequence[Statement]

_NAMES = ("'ann'", "'bob'", "'eve'")


def _one(sql: str, *, is_ordered: bool = False, is_alone: bool = False) -> _Statements:
    return [Statement(sql, is_ordered=is_ordered, is_alone=is_alone)]


class StatementWriter:
    """Writes statements for a server of some version, many of them on the tables in `focus`.

    A kind in `kinds` has a weight, and gives one statement or several in a row.
    """

    def __init__(self, rng: random.Random, server_version: int, focus: Sequence[str] = tuple(COUNTED)) -> None:
        self._rng = rng
        self._focus = focus
        self._version = server_version
        self._columns = typed_columns(server_version)
        self._names = 0
        self.kinds = self._kinds()

    def write(self, kind: str) -> _Statements:
        return self.kinds[kind][1]()

    def random_kind(self, among: Sequence[str] | None = None) -> str:
        names = list(among or self.kinds)
        return self._rng.choices(names, [self.kinds[name][0] for name in names])[0]

    # What statements consist of.

    def _id(self) -> int:
        return self._rng.choice([1, 1, 1, 2, 2, 2, 3, 3, 4, 5])

    def _ids(self) -> str:
        return ", ".join(map(str, sorted(self._rng.sample(range(1, 7), self._rng.randrange(1, 4)))))

    def _region(self) -> str:
        return self._rng.choice(["'a'", "'b'", "'c'", "'d'"])

    def _text(self) -> str:
        return self._rng.choice(["'new'", "''", "null", "'ü ∑ \U0001f600'", "E'quo\\'te \\\\'", "repeat('x', 2500)"])

    def _name(self, stem: str) -> str:
        self._names += 1
        return f"{stem}_{self._names}"

    def _returning(self, columns: str) -> str:
        return self._rng.choice(["", "", f" returning {columns}"])

    def _touch(self) -> str:
        """An update of a table in focus, of few rows or of all."""
        table = self._rng.choice(self._focus)
        _, column = COUNTED[table]
        name = "order_id" if table == "app.items" else "id"
        where = self._rng.choice([f" where {name} = {self._id()}", f" where {name} in ({self._ids()})", ""])
        return f"update {table} set {column} = {column} + 1{where}"

    def _touch_one(self) -> _Statements:
        return _one(self._touch())

    def _simple(self) -> str:
        """One plain change, to be part of other statements."""
        if self._rng.random() < 0.4:
            return self._touch()
        return self._rng.choice([
            f"update app.orders set total = coalesce(total, 0) + 1 where id in ({self._ids()})",
            f"update app.customers set name = {self._text()} where id = {self._id()}",
            f"insert into app.notes values ('dan', {self._text()})",
            f"delete from app.items where order_id = {self._id()}",
            f"update public.flags set enabled = not enabled where id = {self._id()}",
            f"update public.flags set notes = 'risky' where id in ({self._ids()})",
            f"insert into app.orders (customer_id, total) values ({self._id()}, 5)",
            f"insert into public.tags (value, created_at) values ('t{self._id()}', '2026-01-02')"
            " on conflict do nothing",
            f"update app.regions set region = {self._region()} where id = {self._id()}",
            f"update app.unwatched set what = 'w' where id = {self._id()}",
        ])  # fmt: skip

    # Plain statements.

    def _insert(self) -> _Statements:
        return _one(self._rng.choice([
            f"insert into app.customers (name, parent_id, rank)"
            f" values ({self._text()}, {self._id()}, {self._id() + 3})",
            "insert into app.orders (customer_id, total, state)"
            f" values ({self._id()}, 1.50, 'paid'), (null, null, 'x')",
            f"insert into app.items values ({self._id()}, {self._id()}, {self._text()})",
            f"insert into app.notes values ('eve', {self._text()}), ('eve', null)",
            f"insert into app.seats (row_no, holder) values ({self._id()}, {self._id()})",
            "insert into app.unwatched (who) values ('eve')",
        ]) + self._returning("*"))  # fmt: skip

    def _insert_select(self) -> _Statements:
        return _one(self._rng.choice([
            "insert into app.items select id, 7, state, version from app.orders order by id on conflict do nothing",
            "insert into app.notes select name, parent_id::text from app.customers order by id",
            "insert into app.orders (customer_id, total) select id, rank from app.customers"
            f" where id in ({self._ids()}) order by id",
            "insert into app.regions select 'e', n, n from generate_series(1, 20) n on conflict do nothing",
        ]))  # fmt: skip

    def _insert_conflict(self) -> _Statements:
        return _one(self._rng.choice([
            f"insert into app.items values ({self._id()}, 1, 'c'), ({self._id()}, 9, 'c')"
            " on conflict (order_id, line) do update set note = excluded.note, version = items.version + 1",
            f"insert into app.items values ({self._id()}, 1, 'c') on conflict do nothing",
            f"insert into app.regions values ({self._region()}, {self._id()}, 7) on conflict (region, id)"
            " do update set amount = regions.amount + excluded.amount where regions.amount < 20",
            f"insert into app.customers (id, name) values ({self._id()}, 'c') on conflict (id) do update"
            " set name = excluded.name || '!', version = customers.version + 1 returning id, name, version",
        ]))  # fmt: skip

    def _update_one(self) -> _Statements:
        return _one(self._rng.choice([
            f"update app.customers set name = {self._text()}, version = version + 1 where id = {self._id()}",
            f"update app.orders set state = {self._rng.choice(['null', chr(39) + 'paid' + chr(39)])}"
            f" where id = {self._id()}",
            f"update app.items set note = {self._text()} where order_id = {self._id()} and line = 1",
            f"update app.seats set row_no = row_no + 1, holder = {self._id()} where id = {self._id()}",
        ]) + self._returning("*"))  # fmt: skip

    def _update_many(self) -> _Statements:
        return _one(self._rng.choice([
            "update app.orders set total = coalesce(total, 0) + 1, version = version + 1",
            f"update app.items set note = note || '.', version = version + 1 where order_id in ({self._ids()})",
            "update app.notes set what = coalesce(what, '') || '+'",
            "update app.customers set rank = rank + 1",
            "update app.regions set amount = amount * 2, version = version + 1",
            "update app.seats set row_no = row_no + 1",
        ]))  # fmt: skip

    def _update_nothing(self) -> _Statements:
        table = self._rng.choice(["app.customers", "app.orders", "app.seats", "public.flags"])
        columns = {"app.customers": "name", "app.orders": "total", "app.seats": "row_no", "public.flags": "notes"}
        return _one(f"update {table} set {columns[table]} = {columns[table]} where id in ({self._ids()})")

    def _update_key(self) -> _Statements:
        """Cascades to what refers to the row, in its own table as well."""
        return _one(self._rng.choice([
            f"update app.customers set id = id + 100 where id = {self._id()}",
            f"update app.orders set id = id + 100 where id in ({self._ids()})",
            f"update app.items set line = line + 10 where order_id = {self._id()}",
            f"update app.odd set \"a.b\" = \"a.b\" + 10 where \"a.b\" = {self._id()}",
            "update app.customers set rank = 5 - rank where rank between 1 and 4",
        ]))  # fmt: skip

    def _update_from(self) -> _Statements:
        return _one(
            "update app.orders o set total = c.rank, version = o.version + 1 from app.customers c"
            f" where c.id = o.customer_id and c.id in ({self._ids()})"
        )

    def _delete(self) -> _Statements:
        return _one(self._rng.choice([
            f"delete from app.customers where id = {self._id()}",
            f"delete from app.orders where id in ({self._ids()})",
            f"delete from app.items where line = {self._id()}",
            f"delete from app.notes where who = {self._rng.choice(_NAMES)} or what is null",
            f"delete from app.regions where id = {self._id()}",
            f"delete from app.orders o using app.customers c where o.customer_id = c.id and c.rank = {self._id()}",
            "delete from app.audit where id % 2 = 0",
            f"delete from app.seats where id = {self._id()}",
        ]) + self._returning("1"))  # fmt: skip

    def _merge(self) -> _Statements:
        source = "(select n as id, n * 2 as v from generate_series(1, 5) n) s"
        return _one(self._rng.choice([
            f"merge into app.orders o using {source} on o.id = s.id when matched and s.id % 2 = 0 then"
            " update set total = s.v, version = version + 1 when matched then delete"
            " when not matched then insert (customer_id, total) values (1, s.v)",
            f"merge into app.regions r using {source} on r.id = s.id and r.region = 'b' when matched then"
            " update set amount = s.v when not matched then insert values ('b', s.id, s.v, 0)",
            f"merge into public.flags f using {source} on f.id = s.id when matched then"
            " update set enabled = not enabled when not matched then do nothing",
        ]))  # fmt: skip

    def _cte(self) -> _Statements:
        return _one(self._rng.choice([
            f"with gone as (delete from app.items where order_id = {self._id()} returning *),"
            " kept as (insert into app.notes select 'gone', note from gone order by line returning *)"
            " select count(*) from kept",
            f"with o as (update app.orders set total = 1 where id in ({self._ids()}) returning customer_id),"
            " f as (update public.flags set enabled = false where id in (select customer_id from o) returning id)"
            " update app.customers set version = version + 1 where id in (select customer_id from o)",
            "with c as (insert into app.customers (name) values ('cte') returning id)"
            " insert into app.orders (customer_id) select id from c",
        ]))  # fmt: skip

    def _copy_in(self) -> _Statements:
        sql, data = self._rng.choice([
            ("copy app.items from stdin", f"{self._id()}\t{self._id() + 20}\tco\\tpy\t0\n{self._id()}\t50\t\\N\t1\n"),
            ("copy app.notes (who, what) from stdin with (format csv)", "ann,\"a, \"\"b\"\"\"\nbob,\nann,ü\n"),
            ("copy app.regions from stdin", "a\t30\t1.5\t0\nb\t31\t\\N\t0\nz\t32\t3\t0\n"),
            ("copy public.constraints (segment_id, property, operator, value, created_at) from stdin",
             f"{self._id()}\tcountry\tEQ\tDE\t2026-01-01\n"),
            ("copy app.orders (customer_id, total) from stdin", f"{self._id()}\tnot a number\n"),
        ])  # fmt: skip
        return [Statement(sql, copy=data)]

    def _copy_out(self) -> _Statements:
        return _one(self._rng.choice([
            "copy (select id, name, rank from app.customers order by id) to stdout",
            "copy (select id, key, enabled from public.flags order by id) to stdout with (format csv, header)",
        ]), is_ordered=True)  # fmt: skip

    def _truncate(self) -> _Statements:
        table = self._rng.choice([
            "app.notes", "app.items", "app.orders cascade", "app.regions", "app.regions_b", "only app.notes, app.odd",
            "app.customers restart identity cascade", "app.audit restart identity", "public.constraints",
            "public.flags cascade", "public.tags cascade", "app.typed",
        ])  # fmt: skip
        return _one(f"truncate {table}")

    def _cursor(self) -> _Statements:
        name = self._name("cursor")
        table, column = self._rng.choice([
            ("app.orders", "version"), ("app.customers", "version"), ("public.flags", "snapshot_id")
        ])  # fmt: skip
        change = self._rng.choice([f"update {table} set {column} = {column} + 1", f"delete from {table}"])
        return [
            Statement("begin"),
            Statement(f"declare {name} cursor for select * from {table} order by id for update"),
            Statement(f"fetch {self._rng.randrange(1, 3)} from {name}", is_ordered=True),
            Statement(f"{change} where current of {name}"),
            Statement(self._rng.choice([f"close {name}", f"fetch {name}"]), is_ordered=True),
            Statement(self._rng.choice(["commit", "commit", "rollback"])),
        ]

    def _cursor_with_hold(self) -> _Statements:
        name = self._name("held")
        return [
            Statement(f"declare {name} cursor with hold for select id, version from app.orders order by id"),
            Statement(self._simple()),
            Statement(f"fetch 2 from {name}", is_ordered=True),
        ]

    def _refcursor(self) -> _Statements:
        """An unnamed cursor gets its name from a counter of the session."""
        return [
            Statement("begin"),
            Statement(self._simple()),
            Statement("select app_probe.open_cursor()"),
            Statement("commit"),
        ]

    def _prepared(self) -> _Statements:
        name = self._name("prepared")
        return [
            Statement(
                f"prepare {name} (integer, text) as update app.orders set state = $2, version = version + 1"
                " where id = $1 returning id, state"
            ),
            *(Statement(f"execute {name} ({self._id()}, 's{n}')") for n in range(self._rng.randrange(1, 7))),
        ]

    def _do(self) -> _Statements:
        """What plpgsql shows of a statement."""
        action = self._rng.choice([
            self._simple(), f"perform 1 from app.orders where id = {self._id()} for update", self._simple()
        ])  # fmt: skip
        return _one(
            f"do $$ declare n bigint; begin {action}; get diagnostics n = row_count;"
            " raise notice 'found %, rows %, depth %', found, n, pg_trigger_depth();"
            f" {self._simple()}; raise notice 'found %', found; end $$"
        )

    def _do_catching(self) -> _Statements:
        return _one(
            f"do $$ begin for i in 1 .. 3 loop begin {self._simple()}; {self._simple()}; perform 1 / (i % 2);"
            " exception when division_by_zero or integrity_constraint_violation then"
            " raise notice 'caught % %', sqlstate, sqlerrm; end; end loop; end $$"
        )

    def _do_commits(self) -> _Statements:
        """A block that ends transactions: only outside of one."""
        return _one(
            f"do $$ begin for i in 1 .. 3 loop {self._simple()};"
            " if i = 2 then rollback; else commit; end if; end loop; end $$",
            is_alone=True,
        )

    def _call(self) -> _Statements:
        return _one(f"call app_probe.work({self._id()}, {self._rng.choice(['true', 'false'])})", is_alone=True)

    def _several(self) -> _Statements:
        """Several statements in one message, which are one transaction; or begin and end their own."""
        first, second = self._simple(), self._simple()
        return _one(self._rng.choice([
            f"{first}; {second}", f"begin; {first}; {second}; commit", f"begin; {first}; commit; {second}",
            f"{first}; set constraints all immediate; {second}", f"begin; {first}; rollback; {second}",
            f"{first}; select 1 / 0; {second}",
            f"begin; {first}; set constraints all immediate; {second}; commit and chain; {first}; rollback",
        ]), is_alone=True)  # fmt: skip

    def _select(self) -> _Statements:
        table = self._rng.choice([name for name in TABLES if name != "app.typed"])
        return _one(f"select * from {table}")

    def _lock_rows(self) -> _Statements:
        strength = self._rng.choice(["update", "no key update", "share", "key share"])
        wait = self._rng.choice(["", "", "", " nowait", " skip locked"])
        table = self._rng.choice(["app.customers", "app.orders", "public.flags"])
        return _one(
            f"select id from {table} where id in ({self._ids()}) order by id for {strength}{wait}", is_ordered=True
        )

    def _lock_table(self) -> _Statements:
        mode = self._rng.choice(["row exclusive", "share", "share row exclusive", "access exclusive"])
        return [
            Statement("begin"),
            Statement(f"lock table {self._rng.choice(['app.orders', 'app.notes', 'public.flags'])} in {mode} mode"),
            Statement(self._simple()),
            Statement("commit"),
        ]

    # Types.

    def _typed_values(self) -> list[tuple[str, str]]:
        chosen = self._rng.sample(list(self._columns), self._rng.randrange(1, 6))
        return [(name, f"({self._rng.choice(self._columns[name][1])})::{self._columns[name][0]}") for name in chosen]

    def _typed_insert(self) -> _Statements:
        values = self._typed_values()
        names = ", ".join(name for name, _ in values)
        return _one(
            f"insert into app.typed (id, {names})"
            f" values ({self._rng.randrange(1, 40)}, {', '.join(v for _, v in values)}) on conflict do nothing"
        )

    def _typed_update(self) -> _Statements:
        sets = ", ".join(f"{name} = {value}" for name, value in self._typed_values())
        return _one(f"update app.typed set {sets} where id in (1, 2, {self._rng.randrange(3, 40)})")

    def _typed_read(self) -> _Statements:
        return _one(f"select {', '.join(name for name, _ in self._typed_values())} from app.typed")

    def _keyed(self) -> _Statements:
        at = self._rng.choice(["'2026-01-01 00:00+00'", "'infinity'", "'2026-06-01 12:00+02'"])
        bytes = self._rng.choice(["'\\x00ff'", "''"])
        ratio = self._rng.choice(["0.1::float8 + 0.2", "0.3", "'NaN'"])
        span = self._rng.choice(["'[2026-01-02 00:00+00,)'", "'empty'"])
        return _one(self._rng.choice([
            f"insert into app.keyed values ({at}, {bytes}, {ratio}, {span}, 1)",
            f"insert into app.keyed values ({at}, {bytes}, {ratio}, {span}, 1) on conflict do nothing",
            "update app.keyed set v = v + 1",
            f"update app.keyed set ratio = {ratio} where at = {at}",
            f"update app.keyed set at = at + interval '1 day' where isfinite(at) and bytes = {bytes}",
            f"delete from app.keyed where ratio = {ratio}",
        ]))  # fmt: skip

    def _odd(self) -> _Statements:
        return _one(self._rng.choice([
            f"insert into app.odd (\"a.b\", t, told_row, \"new\", \"old\", image) values ({self._id()}, {self._text()},"
            " 'r', 'n', 'o', 'i') on conflict (\"a.b\") do update set t = excluded.t, \"new\" = odd.\"old\"",
            f"update app.odd set flagent_cdc_row = {self._text()}, \"Quoted \"\"x\"\" y\" = t",
            f"delete from app.odd where \"a.b\" = {self._id()}",
        ]))  # fmt: skip

    # Partitions.

    def _move_partition(self) -> _Statements:
        return _one(self._rng.choice([
            f"update app.regions set region = {self._region()}, version = version + 1 where id = {self._id()}",
            "update app.regions set id = id + 3 where region = 'b'",
            f"insert into app.regions_a values ('a', {self._id()}, 1), ('a', {self._id() + 6}, 2)",
            "update app.regions_b_low set amount = 5",
            f"delete from only app.regions_rest where id = {self._id()}",
        ]))  # fmt: skip

    # Session state.

    def _last_number(self) -> _Statements:
        return _one("select lastval()")

    def _current_number(self) -> _Statements:
        sequence = self._rng.choice(["app.orders_id_seq", "public.flags_id_seq", "app.seats_id_seq"])
        call = self._rng.choice(["currval({})", "nextval({})", "setval({}, 50)"])
        return _one(f"select {call.format(chr(39) + sequence + chr(39))}")

    def _discard(self) -> _Statements:
        return _one(
            self._rng.choice(["discard sequences", "discard plans", "discard temp", "discard all"]), is_alone=True
        )

    def _set(self) -> _Statements:
        local = self._rng.choice(["", "local "])
        return _one(self._rng.choice([
            f"set {local}timezone = 'Asia/Kathmandu'", f"set {local}datestyle = 'German'",
            f"set {local}bytea_output = escape",
            f"set {local}extra_float_digits = -10", f"set {local}intervalstyle = postgres_verbose",
            f"set {local}search_path = app, prog", f"set {local}enable_seqscan = off", f"set {local}jit = off",
            f"set {local}standard_conforming_strings = off", f"set {local}plan_cache_mode = force_generic_plan",
            f"set {local}synchronous_commit = off", f"set {local}session_replication_role = origin",
            f"set {local}row_security = off", f"set {local}client_min_messages = log",
            f"set {local}app.user = 'ann'", "reset timezone", "reset all", f"set {local}check_function_bodies = off",
        ]))  # fmt: skip

    def _set_constraints(self) -> _Statements:
        which = self._rng.choice(["all", "all", "all", "app.customers_rank_key", "app.orders_customer_id_fkey"])
        return _one(f"set constraints {which} {self._rng.choice(['immediate', 'immediate', 'deferred'])}")

    def _temporary(self) -> _Statements:
        name = self._name("scratch")
        return [
            Statement(f"create temp table {name} (id serial primary key, v text)"),
            Statement(f"insert into {name} (v) select state from app.orders order by id"),
            Statement(f"insert into app.notes select 'temp', v from {name} order by id"),
            Statement(self._rng.choice([f"drop table {name}", f"select count(*) from {name}"])),
        ]

    def _listen(self) -> _Statements:
        return _one(self._rng.choice([
            "listen mine", "unlisten *", "notify mine, 'hello'", "select pg_notify('mine', repeat('x', 7999))",
        ]))  # fmt: skip

    def _advisory(self) -> _Statements:
        return _one(self._rng.choice([
            f"select pg_advisory_xact_lock({self._id()})", f"select pg_try_advisory_lock({self._id()})",
            "select pg_advisory_unlock_all()", f"select pg_try_advisory_xact_lock_shared({self._id()})",
        ]))  # fmt: skip

    def _export(self) -> _Statements:
        return _one("select pg_current_xact_id_if_assigned() is null, txid_current_if_assigned() is null")

    # Errors.

    def _fail(self) -> _Statements:
        return _one(self._rng.choice([
            "select 1 / 0", "insert into app.customers (id, name) values (1, 'twice'), (1, 'twice')",
            "insert into app.items values (999, 1, 'no order')", "update app.customers set version = 5000",
            "select 'x'::integer", "select no_such_column from app.orders", "no such statement",
            f"insert into app.regions values (null, {self._id()}, 1)",
            "do $$ begin update app.orders set version = version + 1; raise exception 'own error'"
            " using errcode = 'ZZ001', hint = 'a hint', detail = 'a detail'; end $$",
            "update app.seats set holder = 12345", "insert into app.typed (id, c0) values (77, 99999)",
            "update app.orders set total = 1 / (id - 2)", "delete from app.seats where id = 1",
        ]))  # fmt: skip

    def _time_out(self) -> _Statements:
        return [
            Statement("begin"),
            Statement("set local lock_timeout = '60ms'"),
            Statement(f"update app.customers set version = version + 1 where id in ({self._ids()})"),
            Statement(self._simple()),
            Statement("commit"),
        ]

    # Flags.

    def _flag_insert(self) -> _Statements:
        conflict = self._rng.choice(["", " on conflict (key) do nothing",
                                     " on conflict (key) do update set enabled = not flags.enabled"])  # fmt: skip
        return _one(
            "insert into public.flags (key, description, enabled, notes, created_at) values"
            f" ('k{self._id() + 2}', coalesce({self._text()}, 'n'), true, {self._text()}, '2026-01-02'){conflict}"
            + self._returning("id")
        )

    def _flag_update(self) -> _Statements:
        return _one(self._rng.choice([
            f"update public.flags set enabled = not enabled, updated_by = 'ann' where id in ({self._ids()})",
            "update public.flags set snapshot_id = snapshot_id + 1",
            f"update public.flags set notes = 'risky', enabled = true where id = {self._id()}",
            f"update public.flags set key = 'k{self._id() + 2}' where id = {self._id()}",
            "update public.flags set deleted_at = case when deleted_at is null then timestamp '2026-01-01' end"
            f" where id = {self._id()}",
            f"update public.flags set id = id + 50 where id = {self._id()} and not exists (select from segments)",
        ]))  # fmt: skip

    def _flag_delete(self) -> _Statements:
        return _one(self._rng.choice([
            f"delete from public.flags where id = {self._id()}", f"delete from public.segments where id = {self._id()}",
            f"delete from public.variants where id = {self._id()}", f"delete from public.tags where id = {self._id()}",
            f"delete from public.flags_tags where flag_id = {self._id()}",
        ]))  # fmt: skip

    def _flag_parts(self) -> _Statements:
        return _one(self._rng.choice([
            "insert into public.segments (flag_id, description, rank, created_at)"
            f" select id, 'more', 9, '2026-01-01' from public.flags where id in ({self._ids()}) order by id",
            "update public.segments set rank = rank + 1, rollout_percent = (rollout_percent + 7) % 101",
            f"insert into public.flags_tags (flag_id, tag_id) values ({self._id()}, {self._id()})"
            " on conflict do nothing",
            f"update public.distributions set percent = (percent + 10) % 101 where segment_id = {self._id()}",
            f"update public.tags set value = 't{self._id()}' where id = {self._id()}",
            "insert into public.variants (flag_id, key, attachment, created_at)"
            f" values ({self._id()}, 'v', '{{\"a\": \"1\"}}', '2026-01-01')",
            f"update public.{self._rng.choice(FLAG_TABLES[1:6])} set updated_at = '2026-01-05'",
        ]))  # fmt: skip

    def _kinds(self) -> Mapping[str, tuple[int, Callable[[], _Statements]]]:
        kinds: dict[str, tuple[int, Callable[[], _Statements]]] = {
            "touch": (16, self._touch_one), "insert": (8, self._insert), "insert select": (4, self._insert_select),
            "insert on conflict": (5, self._insert_conflict), "update one": (8, self._update_one),
            "update many": (6, self._update_many), "update nothing": (2, self._update_nothing),
            "update key": (5, self._update_key), "update from": (2, self._update_from), "delete": (6, self._delete),
            "cte": (4, self._cte), "copy in": (4, self._copy_in), "copy out": (1, self._copy_out),
            "truncate": (2, self._truncate), "cursor": (3, self._cursor),
            "cursor with hold": (2, self._cursor_with_hold),
            "refcursor": (2, self._refcursor), "prepared": (3, self._prepared), "do": (4, self._do),
            "do catching": (3, self._do_catching), "do with commits": (5, self._do_commits), "call": (3, self._call),
            "several": (5, self._several), "select": (3, self._select), "lock rows": (4, self._lock_rows),
            "lock table": (1, self._lock_table), "typed insert": (5, self._typed_insert),
            "typed update": (5, self._typed_update), "typed read": (2, self._typed_read), "keyed": (5, self._keyed),
            "odd names": (3, self._odd), "partitions": (5, self._move_partition), "lastval": (5, self._last_number),
            "sequence": (4, self._current_number), "discard": (3, self._discard), "set": (3, self._set),
            "set constraints": (4, self._set_constraints), "temporary": (2, self._temporary),
            "listen": (2, self._listen),
            "advisory lock": (2, self._advisory), "transaction id": (3, self._export), "fail": (3, self._fail),
            "lock timeout": (1, self._time_out), "flag insert": (5, self._flag_insert),
            "flag update": (8, self._flag_update), "flag delete": (3, self._flag_delete),
            "flag parts": (6, self._flag_parts),
        }  # fmt: skip
        if self._version >= 150_000:
            kinds["merge"] = (4, self._merge)
        return kinds


# Called by the statements above; created with the probe of a session's state.
ROUTINES = """
create function app_probe.open_cursor() returns refcursor language plpgsql as $$
declare c refcursor;
begin
    open c for select id from app.orders order by id;
    return c;
end $$;
create procedure app_probe.work(in_id integer, in_keep boolean) language plpgsql as $$
begin
    update app.orders set version = version + 1 where id = in_id;
    commit;
    insert into app.notes values ('work', in_id::text);
    update public.flags set snapshot_id = snapshot_id + 1 where id = in_id;
    if in_keep then commit; else rollback; end if;
    delete from app.items where order_id = in_id and line > 5;
end $$;
"""
