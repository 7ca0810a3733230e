-- Reading a lane's log. `{commits}`, `{changes}` and `{pruned_to}` are its parts; in everything else the flags' log and those
-- of lanes ordered at commit are alike. Lanes ordered when read are in read_order.sql.

-- flags_commits: The commits of the flags' lane.
select c.position, c.transaction_group, c.xid, c.committed_at, c.changes, c.session_user_name, c.application_name
from flagent_cdc.commit_log c;

-- commit_commits: The commits of a lane ordered at commit.
select c.position, c.transaction_group, c.xid, c.committed_at, c.changes, c.session_user_name, c.application_name
from flagent_cdc.lane_commit_log c
where c.lane = %(lane)s;

-- flags_changes: The changes of the flags' lane, by transaction group.
select g.transaction_group, g.id, g.schema_name, g.table_name, g.op, g.key, g.before, g.after
from flagent_cdc.change_log g;

-- commit_changes: The changes of all lanes ordered at commit, by transaction group.
select g.transaction_group, g.id, g.schema_name, g.table_name, g.op, g.key, g.before, g.after
from flagent_cdc.lane_change_log g;

-- flags_pruned_to: The last position that was pruned from the flags' log.
select r.pruned_to from flagent_cdc.retention r;

-- commit_pruned_to: The last position that was pruned from a lane's log.
select s.pruned_to from flagent_cdc.lane s where s.id = %(lane)s;

-- flags_log_state: The log's identity, the channel of its notifications, its oldest position, and its newest one.
select
    flagent_cdc.log_identity(),
    (select i.channel from flagent_cdc.installation i),
    (select min(c.position) from flagent_cdc.commit_log c where c.position > ({pruned_to})),
    newest.position,
    pg_catalog.to_char(newest.committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    newest.xid::text::bigint
from (select 1) one
left join lateral (
    select c.position, c.committed_at, c.xid from flagent_cdc.commit_log c order by c.position desc limit 1
) newest on true;

-- commit_log_state: As flags_log_state; no row where the lane no longer exists.
select
    flagent_cdc.log_identity() || 's' || s.id,
    s.channel,
    case when newest.position is not null then s.pruned_to + 1 end,
    newest.position,
    pg_catalog.to_char(newest.committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    newest.xid::text::bigint
from flagent_cdc.lane s
left join lateral (
    select c.position, c.committed_at, c.xid
    from flagent_cdc.lane_commit_log c
    where c.lane = s.id
    order by c.position desc
    limit 1
) newest on true
where s.id = %(lane)s;

-- newest_position: The highest position that is visible, 0 in an empty log.
select coalesce(max(c.position), 0) from ({commits}) c;

-- commit_stamp: When the commit at a position was made, and by which transaction.
select
    pg_catalog.to_char(c.committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    c.xid::text::bigint
from ({commits}) c
where c.position = %(position)s;

-- commits_after: The next commits after a position, oldest first: as many whole commits as have at most `limit` changes, at least one.
-- The first `most` changes of each; a change carries the number of changes of its commit, and its own number.
with heads as materialized (
    select
        c.position, c.transaction_group, c.committed_at, c.xid, c.session_user_name, c.application_name, c.changes,
        sum(c.changes) over (order by c.position) - c.changes as changes_before
    from (
        select l.position, l.transaction_group, l.committed_at, l.xid, l.session_user_name, l.application_name, l.changes
        from ({commits}) l
        where l.position > %(position)s
        order by l.position
        limit %(limit)s
    ) c
)
select
    h.position,
    pg_catalog.to_char(h.committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    h.xid::text::bigint, h.session_user_name, h.application_name, h.changes, g.id,
    g.schema_name, g.table_name, g.op, g.before, g.after, g.key
from heads h
left join ({changes}) g on g.transaction_group = h.transaction_group and g.id <= %(most)s
where h.changes_before < %(limit)s
order by h.position, g.id;

-- commit_part: The changes of the commit at a position after a number, at most `limit`, as in commits_after.
select
    h.position,
    pg_catalog.to_char(h.committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    h.xid::text::bigint, h.session_user_name, h.application_name, h.changes, g.id,
    g.schema_name, g.table_name, g.op, g.before, g.after, g.key
from ({commits}) h
cross join lateral (
    select d.id, d.schema_name, d.table_name, d.op, d.before, d.after, d.key
    from ({changes}) d
    where d.transaction_group = h.transaction_group and d.id > %(index)s
    order by d.id
    limit %(limit)s
) g
where h.position = %(position)s
order by g.id;

-- flags_has_flags: Whether the commit at a position changed Flagent's tables.
select exists (
    select
    from ({commits}) h
    join ({changes}) g on g.transaction_group = h.transaction_group
    where h.position = %(position)s
      and g.table_name = any (%(tables)s)
      and g.schema_name in (select a.schema_name from flagent_cdc.attachment a)
);

-- heads_before: Commits at or before a position and after another, newest first, each with the number of changes before it.
select
    c.position, c.transaction_group, c.committed_at, c.xid, c.session_user_name, c.application_name, c.changes,
    sum(c.changes) over (order by c.position desc) - c.changes as changes_before
from (
    select l.position, l.transaction_group, l.committed_at, l.xid, l.session_user_name, l.application_name, l.changes
    from ({commits}) l
    where l.position <= %(position)s and l.position > %(down_to)s
    order by l.position desc
    limit %(limit)s
) c;

-- commits_before: Commits at or before a position and after another, newest first, bounded as in commits_after.
with heads as materialized ({heads_before})
select
    h.position,
    pg_catalog.to_char(h.committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    h.xid::text::bigint, h.session_user_name, h.application_name, h.changes, g.id,
    g.schema_name, g.table_name, g.op, g.before, g.after, g.key
from heads h
left join ({changes}) g on g.transaction_group = h.transaction_group and g.id <= %(most)s
where h.changes_before < %(limit)s
order by h.position desc, g.id;

-- log_reach: The log's identity, its oldest commit with its time, its newest position, the present time in UTC, and the database.
-- The last two exist only where the lane is ordered when read, see read_log_reach.
select
    flagent_cdc.log_identity() || case when %(lane)s::integer > 0 then 's' || %(lane)s::integer else '' end,
    oldest.position,
    pg_catalog.to_char(oldest.committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    (select coalesce(max(c.position), 0) from ({commits}) c),
    pg_catalog.to_char(pg_catalog.clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    pg_catalog.current_database(),
    null,
    null
from (select 1) one
left join lateral (
    select c.position, c.committed_at
    from ({commits}) c
    where c.position > ({pruned_to})
    order by c.position
    limit 1
) oldest on true;

-- scanned: The next changes after one of a commit, `scan` at most, and whether they are of `tables`; all when null.
-- A commit whose changes were pruned gives one row without a number.
with heads as materialized (
    select
        c.position, c.transaction_group, c.committed_at, c.xid, c.session_user_name, c.application_name, c.changes, c.taken,
        sum(c.changes - c.taken) over (order by c.position) - (c.changes - c.taken) as changes_before
    from (
        select
            l.position, l.transaction_group, l.committed_at, l.xid, l.session_user_name, l.application_name, l.changes,
            case when l.position = %(position)s then %(index)s else 0 end as taken
        from ({commits}) l
        where l.position >= %(position)s and (l.position > %(position)s or l.changes > %(index)s)
        order by l.position
        limit %(scan)s
    ) c
)
select
    h.position, h.committed_at, h.xid, h.session_user_name, h.application_name, h.changes::bigint as changes,
    g.id::bigint as id, g.schema_name, g.table_name, g.op, g.key, g.before, g.after, g.is_wanted
from heads h
left join lateral (
    select
        d.id, d.schema_name, d.table_name, d.op, d.key, d.before, d.after,
        %(tables)s::text[] is null or named.table_name = any (%(tables)s::text[])
            or named.schema_name || '.' || named.table_name = any (%(tables)s::text[]) as is_wanted
    from ({changes}) d
    cross join lateral (
        -- As clients write them: a name with a dot or a quote is quoted.
        select
            case when d.schema_name ~ '[."]' then '"' || pg_catalog.replace(d.schema_name, '"', '""') || '"' else d.schema_name end as schema_name,
            case when d.table_name ~ '[."]' then '"' || pg_catalog.replace(d.table_name, '"', '""') || '"' else d.table_name end as table_name
    ) named
    where d.transaction_group = h.transaction_group and d.id > h.taken
    order by d.id
    limit (%(scan)s - h.changes_before)::bigint
) g on true
where h.changes_before < %(scan)s;

-- changes_after: The next changes after one of a commit, in their order, as text: a page that is bounded in rows and in bytes.
-- Of the changes scanned it returns those that are wanted and, without its content, the last one. Sizes are compared as
-- stored first, which costs no decompression, and then as sent; at least one change is returned, however large.
with scanned as materialized (
    select
        l.position, l.committed_at, l.xid, l.session_user_name, l.application_name, l.changes,
        l.id, l.schema_name, l.table_name, l.op, l.key, l.before, l.after, l.is_wanted,
        sum(case when l.is_wanted then
            coalesce(pg_catalog.pg_column_size(l.before), 0) + coalesce(pg_catalog.pg_column_size(l.after), 0)
        else 0 end) over (order by l.position, l.id) as stored_bytes,
        pg_catalog.row_number() over (order by l.position, l.id) as number
    from ({scanned}) l
),
bounded as materialized (
    select
        s.position, s.committed_at, s.xid, s.session_user_name, s.application_name, s.changes,
        s.id, s.schema_name, s.table_name, s.op, s.key::text as key, s.is_wanted, s.number,
        case when s.is_wanted then s.before::text end as before,
        case when s.is_wanted then s.after::text end as after,
        pg_catalog.count(*) filter (where s.is_wanted) over (order by s.number) as wanted,
        sum(case when s.is_wanted then
            coalesce(pg_catalog.octet_length(s.before::text), 0) + coalesce(pg_catalog.octet_length(s.after::text), 0)
        else 0 end) over (order by s.number) as sent_bytes
    from scanned s
    where s.stored_bytes <= %(most_bytes)s or s.number = 1
),
page as (
    select max(b.number) as number
    from bounded b
    where b.number = 1 or (b.sent_bytes <= %(most_bytes)s and b.wanted <= %(limit)s)
)
select
    p.position, p.id, p.changes,
    pg_catalog.to_char(p.committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    p.xid::text::bigint, p.session_user_name, p.application_name,
    p.schema_name, p.table_name, p.op, p.key, p.before, p.after, p.is_wanted
from bounded p, page e
where p.number <= e.number and (p.is_wanted or p.number = e.number or p.id is null)
order by p.number;

-- backend_pid: The process that runs this query; behind a pooler it differs from the one that the session was opened with.
select pg_catalog.pg_backend_pid();

-- database_name: The name of this database.
select pg_catalog.current_database();

-- succeeds: Whether this log continues another one.
select flagent_cdc.succeeds(%(log)s);

-- notify: The listener's probe of its own channel.
select pg_catalog.pg_notify(%(channel)s, %(payload)s);

-- pending_schemas: The requested schemas whose tables do not exist yet.
select a.schema_name from flagent_cdc.attachment a where a.attached_at is null order by a.schema_name;

-- flag_rows: Every row of one of Flagent's tables as JSON.
select r.row_image from flagent_cdc.flag_rows(%(schema)s, %(table)s) as r (row_image);

-- may_open_flag_rows: Whether open_flag_rows() exists, and this role may call it.
select coalesce(
    pg_catalog.has_function_privilege(
        pg_catalog.to_regprocedure('flagent_cdc.open_flag_rows(text, text, text[], refcursor)'), 'execute'
    ),
    false
);

-- open_flag_rows: Open a cursor over one of Flagent's tables, ordered by flag.
select flagent_cdc.open_flag_rows(%(schema)s, %(table)s, %(columns)s, %(cursor)s);

-- use_utc: Until the end of the transaction, render times with a time zone as the capture does.
set local timezone to 'UTC';
