-- log_reach: Which log this is, its oldest commit and when it was made, its newest position, and what time it is; the last one in UTC.
select
    flagent_cdc.log_identity(),
    oldest.position,
    pg_catalog.to_char(oldest.committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    (select coalesce(max(c.position), 0) from flagent_cdc.commit_log c),
    pg_catalog.to_char(pg_catalog.clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
from (select 1) one
left join lateral (
    select c.position, c.committed_at from flagent_cdc.commit_log c order by c.position limit 1
) oldest on true;

-- position_at: The highest position before any commit that was made after a time; by halving, as times grow with positions.
-- Between `low` and `high` lies what is sought: no commit up to `low` was made later, every one after `high` was.
with recursive search as (
    select min(c.position) - 1 as low, max(c.position) as high from flagent_cdc.commit_log c
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
    exists (select from flagent_cdc.change_log_first f where f.batch = h.batch)
from heads h
left join flagent_cdc.change_log g
    on g.batch = h.batch
    and g.schema_name in (select a.schema_name from flagent_cdc.attachment a)
    and g.table_name = any (%(tables)s)
where h.changes_before < %(limit)s
order by h.position desc, g.id
limit %(most)s;
