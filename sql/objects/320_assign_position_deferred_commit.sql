-- flagent_cdc_910_seal: seals a batch whose sealing was put off, because SET CONSTRAINTS fired it before COMMIT.
--
-- Fires: in the next round of deferred triggers; see seal().
drop trigger if exists flagent_cdc_910_seal on flagent_cdc.seal_request;

create constraint trigger flagent_cdc_910_seal
    after insert on flagent_cdc.seal_request
    deferrable initially deferred
    for each row
    execute function flagent_cdc.seal();

alter table flagent_cdc.seal_request enable always trigger flagent_cdc_910_seal;
