-- Flagent's own tables as its migrations V1 to V8 leave them: those that hold flags, and their neighbours.
-- Used for the embedded database and for tests only; an existing Flagent database creates its tables by itself.
-- Created in the first schema of the search path. Column order is Flagent's physical order.
-- Times are the server process's local wall clock, without zone and without a default.

create table flags (
    id                   serial primary key,
    key                  varchar(64) not null,
    description          text not null,
    created_by           varchar(255),
    updated_by           varchar(255),
    enabled              boolean not null default false,
    snapshot_id          integer not null default 0,
    notes                text,
    data_records_enabled boolean not null default false,
    entity_type          varchar(255),
    environment_id       bigint,
    created_at           timestamp not null,
    updated_at           timestamp,
    deleted_at           timestamp,
    depends_on           text,
    project_id           bigint
);
create unique index idx_flag_key on flags (key);
create index idx_flag_environment on flags (environment_id);
create index idx_flag_project on flags (project_id);

create table segments (
    id              serial primary key,
    flag_id         integer not null references flags (id) on delete cascade,
    description     text,
    rank            integer not null default 999,
    rollout_percent integer not null default 0,
    created_at      timestamp not null,
    updated_at      timestamp,
    deleted_at      timestamp
);
create index idx_segment_flag on segments (flag_id);

create table variants (
    id         serial primary key,
    flag_id    integer not null references flags (id) on delete cascade,
    key        varchar(255),
    attachment text,
    created_at timestamp not null,
    updated_at timestamp,
    deleted_at timestamp
);
create index idx_variant_flag on variants (flag_id);

create table constraints (
    id         serial primary key,
    segment_id integer not null references segments (id) on delete cascade,
    property   varchar(255) not null,
    operator   varchar(50) not null,
    value      text not null,
    created_at timestamp not null,
    updated_at timestamp,
    deleted_at timestamp
);
create index idx_constraint_segment on constraints (segment_id);

create table distributions (
    id          serial primary key,
    segment_id  integer not null references segments (id) on delete cascade,
    variant_id  integer not null references variants (id) on delete cascade,
    variant_key varchar(255),
    percent     integer not null default 0,
    bitmap      text,
    created_at  timestamp not null,
    updated_at  timestamp,
    deleted_at  timestamp
);
create index idx_distribution_segment on distributions (segment_id);
create index idx_distribution_variant on distributions (variant_id);

create table tags (
    id         serial primary key,
    value      varchar(64) not null,
    created_at timestamp not null,
    updated_at timestamp,
    deleted_at timestamp
);
create unique index idx_tag_value on tags (value);

create table flags_tags (
    id      serial primary key,
    flag_id integer not null references flags (id) on delete cascade,
    tag_id  integer not null references tags (id) on delete cascade,
    constraint flags_tags_unique unique (flag_id, tag_id)
);

create table flag_snapshots (
    id         serial primary key,
    flag_id    integer not null references flags (id) on delete cascade,
    updated_by varchar(255),
    flag       text not null,
    created_at timestamp not null,
    updated_at timestamp,
    deleted_at timestamp
);
create index idx_flag_snapshot_flag on flag_snapshots (flag_id);

create table flag_entity_types (
    id         serial primary key,
    key        varchar(64) not null,
    created_at timestamp not null,
    updated_at timestamp,
    deleted_at timestamp
);
create unique index flag_entity_type_key on flag_entity_types (key);
