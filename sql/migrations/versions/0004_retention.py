"""How far the log has been pruned, and what must not be pruned."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

UPGRADE = """
-- pruned_to spares readers the search for the oldest commit among the dead rows that vacuum has not yet removed.
-- min_age is set by the owner: prune() leaves what is younger, whichever role calls it and whatever is asked.
create table flagent_cdc.retention (
    pruned_to bigint not null default 0,
    min_age   interval not null default '10 minutes' check (min_age >= interval '0'),
    is_only   boolean not null default true unique check (is_only)
);
insert into flagent_cdc.retention default values;

-- Roles that may run a server already; those to come are granted by grant_runtime(), and prune() in its own file.
do $$
declare
    role text;
begin
    for role in
        select r.role_name
          from flagent_cdc.runtime_role r
          join pg_catalog.pg_roles p on p.rolname = r.role_name
    loop
        execute pg_catalog.format('grant select on table flagent_cdc.retention to %I', role);
    end loop;
end
$$;
"""

DOWNGRADE = """
drop function if exists flagent_cdc.prune(interval, bigint, integer);
delete from flagent_cdc.installed_object where name = '700_prune';
drop table flagent_cdc.retention;
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(DOWNGRADE)
