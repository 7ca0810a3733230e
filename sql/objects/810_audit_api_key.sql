-- audit_api_key: records in the audit log that an API key was created, changed, revoked or deleted.
--
-- Fires: by trigger, so that keys that are changed by SQL are recorded too. The entry has the role that logged in.
-- Costs: one row in the audit log per row; keys change seldom.
--
-- Runs with its owner's rights: a role that may change keys may not change what is recorded about it.
create or replace function flagent_cdc.audit_api_key() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if tg_op = 'INSERT' then
        insert into flagent_cdc.api_key_use (key_id) values (new.id) on conflict do nothing;
        perform flagent_cdc.log_key_event('created', new.id, new.prefix, new.name, null, 1);
    elsif tg_op = 'DELETE' then
        perform flagent_cdc.log_key_event('deleted', old.id, old.prefix, old.name, null, 1);
    elsif old.revoked_at is null and new.revoked_at is not null then
        perform flagent_cdc.log_key_event('revoked', new.id, new.prefix, new.name, null, 1);
    else
        perform flagent_cdc.log_key_event(
            'changed', new.id, new.prefix, new.name,
            concat_ws(
                ', ',
                case when old.name is distinct from new.name then 'name' end,
                case when (old.prefix, old.hash) is distinct from (new.prefix, new.hash) then 'secret' end,
                case when old.scopes is distinct from new.scopes then 'scopes' end,
                case when old.expires_at is distinct from new.expires_at then 'expiry' end,
                case when old.revoked_at is distinct from new.revoked_at then 'revocation' end
            ),
            1
        );
    end if;
    perform flagent_cdc.prune_key_audit();
    return null;
end
$$;

revoke all on function flagent_cdc.audit_api_key() from public;
