-- read_transaction_group: the number of a group's last change, and all of its changes as JSON, separated by commas; null if
-- they are too many or too large for a notification, or have a hole in their numbers.
--
-- Called by: assign_position(), for a group that may have several changes.
-- Costs:     about 30 µs, and 3 µs for each change; next to nothing for more than 64.
--
-- A notification carries what the log holds, not what a setting says. SERIALIZABLE writers send no changes: reading an index
-- that others write to would make them fail each other.
create or replace function flagent_cdc.read_transaction_group(
    in_group bigint, in_bytes integer, out changes integer, out texts text
)
    language plpgsql
    set search_path = pg_catalog, pg_temp
    -- The plan is kept for the session, and may be made while the log is small. Left to itself PostgreSQL makes it anew at
    -- each commit, which takes 100 µs.
    set enable_seqscan = off
    set plan_cache_mode = force_generic_plan
    as $$
declare
    most_changes constant integer := 64;
    open         constant text[] := string_to_array(current_setting('flagent_cdc.open', true), '/');
begin
    -- Readers go through a group by its numbers, to the last. The setting and the last number drawn are equal unless a
    -- savepoint rolled back the last changes, or the writer reset or forged its settings.
    if open[1] = pg_current_xact_id()::text and open[2] = in_group::text
        and (
            open[4]::bigint = greatest(-currval('flagent_cdc.last_change_number'), 1)
            or current_setting('transaction_isolation') = 'serializable'
        )
    then
        changes := open[4];
    else
        select max(c.id) into changes from flagent_cdc.change_log c where c.transaction_group = in_group;
    end if;
    if changes <= most_changes and current_setting('transaction_isolation') <> 'serializable' then
        -- As stored, compressed: what is larger than that need not even be put together.
        -- With a hole in the numbers, left by a savepoint that was rolled back, the listener reads the log instead.
        select max(s.id),
               case when max(s.id) = count(*) and not bool_or(s.text is null)
                   then string_agg(s.text, ',' order by s.id)
               end
          into changes, texts
          from (
            select c.id,
                   case when coalesce(pg_column_size(c.before), 0) + coalesce(pg_column_size(c.after), 0) < in_bytes
                       then flagent_cdc.change_json(c.schema_name, c.table_name, c.op, c.key, c.before, c.after)
                   end as text
              from flagent_cdc.change_log c
             where c.transaction_group = in_group
          ) s;
    end if;
end
$$;

revoke all on function flagent_cdc.read_transaction_group(bigint, integer) from public;
