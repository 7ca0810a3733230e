"""The flags of the benchmark: each about 1.1 KB as JSON, with two segments, two constraints, three distributions, two
variants and a tag.
"""

import psycopg

from cdc.database.queries import flagent_tables

__all__ = ["add_flags", "add_parts", "create_tables", "write_flags"]

_TAGS = 50

_FLAG = """
select 'checkout.flow-' || n, 'The new checkout for team ' || n %% 97, 'ann@example.org',
       'bob@example.org', n %% 3 <> 0, n, 'Ask payments first.', 'user', localtimestamp,
       localtimestamp
  from generate_series(%(first)s::integer, %(last)s::integer) n
"""

_PARTS = """
with segment as (
    insert into segments (flag_id, description, rank, rollout_percent, created_at, updated_at)
    select f.id, case s when 1 then 'employees' else 'everybody else' end, s,
           case s when 1 then 100 else f.id %% 101 end, localtimestamp, localtimestamp
      from flags f cross join generate_series(1, 2) s
     where f.id between %(first)s and %(last)s
    returning id, flag_id, rank
),
variant as (
    insert into variants (flag_id, key, attachment, created_at, updated_at)
    select f.id, case v when 1 then 'control' else 'treatment' end,
           case v when 1 then null else '{"color": "blue", "limit": "' || f.id || '"}' end,
           localtimestamp, localtimestamp
      from flags f cross join generate_series(1, 2) v
     where f.id between %(first)s and %(last)s
    returning id, flag_id, key
),
constraint_row as (
    insert into constraints (segment_id, property, operator, value, created_at, updated_at)
    select s.id, case s.rank when 1 then 'email' else 'country' end, case s.rank when 1 then 'EREG' else 'IN' end,
           case s.rank when 1 then '"@example\\.org$"' else '["DE","AT","CH"]' end, localtimestamp, localtimestamp
      from segment s
     where s.rank = 1
),
tagged as (
    insert into flags_tags (flag_id, tag_id)
    select f.id, 1 + f.id %% %(tags)s from flags f where f.id between %(first)s and %(last)s
)
insert into distributions (segment_id, variant_id, variant_key, percent, created_at, updated_at)
select s.id, v.id, v.key, case when s.rank = 1 then 100 else 50 end, localtimestamp, localtimestamp
  from segment s join variant v on v.flag_id = s.flag_id and (s.rank = 2 or v.key = 'treatment')
"""


def create_tables(url: str) -> None:
    """Flagent's tables, without flags, in an empty database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(flagent_tables())
        connection.execute(
            "insert into tags (value, created_at) select 'team-' || n, localtimestamp from generate_series(1, %s) n",
            (_TAGS,),
        )


def write_flags(connection: psycopg.Connection, first: int, last: int) -> None:
    """Insert flags `first` to `last` alone, without parts, in one statement."""
    connection.execute(
        "insert into flags (key, description, created_by, updated_by, enabled, snapshot_id, notes, entity_type,"
        f" created_at, updated_at) {_FLAG}",
        {"first": first, "last": last},
    )


def add_parts(connection: psycopg.Connection, first: int, last: int) -> None:
    """Insert the parts of these flags."""
    connection.execute(_PARTS, {"first": first, "last": last, "tags": _TAGS})


def add_flags(url: str, count: int) -> None:
    """Fill empty tables with so many flags and their parts, as if they had been there for long."""
    with psycopg.connect(url, autocommit=True) as connection:
        with connection.transaction():
            write_flags(connection, 1, count)
            add_parts(connection, 1, count)
        connection.execute("vacuum analyze")
