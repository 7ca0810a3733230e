-- flagent_cdc_900_seal: seals a transaction's batch when it commits.
--
-- Fires: for the first change of a batch, once per transaction, deferred to COMMIT. Also where
--        session_replication_role is replica, so that what a subscription applies is sealed like any other change.
drop trigger if exists flagent_cdc_900_seal on flagent_cdc.change_log_first;

create constraint trigger flagent_cdc_900_seal
    after insert on flagent_cdc.change_log_first
    deferrable initially deferred
    for each row
    execute function flagent_cdc.seal();

alter table flagent_cdc.change_log_first enable always trigger flagent_cdc_900_seal;
