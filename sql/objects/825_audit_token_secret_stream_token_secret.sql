-- flagent_cdc_820_audit: records every rotation of the secret of stream tokens in the audit log.
drop trigger if exists flagent_cdc_820_audit on flagent_cdc.stream_token_secret;

create trigger flagent_cdc_820_audit
    after insert or update on flagent_cdc.stream_token_secret
    for each row
    execute function flagent_cdc.audit_token_secret();
