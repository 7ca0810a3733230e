-- prune_key_audit: removes the oldest entries of the audit log: all refusals but the newest 1 000, and of the other entries
-- all but the newest 10 000.
--
-- Called by: whatever appends to it, once per transaction or call.
-- Costs:     a look at the primary key for each of at most 11 000 rows.
--
-- Refusals have a limit of their own because strangers cause them: they cannot push out who created or revoked a key.
create or replace function flagent_cdc.prune_key_audit() returns void
    language sql
    set search_path = pg_catalog, pg_temp
    as $$
    delete from flagent_cdc.api_key_audit a
     where a.action = 'refused'
       and a.id <= (
           select b.id from flagent_cdc.api_key_audit b where b.action = 'refused' order by b.id desc offset 1000 limit 1
       );
    delete from flagent_cdc.api_key_audit a
     where a.action <> 'refused'
       and a.id <= (
           select b.id from flagent_cdc.api_key_audit b where b.action <> 'refused' order by b.id desc offset 10000 limit 1
       );
$$;

revoke all on function flagent_cdc.prune_key_audit() from public;
