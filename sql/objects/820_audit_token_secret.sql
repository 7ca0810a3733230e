-- audit_token_secret: records in the audit log that the secret of stream tokens was rotated.
--
-- Runs with its owner's rights, as audit_api_key() does. The secret itself is not recorded.
create or replace function flagent_cdc.audit_token_secret() returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    as $$
begin
    perform flagent_cdc.log_key_event('secret_rotated', null, null, null, null, 1);
    perform flagent_cdc.prune_key_audit();
    return null;
end
$$;

revoke all on function flagent_cdc.audit_token_secret() from public;
