-- flagent_cdc_810_audit: records every change of an API key in the audit log.
--
-- Fires: after each row. Not where session_replication_role is replica: a copy of the key table brings its audit log along.
drop trigger if exists flagent_cdc_810_audit on flagent_cdc.api_key;

create trigger flagent_cdc_810_audit
    after insert or update or delete on flagent_cdc.api_key
    for each row
    execute function flagent_cdc.audit_api_key();
