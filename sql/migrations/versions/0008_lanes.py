"""The field's names: lanes, transaction groups, positions; and the options of a watched table as a composite type.

Renaming keeps every row and every right. `migrate` drops the functions of the old names when it has created those of
the new ones, see `cdc.admin.installation`.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# A writer that waits for a log table inside a capture has read the old function already, and would fail on the new
# names. So the captured tables are locked first, as every writer locks its table before it captures: a writer that has
# captured ends before the upgrade, and any other captures after it, with the new functions.
LOCK = """
do $$
declare
    captured regclass;
begin
    for captured in
        select distinct t.tgrelid::regclass
          from pg_catalog.pg_trigger t
          join pg_catalog.pg_proc p on p.oid = t.tgfoid
          join pg_catalog.pg_class c on c.oid = t.tgrelid
         where p.pronamespace = 'flagent_cdc'::regnamespace and c.relnamespace <> 'flagent_cdc'::regnamespace
         order by 1
    loop
        execute pg_catalog.format('lock table only %s in share row exclusive mode', captured);
    end loop;
end
$$;
"""

TABLES = {
    "stream": "lane",
    "stream_change_log": "lane_change_log",
    "stream_change_log_first": "lane_change_log_first",
    "stream_commit_log": "lane_commit_log",
    "stream_seal_request": "lane_deferred_commit",
    "seal_request": "deferred_commit",
    "horizon_log": "read_order_log",
}

# By the new names of the tables. Columns of an inherited table come with its parent's.
COLUMNS = {
    "change_log": {"batch": "transaction_group"},
    "commit_log": {"batch": "transaction_group"},
    "deferred_commit": {"batch": "transaction_group", "asked_at": "requested_at", "doubts": "deferrals"},
    "lane": {"mode": "lane_order"},
    "lane_change_log": {"batch": "transaction_group"},
    "lane_change_log_first": {"stream": "lane"},
    "lane_commit_log": {"batch": "transaction_group", "stream": "lane"},
    "lane_deferred_commit": {
        "batch": "transaction_group",
        "stream": "lane",
        "asked_at": "requested_at",
        "doubts": "deferrals",
    },
    "read_order_log": {"stream": "lane"},
    "watched_table": {"stream": "lane", "mode": "lane_order"},
}

SEQUENCES = {
    "change_batch": "transaction_group",
    "lone_batch": "last_change_number",
    "stream_batch": "lane_transaction_group",
    "horizon_change": "read_order_change",
    "stream_id_seq": "lane_id_seq",
}

ORDERS = {"notify": "commit", "horizon": "read"}

# `sql/objects` creates these triggers by their new names.
OLD_TRIGGERS = """
drop trigger if exists flagent_cdc_900_seal on flagent_cdc.change_log_first;
drop trigger if exists flagent_cdc_910_seal on flagent_cdc.seal_request;
drop trigger if exists flagent_cdc_920_seal on flagent_cdc.stream_change_log_first;
drop trigger if exists flagent_cdc_930_seal on flagent_cdc.stream_seal_request;
"""

NEW_TRIGGERS = """
drop trigger if exists flagent_cdc_900_assign_position on flagent_cdc.change_log_first;
drop trigger if exists flagent_cdc_910_assign_position on flagent_cdc.deferred_commit;
drop trigger if exists flagent_cdc_920_assign_position on flagent_cdc.lane_change_log_first;
drop trigger if exists flagent_cdc_930_assign_position on flagent_cdc.lane_deferred_commit;
"""

# `create or replace` cannot give a function's arguments or columns other names.
OLD_FUNCTIONS = """
drop function if exists flagent_cdc.default_key(oid, text[]);
drop function if exists flagent_cdc.watch_options(
    oid, text[], text[], text[], text[], text, text[], text, text
);
drop function if exists flagent_cdc.watched();
drop function if exists flagent_cdc.watch(text, text[], text[], text[], text[], text, text[], text, text);
"""

OPTIONS = """
-- How a table is watched: what its triggers carry, as their only argument, and watched_table.options.
create type flagent_cdc.capture_options as (
    id              integer,    -- that of the row of watched_table
    lane            integer,    -- 0: the flags' lane
    lane_order      text,       -- commit, read
    relation        oid,        -- the table when it was watched
    key_columns     text[],     -- empty: no key
    predicate       text,       -- null: every row
    visible_columns text[],     -- null: all, also those that are added later
    visible_numbers smallint[], -- their attribute numbers
    masked_columns  text[],
    known_columns   text[]      -- all columns that the table had when it was watched
);
alter table flagent_cdc.watched_table alter column options type flagent_cdc.capture_options using {as_options};
"""

# The composite of the text array that the options were; its last members may be missing.
AS_OPTIONS = """row(
    options[1], coalesce(options[9], '0'), case options[10] when 'horizon' then 'read' else 'commit' end, options[4],
    options[2], nullif(options[3], ''), nullif(options[5], ''),
    case when options[5] <> '' then options[6] end, case when options[5] <> '' then options[7] end,
    nullif(options[8], '')
)::flagent_cdc.capture_options"""

OLD_OPTIONS = """
alter table flagent_cdc.watched_table alter column options type text[] using array[
    (options).id::text, (options).key_columns::text, coalesce((options).predicate, ''), (options).relation::text,
    coalesce((options).visible_columns::text, ''), coalesce((options).visible_numbers::text, '{}'),
    coalesce((options).masked_columns::text, '{}'), coalesce((options).known_columns::text, ''), (options).lane::text,
    case (options).lane_order when 'read' then 'horizon' else 'notify' end
];
drop type flagent_cdc.capture_options cascade;
"""

# Gives the triggers of the watched tables their options in the new form, as put_watch_triggers() writes them, and
# leaves them enabled or disabled. The options are those of the trigger, not those of a row of watched_table: a table
# that was restored into another database carries an id that belongs to another table there.
WATCH_TRIGGERS = """
do $$
declare
    put record;
begin
    for put in
        select t.tgname, t.tgrelid::regclass as relation, t.tgtype, t.tgenabled, t.tgfoid::regproc as function,
               {as_options}::text as options
          from pg_catalog.pg_trigger t
         cross join lateral (
             -- A zero byte ends each argument. Written as pairs of digits, it is not mistaken for anything else.
             select pg_catalog.array_agg(
                        pg_catalog.convert_from(
                            pg_catalog.decode(pg_catalog.replace(a.digits, ' ', ''), 'hex'),
                            pg_catalog.getdatabaseencoding()
                        )
                        order by a.number
                    ) as options
               from pg_catalog.unnest(
                        pg_catalog.string_to_array(
                            pg_catalog.regexp_replace(pg_catalog.encode(t.tgargs, 'hex'), '(..)', '\\1 ', 'g'), '00 '
                        )
                    ) with ordinality as a (digits, number)
         ) arguments
         where t.tgparentid = 0
           and t.tgfoid in (
               pg_catalog.to_regprocedure('flagent_cdc.capture_watched()'),
               pg_catalog.to_regprocedure('flagent_cdc.capture_watched_truncate()')
           )
    loop
        -- tgtype: 1 row, 2 before, 4 insert, 8 delete, 16 update, 32 truncate
        execute pg_catalog.format(
            'create or replace trigger %I %s %s on %s for each %s execute function %s(%L)',
            put.tgname, case when put.tgtype & 2 > 0 then 'before' else 'after' end,
            pg_catalog.concat_ws(
                ' or ', case when put.tgtype & 4 > 0 then 'insert' end, case when put.tgtype & 8 > 0 then 'delete' end,
                case when put.tgtype & 16 > 0 then 'update' end, case when put.tgtype & 32 > 0 then 'truncate' end
            ),
            put.relation, case when put.tgtype & 1 > 0 then 'row' else 'statement' end, put.function, put.options
        );
        execute pg_catalog.format(
            'alter table %s %s trigger %I', put.relation,
            case put.tgenabled
                when 'A' then 'enable always' when 'R' then 'enable replica' when 'D' then 'disable' else 'enable'
            end,
            put.tgname
        );
    end loop;
end
$$;
"""


def rename_tables(names: dict[str, str]) -> str:
    return "".join(f"alter table flagent_cdc.{old} rename to {new};\n" for old, new in names.items())


def rename_columns(names: dict[str, dict[str, str]]) -> str:
    return "".join(
        f"alter table flagent_cdc.{table} rename column {old} to {new};\n"
        for table, columns in names.items()
        for old, new in columns.items()
    )


def rename_sequences(names: dict[str, str]) -> str:
    return "".join(f"alter sequence flagent_cdc.{old} rename to {new};\n" for old, new in names.items())


def rename_lane_sequences(order: str, old: str, new: str) -> str:
    """The sequences that positions come from, one for each lane that is ordered at commit."""
    return f"""
do $$
declare
    id integer;
begin
    for id in select l.id from flagent_cdc.lane l where l.lane_order = '{order}' loop
        execute pg_catalog.format(
            'alter sequence flagent_cdc.%I rename to %I', '{old}_' || id || '_position', '{new}_' || id || '_position'
        );
    end loop;
end
$$;
"""  # noqa: S608 - names from this file


def rename_keys(tables: dict[str, str]) -> str:
    """Keys, and with them their indexes, are named after their table.

    So are the constraints that PostgreSQL 18 makes of `not null`. These keep their names: where a table's differs from
    that of the table it inherits from, neither can be renamed.
    """
    return f"""
do $$
declare
    found record;
begin
    for found in
        select c.conname::text as old, r.relname::text as relation,
               r.relname || pg_catalog.substr(c.conname::text, pg_catalog.length(n.old) + 1) as new
          from (values {", ".join(f"('{old}', '{new}')" for old, new in tables.items())}) as n (old, new)
          join pg_catalog.pg_class r on r.relname = n.new and r.relnamespace = 'flagent_cdc'::regnamespace
          join pg_catalog.pg_constraint c on c.conrelid = r.oid and c.contype in ('p', 'u')
         where pg_catalog.starts_with(c.conname::text, n.old || '_')
    loop
        execute pg_catalog.format(
            'alter table flagent_cdc.%I rename constraint %I to %I', found.relation, found.old, found.new
        );
    end loop;
end
$$;
"""  # noqa: S608 - names from this file


def rename_orders(names: dict[str, str]) -> str:
    cases = " ".join(f"when '{old}' then '{new}'" for old, new in names.items())
    return "".join(
        f"update flagent_cdc.{table} set lane_order = case lane_order {cases} end;\n"  # noqa: S608 - as above
        for table in ("lane", "watched_table")
    )


def reverse(names: dict[str, str]) -> dict[str, str]:
    return {new: old for old, new in names.items()}


def upgrade() -> None:
    op.execute(LOCK)
    op.execute(OLD_TRIGGERS)
    op.execute(OLD_FUNCTIONS)
    op.execute(rename_tables(TABLES))
    op.execute(rename_columns(COLUMNS))
    op.execute(rename_sequences(SEQUENCES))
    op.execute(rename_keys(TABLES))
    op.execute(rename_orders(ORDERS))
    op.execute(rename_lane_sequences("commit", "stream", "lane"))
    op.execute(OPTIONS.replace("{as_options}", AS_OPTIONS))
    op.execute(WATCH_TRIGGERS.replace("{as_options}", AS_OPTIONS))


def downgrade() -> None:
    op.execute(NEW_TRIGGERS)
    op.execute(OLD_OPTIONS)
    op.execute(rename_lane_sequences("commit", "lane", "stream"))
    op.execute(rename_orders(reverse(ORDERS)))
    op.execute(rename_sequences(reverse(SEQUENCES)))
    op.execute(rename_columns({table: reverse(names) for table, names in COLUMNS.items()}))
    op.execute(rename_tables(reverse(TABLES)))
    op.execute(rename_keys(reverse(TABLES)))
    op.execute("delete from flagent_cdc.installed_object")
