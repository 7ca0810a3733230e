"""Keys for the API, and the secret that stream tokens are signed with."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

UPGRADE = """
-- A key is 256 random bits, so a plain hash is enough: there is nothing to guess. prefix is the key's public beginning,
-- by which it is found; the hash is of the whole key.
create table flagent_cdc.api_key (
    id         integer generated always as identity primary key,
    name       text not null check (name <> ''),
    prefix     text not null unique,
    hash       bytea not null check (length(hash) = 32),
    scopes     jsonb not null default '{}'::jsonb,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz
);

-- One random secret for all servers of this database.
create table flagent_cdc.stream_token_secret (
    secret  bytea not null
        default sha256((gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text)::bytea),
    is_only boolean not null default true unique check (is_only)
);
insert into flagent_cdc.stream_token_secret default values;

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
        execute pg_catalog.format(
            'grant select on table flagent_cdc.api_key, flagent_cdc.stream_token_secret to %I', role
        );
    end loop;
end
$$;
"""

DOWNGRADE = "drop table flagent_cdc.stream_token_secret, flagent_cdc.api_key"


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(DOWNGRADE)
