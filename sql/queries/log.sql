-- Reading the log: what the listener's store asks.
-- A snapshot always sees a prefix of the positions, so "after the last one applied" never skips a commit.

-- newest_position: the position of the newest visible commit, 0 for an empty log
select coalesce(max(c.position), 0) as position
  from flagent_cdc.commit_log c;

-- oldest_position: the position of the oldest commit still in the log, null for an empty log
select min(c.position) as position
  from flagent_cdc.commit_log c;

-- commits_after: up to %(limit)s commits after %(position)s in commit order, each with its changes as a JSON array
select c.position,
       to_char(c.committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as committed_at,
       c.xid::text::bigint as xid,
       c.session_user_name,
       c.application_name,
       (select coalesce(
                   json_agg(
                       json_build_object(
                           'schema', l.schema_name, 'table', l.table_name, 'op', l.op,
                           'key', l.key, 'before', l.before, 'after', l.after
                       )
                       order by l.id
                   ),
                   '[]'
               )
          from flagent_cdc.change_log l
         where l.batch = c.batch) as changes
  from flagent_cdc.commit_log c
 where c.position > %(position)s
 order by c.position
 limit %(limit)s;

-- heads_after: up to %(limit)s commits after %(position)s without their changes; reads no row images
select c.position,
       c.batch,
       to_char(c.committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as committed_at,
       c.xid::text::bigint as xid,
       c.changes,
       c.session_user_name,
       c.application_name
  from flagent_cdc.commit_log c
 where c.position > %(position)s
 order by c.position
 limit %(limit)s;

-- changes_of_batches: the changes of the batches %(batches)s, in the order in which their transactions made them
select l.batch, l.id, l.schema_name, l.table_name, l.op, l.key, l.before, l.after
  from flagent_cdc.change_log l
 where l.batch = any (%(batches)s)
 order by l.batch, l.id;

-- commits_back_to: up to %(limit)s commits after %(position)s and before %(before)s, newest first, with their changes; for rewinding
select c.position,
       to_char(c.committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as committed_at,
       c.xid::text::bigint as xid,
       c.session_user_name,
       c.application_name,
       (select coalesce(
                   json_agg(
                       json_build_object(
                           'schema', l.schema_name, 'table', l.table_name, 'op', l.op,
                           'key', l.key, 'before', l.before, 'after', l.after
                       )
                       order by l.id
                   ),
                   '[]'
               )
          from flagent_cdc.change_log l
         where l.batch = c.batch) as changes
  from flagent_cdc.commit_log c
 where c.position > %(position)s
   and c.position < %(before)s
 order by c.position desc
 limit %(limit)s;

-- position_at: the position of the newest commit at or before the time %(at)s, null where the log does not reach back
select max(c.position) as position
  from flagent_cdc.commit_log c
 where c.committed_at <= %(at)s;
