-- read_batch: the number of a batch's last change, and all of its changes as JSON, parted by commas; null where they are
-- too many or too large to be announced, or have a hole in their numbers.
--
-- Called by: seal(), for a batch that may have several changes.
-- Costs:     about 30 µs, and 3 µs for each change; next to nothing for more than 64.
--
-- Announced is what stands in the log, not what a setting says. SERIALIZABLE writers announce none: reading an index that
-- others write to would make them fail each other.
create or replace function flagent_cdc.read_batch(in_batch bigint, in_bytes integer, out changes integer, out texts text)
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
    -- Readers go through a batch by its numbers, to the last. What the setting says and what was drawn last are the same
    -- unless the last changes were rolled back to a savepoint, or the writer reset its settings or forged them.
    if open[1] = pg_current_xact_id()::text and open[2] = in_batch::text
        and (
            open[4]::bigint = greatest(-currval('flagent_cdc.lone_batch'), 1)
            or current_setting('transaction_isolation') = 'serializable'
        )
    then
        changes := open[4];
    else
        select max(c.id) into changes from flagent_cdc.change_log c where c.batch = in_batch;
    end if;
    if changes <= most_changes and current_setting('transaction_isolation') <> 'serializable' then
        -- As stored, compressed: what is larger than that need not even be put together.
        -- Where a savepoint that was rolled back left a hole in their numbers, these are to be read in the log.
        select max(s.id),
               case when max(s.id) = count(*) and not bool_or(s.text is null)
                   then string_agg(s.text, ',' order by s.id)
               end
          into changes, texts
          from (
            select c.id,
                   case when coalesce(pg_column_size(c.before), 0) + coalesce(pg_column_size(c.after), 0) < in_bytes
                       then flagent_cdc.change_text(c.schema_name, c.table_name, c.op, c.key, c.before, c.after)
                   end as text
              from flagent_cdc.change_log c
             where c.batch = in_batch
          ) s;
    end if;
end
$$;

revoke all on function flagent_cdc.read_batch(bigint, integer) from public;
