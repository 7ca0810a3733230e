"""The tables of data teams that are watched, and how."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

UPGRADE = """
-- One row per watched table. Its triggers carry what they need in their arguments, and this row's id: capture never
-- looks anything up here, and whatever the table is called by now, the id identifies it. schema_name and
-- table_name are its name when it was watched.
create table flagent_cdc.watched_table (
    id               integer generated always as identity primary key,
    schema_name      text not null,
    table_name       text not null,
    key_columns      text[] not null,   -- empty: no key, the whole row identifies it
    included_columns text[],            -- the columns that are published; null: all, also those that are added later
    masked_columns   text[] not null,   -- of these only that they are there
    operations       text[] not null,   -- some of insert, update, delete, truncate
    predicate        text,              -- SQL about one row; null: every row
    stream           text not null,     -- whose commit order it takes part in
    mode             text not null,
    options          text[] not null,   -- what the triggers carry, as log_watched() describes it
    watched_at       timestamptz not null default now()
);

-- Roles that may run a server already; those to come are granted by grant_runtime().
do $$
declare
    role text;
begin
    for role in
        select r.role_name
          from flagent_cdc.runtime_role r
          join pg_catalog.pg_roles p on p.rolname = r.role_name
    loop
        execute pg_catalog.format('grant select on table flagent_cdc.watched_table to %I', role);
    end loop;
end
$$;
"""

# With the functions go the triggers that call them; whatever else goes with the table is created again by an upgrade.
DOWNGRADE = """
drop function if exists flagent_cdc.capture_watched(), flagent_cdc.capture_watched_truncate() cascade;
drop table flagent_cdc.watched_table cascade;
delete from flagent_cdc.installed_object;
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(DOWNGRADE)
