-- The logs of streams of their own: what log.sql asks of the flags' log, of streams of mode notify (stream_…) and of mode
-- horizon (horizon_…).
--
-- Of a stream of mode horizon a reader takes only transactions below the horizon, the oldest that is still running: all of
-- them have ended, so that no later one can come before any that was read. A position is a transaction's id.

-- watched_streams: Every watched table as it is called now, with its stream, that stream's number and its mode; number 0 for that of the flags.
select
    coalesce(n.nspname, w.schema_name), coalesce(c.relname, w.table_name), w.stream, coalesce(s.id, 0), w.mode
from flagent_cdc.watched_table w
left join flagent_cdc.stream s on s.name = w.stream
left join pg_catalog.pg_class c on c.oid = flagent_cdc.watched_relation(w.id)
left join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where w.stream = 'flags' or s.id is not null
order by 1, 2;

-- stream_log_state: As log_state.
select
    flagent_cdc.log_identity() || 's' || s.id,
    s.channel,
    case when newest.position is not null then s.pruned_to + 1 end,
    newest.position,
    pg_catalog.to_char(newest.committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    newest.xid::text::bigint
from flagent_cdc.stream s
left join lateral (
    select c.position, c.committed_at, c.xid
    from flagent_cdc.stream_commit_log c
    where c.stream = s.id
    order by c.position desc
    limit 1
) newest on true
where s.id = %(stream)s;

-- stream_newest_position: As newest_position.
select coalesce(max(c.position), 0) from flagent_cdc.stream_commit_log c where c.stream = %(stream)s;

-- stream_commit_stamp: As commit_stamp.
select
    pg_catalog.to_char(c.committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    c.xid::text::bigint
from flagent_cdc.stream_commit_log c
where c.stream = %(stream)s and c.position = %(position)s;

-- stream_commits_after: As commits_after.
with heads as materialized (
    select
        c.position, c.batch, c.committed_at, c.xid, c.session_user_name, c.application_name,
        sum(c.changes) over (order by c.position) - c.changes as changes_before
    from (
        select l.position, l.batch, l.committed_at, l.xid, l.session_user_name, l.application_name, l.changes
        from flagent_cdc.stream_commit_log l
        where l.stream = %(stream)s and l.position > %(position)s
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
left join flagent_cdc.stream_change_log g on g.batch = h.batch
where h.changes_before < %(limit)s
order by h.position, g.id;

-- stream_commits_before: As commits_before.
with heads as materialized (
    select
        c.position, c.batch, c.committed_at, c.xid, c.session_user_name, c.application_name,
        sum(c.changes) over (order by c.position desc) - c.changes as changes_before
    from (
        select l.position, l.batch, l.committed_at, l.xid, l.session_user_name, l.application_name, l.changes
        from flagent_cdc.stream_commit_log l
        where l.stream = %(stream)s and l.position <= %(position)s and l.position > %(down_to)s
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
left join flagent_cdc.stream_change_log g on g.batch = h.batch
where h.changes_before < %(limit)s
order by h.position desc, g.id;

-- horizon_log_state: As log_state, and whether commits that are visible already wait for the horizon.
with horizon as materialized (
    select pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint as xid
)
select
    flagent_cdc.log_identity() || 's' || s.id,
    s.channel,
    case when newest.xid is not null then s.pruned_to + 1 end,
    newest.xid,
    pg_catalog.to_char(newest.changed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    newest.xid,
    exists (
        select
        from flagent_cdc.horizon_log l
        where l.stream = s.id and l.xid >= h.xid and l.origin = 'flagent_cdc.horizon_log'::regclass
    )
from flagent_cdc.stream s
cross join horizon h
left join lateral (
    select l.xid, l.changed_at
    from flagent_cdc.horizon_log l
    where l.stream = s.id and l.xid < h.xid and l.origin = 'flagent_cdc.horizon_log'::regclass
    order by l.xid desc, l.id desc
    limit 1
) newest on true
where s.id = %(stream)s;

-- horizon_newest_position: As newest_position, below the horizon.
select coalesce((
    select l.xid
    from flagent_cdc.horizon_log l
    where l.stream = %(stream)s
      and l.xid < pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint
      and l.origin = 'flagent_cdc.horizon_log'::regclass
    order by l.xid desc
    limit 1
), 0);

-- horizon_commit_stamp: As commit_stamp.
select pg_catalog.to_char(l.changed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), l.xid
from flagent_cdc.horizon_log l
where l.stream = %(stream)s and l.xid = %(position)s and l.origin = 'flagent_cdc.horizon_log'::regclass
order by l.id desc
limit 1;

-- horizon_commits_after: As commits_after, below the horizon; a commit's time is that of its last change.
with page as materialized (
    select l.xid
    from flagent_cdc.horizon_log l
    where l.stream = %(stream)s
      and l.xid > %(position)s
      and l.xid < pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint
      and l.origin = 'flagent_cdc.horizon_log'::regclass
    order by l.xid, l.id
    limit %(limit)s
),
-- The last one on a full page may go on beyond it: it is for the next page, unless it is the only one.
bounds as materialized (
    select case
        when count(*) < %(limit)s or min(p.xid) = max(p.xid) then max(p.xid)
        else (select max(q.xid) from page q where q.xid < max(p.xid))
    end as up_to
    from page p
)
select
    l.xid,
    pg_catalog.to_char(
        last_value(l.changed_at) over (
            partition by l.xid order by l.id rows between unbounded preceding and unbounded following
        ) at time zone 'UTC',
        'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
    ),
    l.xid, l.session_user_name, l.application_name, l.id,
    l.schema_name, l.table_name, l.op, l.before, l.after, l.key
from bounds b
join flagent_cdc.horizon_log l
  on l.stream = %(stream)s and l.xid > %(position)s and l.xid <= b.up_to
 and l.origin = 'flagent_cdc.horizon_log'::regclass
order by l.xid, l.id;

-- horizon_commits_before: As commits_before.
with page as materialized (
    select l.xid
    from flagent_cdc.horizon_log l
    where l.stream = %(stream)s
      and l.xid <= %(position)s and l.xid > %(down_to)s
      and l.origin = 'flagent_cdc.horizon_log'::regclass
    order by l.xid desc, l.id desc
    limit %(limit)s
),
bounds as materialized (
    select case
        when count(*) < %(limit)s or min(p.xid) = max(p.xid) then min(p.xid)
        else (select min(q.xid) from page q where q.xid > min(p.xid))
    end as down_to
    from page p
)
select
    l.xid,
    pg_catalog.to_char(
        last_value(l.changed_at) over (
            partition by l.xid order by l.id rows between unbounded preceding and unbounded following
        ) at time zone 'UTC',
        'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
    ),
    l.xid, l.session_user_name, l.application_name, l.id,
    l.schema_name, l.table_name, l.op, l.before, l.after, l.key
from bounds b
join flagent_cdc.horizon_log l
  on l.stream = %(stream)s and l.xid <= %(position)s and l.xid >= b.down_to
 and l.origin = 'flagent_cdc.horizon_log'::regclass
order by l.xid desc, l.id;
