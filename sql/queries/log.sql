-- log_state: Which log this is, the channel of its notifications, its oldest position, and its newest one with its stamp.
select
    flagent_cdc.log_identity(),
    (select i.channel from flagent_cdc.installation i),
    (
        select min(c.position)
        from flagent_cdc.commit_log c
        where c.position > (select r.pruned_to from flagent_cdc.retention r)
    ),
    newest.position,
    pg_catalog.to_char(newest.committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    newest.xid::text::bigint
from (select 1) one
left join lateral (
    select c.position, c.committed_at, c.xid from flagent_cdc.commit_log c order by c.position desc limit 1
) newest on true;

-- newest_position: The highest position that is visible, 0 in an empty log.
select coalesce(max(c.position), 0) from flagent_cdc.commit_log c;

-- commit_stamp: When the commit at a position was made, and by which transaction.
select
    pg_catalog.to_char(c.committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    c.xid::text::bigint
from flagent_cdc.commit_log c
where c.position = %(position)s;

-- backend_pid: The process that runs this query; behind a pooler it is not the one that the session was opened with.
select pg_catalog.pg_backend_pid();

-- notify: The listener's probe of its own channel.
select pg_catalog.pg_notify(%(channel)s, %(payload)s);

-- attached_schemas: The schemas whose tables are captured.
select a.schema_name from flagent_cdc.attachment a where a.attached_at is not null order by a.schema_name;

-- pending_schemas: The schemas that wait for their tables.
select a.schema_name from flagent_cdc.attachment a where a.attached_at is null order by a.schema_name;

-- table_rows: Every row of one table as JSON.
select pg_catalog.to_jsonb(t.*) from {table} t;

-- commits_after: The next commits after a position, oldest first: as many whole commits as have at most `limit` changes, at least one.
with heads as materialized (
    select
        c.position, c.batch, c.committed_at, c.xid, c.session_user_name, c.application_name,
        sum(c.changes) over (order by c.position) - c.changes as changes_before
    from (
        select l.position, l.batch, l.committed_at, l.xid, l.session_user_name, l.application_name, l.changes
        from flagent_cdc.commit_log l
        where l.position > %(position)s
        order by l.position
        limit %(limit)s
    ) c
)
select
    h.position,
    pg_catalog.to_char(h.committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    h.xid::text::bigint, h.session_user_name, h.application_name,
    g.schema_name, g.table_name, g.op, g.before, g.after, g.key
from heads h
left join flagent_cdc.change_log g on g.batch = h.batch
where h.changes_before < %(limit)s
order by h.position, g.id;

-- commits_before: Commits at or before a position and after another, newest first, bounded as in commits_after.
with heads as materialized (
    select
        c.position, c.batch, c.committed_at, c.xid, c.session_user_name, c.application_name,
        sum(c.changes) over (order by c.position desc) - c.changes as changes_before
    from (
        select l.position, l.batch, l.committed_at, l.xid, l.session_user_name, l.application_name, l.changes
        from flagent_cdc.commit_log l
        where l.position <= %(position)s and l.position > %(down_to)s
        order by l.position desc
        limit %(limit)s
    ) c
)
select
    h.position,
    pg_catalog.to_char(h.committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    h.xid::text::bigint, h.session_user_name, h.application_name,
    g.schema_name, g.table_name, g.op, g.before, g.after, g.key
from heads h
left join flagent_cdc.change_log g on g.batch = h.batch
where h.changes_before < %(limit)s
order by h.position desc, g.id;
