-- size_on_disk: The size of all tables of ours, with their indexes.
select pg_catalog.sum(pg_catalog.pg_total_relation_size(r.oid))::bigint
from pg_catalog.pg_class r
where r.relnamespace = 'flagent_cdc'::pg_catalog.regnamespace and r.relkind = 'r';

-- position_at: The highest position before any commit that was made after a time; by halving, as times grow with positions.
-- The result lies between `low` and `high`: no commit up to `low` was made later, every one after `high` was.
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

-- flag_commits_before: Commits at or before a position and after another, newest first, with their changes of Flagent's tables only.
-- As many whole commits as have at most `limit` changes of any table, at least one, and no more than `most` rows; a
-- commit without such changes is one row with nulls, and the last column is true while its changes are in the log.
with heads as materialized ({heads_before})
select
    h.position,
    pg_catalog.to_char(h.committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    h.xid::text::bigint, h.session_user_name, h.application_name,
    g.schema_name, g.table_name, g.op, g.before, g.after, g.key,
    exists (select from flagent_cdc.change_log f where f.transaction_group = h.transaction_group and f.id = 1)
from heads h
left join flagent_cdc.change_log g
    on g.transaction_group = h.transaction_group
    and g.schema_name in (select a.schema_name from flagent_cdc.attachment a)
    and g.table_name = any (%(tables)s)
where h.changes_before < %(limit)s
order by h.position desc, g.id
limit %(most)s;
