-- flagent_cdc_920_seal: seals a transaction's batch in a stream of its own when it commits.
--
-- Fires: for the first change of a batch, once per transaction, deferred to COMMIT; also where session_replication_role is
--        replica, so that what a subscription applies is sealed like any other change.
drop trigger if exists flagent_cdc_920_seal on flagent_cdc.stream_change_log_first;

create constraint trigger flagent_cdc_920_seal
    after insert on flagent_cdc.stream_change_log_first
    deferrable initially deferred
    for each row
    execute function flagent_cdc.seal_stream();

alter table flagent_cdc.stream_change_log_first enable always trigger flagent_cdc_920_seal;
