-- log_key_event: appends one entry to the audit log of the API keys.
--
-- Called by: the functions below, which run with their owner's rights; no other role may call it.
-- Costs:     one row.
create or replace function flagent_cdc.log_key_event(
    in_action text, in_key_id integer, in_prefix text, in_name text, in_reason text, in_count integer
) returns void
    language sql
    set search_path = pg_catalog, pg_temp
    as $$
    insert into flagent_cdc.api_key_audit (action, key_id, prefix, name, reason, count)
    values (in_action, in_key_id, in_prefix, in_name, in_reason, in_count)
$$;

revoke all on function flagent_cdc.log_key_event(text, integer, text, text, text, integer) from public;
