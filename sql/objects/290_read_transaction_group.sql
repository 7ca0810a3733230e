-- read_transaction_group: the number of a group's last change, and all of its changes as JSON, separated by commas; null if
-- they are too many or too large for a notification.
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
    has_nested   boolean;
begin
    -- The group's last change, where the setting leads to one of the group; a forged place leads to an earlier one. Only
    -- SERIALIZABLE writers rely on that: to others an index look-up costs no more.
    if current_setting('transaction_isolation') = 'serializable' and open[2] = in_group::text and open[3] <> '' then
        select c.id, c.has_nested into changes, has_nested
          from flagent_cdc.change_log c
         where c.ctid = open[3]::tid and c.transaction_group = in_group
           and c.tableoid = case when open[4] = 'f' then 'flagent_cdc.change_log_first'::regclass
               else 'flagent_cdc.change_log'::regclass end;
    end if;
    if changes is null then
        select c.id, c.has_nested into changes, has_nested
          from flagent_cdc.change_log c
         where c.transaction_group = in_group
         order by c.id desc
         limit 1;
    end if;
    if has_nested then
        perform flagent_cdc.order_group('change_log', in_group, 0, changes);
    end if;
    if changes <= most_changes and current_setting('transaction_isolation') <> 'serializable' then
        -- As stored, compressed: what is larger than that need not even be put together.
        select case when not bool_or(s.text is null) then string_agg(s.text, ',' order by s.id) end into texts
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
