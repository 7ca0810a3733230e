-- flagent_cdc_930_seal: seals a batch whose sealing was put off, because SET CONSTRAINTS fired it before COMMIT.
--
-- Fires: in the next round of deferred triggers; see seal().
drop trigger if exists flagent_cdc_930_seal on flagent_cdc.stream_seal_request;

create constraint trigger flagent_cdc_930_seal
    after insert on flagent_cdc.stream_seal_request
    deferrable initially deferred
    for each row
    execute function flagent_cdc.seal_stream();

alter table flagent_cdc.stream_seal_request enable always trigger flagent_cdc_930_seal;
