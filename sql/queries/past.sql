-- log_reach: Which log this is, its oldest commit and when it was made, its newest position, what time it is in UTC, and the database.
select
    flagent_cdc.log_identity(),
    oldest.position,
    pg_catalog.to_char(oldest.committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    (select coalesce(max(c.position), 0) from flagent_cdc.commit_log c),
    pg_catalog.to_char(pg_catalog.clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    pg_catalog.current_database()
from (select 1) one
left join lateral (
    select c.position, c.committed_at
    from flagent_cdc.commit_log c
    where c.position > (select r.pruned_to from flagent_cdc.retention r)
    order by c.position
    limit 1
) oldest on true;

-- size_on_disk: What all tables of ours take, with their indexes.
select pg_catalog.sum(pg_catalog.pg_total_relation_size(r.oid))::bigint
from pg_catalog.pg_class r
where r.relnamespace = 'flagent_cdc'::pg_catalog.regnamespace and r.relkind = 'r';

-- position_at: The highest position before any commit that was made after a time; by halving, as times grow with positions.
-- Between `low` and `high` lies what is sought: no commit up to `low` was made later, every one after `high` was.
with recursive search as (
    select min(c.position) - 1 as low, max(c.position) as high
    from flagent_cdc.commit_log c
    where c.position > (select r.pruned_to from flagent_cdc.retention r)
    union all
    select
        case when found.committed_at > %(time)s then halved.low else halved.middle end,
        case when found.committed_at > %(time)s then found.position - 1 else halved.high end
    from (
        select s.low, s.high, s.low + (s.high - s.low + 1) / 2 as middle from search s where s.low < s.high
    ) halved
    left join lateral (
        select c.position, c.committed_at from flagent_cdc.commit_log c
        where c.position > halved.low and c.position <= halved.middle
        order by c.position desc limit 1
    ) found on true
)
select s.low from search s where s.low >= s.high;

-- flag_commits_before: Commits at or before a position and after another, newest first, with their changes of Flagent's tables alone.
-- As many whole commits as have at most `limit` changes of any table, at least one, and no more than `most` rows; a
-- commit without such changes is one row with nulls, and the last column tells whether its changes are still there.
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
    g.schema_name, g.table_name, g.op, g.before, g.after, g.key,
    exists (select from flagent_cdc.change_log f where f.batch = h.batch and f.id = 1)
from heads h
left join flagent_cdc.change_log g
    on g.batch = h.batch
    and g.schema_name in (select a.schema_name from flagent_cdc.attachment a)
    and g.table_name = any (%(tables)s)
where h.changes_before < %(limit)s
order by h.position desc, g.id
limit %(most)s;

-- changes_after: The next changes after one of a commit, in their order, as text: a page that is bounded in rows and in bytes.
-- Looks at `scan` changes at most, and gives those of `tables` (all when null) and, without its content, the last one that
-- it looked at. A commit whose changes are no longer there gives one row without a number. Sizes are taken as they are
-- stored first, which costs no decompression, and then as they are sent; at least one change is given, however large.
with heads as materialized (
    select
        c.position, c.batch, c.committed_at, c.xid, c.session_user_name, c.application_name, c.changes, c.taken,
        sum(c.changes - c.taken) over (order by c.position) - (c.changes - c.taken) as changes_before
    from (
        select
            l.position, l.batch, l.committed_at, l.xid, l.session_user_name, l.application_name, l.changes,
            case when l.position = %(position)s then %(index)s else 0 end as taken
        from flagent_cdc.commit_log l
        where l.position >= %(position)s and (l.position > %(position)s or l.changes > %(index)s)
        order by l.position
        limit %(scan)s
    ) c
),
looked_at as materialized (
    select
        h.position, h.committed_at, h.xid, h.session_user_name, h.application_name, h.changes,
        g.id, g.schema_name, g.table_name, g.op, g.key, g.before, g.after, g.is_wanted,
        sum(case when g.is_wanted then
            coalesce(pg_catalog.pg_column_size(g.before), 0) + coalesce(pg_catalog.pg_column_size(g.after), 0)
        else 0 end) over (order by h.position, g.id) as stored_bytes,
        pg_catalog.row_number() over (order by h.position, g.id) as number
    from heads h
    left join lateral (
        select
            d.id, d.schema_name, d.table_name, d.op, d.key, d.before, d.after,
            %(tables)s::text[] is null or d.table_name = any (%(tables)s::text[])
                or d.schema_name || '.' || d.table_name = any (%(tables)s::text[]) as is_wanted
        from flagent_cdc.change_log d
        where d.batch = h.batch and d.id > h.taken
        order by d.id
        limit (%(scan)s - h.changes_before)::bigint
    ) g on true
    where h.changes_before < %(scan)s
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
    from looked_at s
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
