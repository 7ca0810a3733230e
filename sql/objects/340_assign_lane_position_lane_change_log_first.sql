-- flagent_cdc_920_assign_position: gives a transaction's group its position in a lane when the transaction commits.
--
-- Fires: for the first change of a group, once per transaction, deferred to COMMIT; also where session_replication_role is
--        replica, so that what a subscription applies gets a position like any other change.
drop trigger if exists flagent_cdc_920_assign_position on flagent_cdc.lane_change_log_first;

create constraint trigger flagent_cdc_920_assign_position
    after insert on flagent_cdc.lane_change_log_first
    deferrable initially deferred
    for each row
    execute function flagent_cdc.assign_lane_position();

alter table flagent_cdc.lane_change_log_first enable always trigger flagent_cdc_920_assign_position;
