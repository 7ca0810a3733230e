-- flagent_cdc_930_assign_position: gives a group its position in a lane that was deferred, because SET CONSTRAINTS fired the
-- trigger before COMMIT.
--
-- Fires: in the next round of deferred triggers; see assign_position().
drop trigger if exists flagent_cdc_930_assign_position on flagent_cdc.lane_deferred_commit;

create constraint trigger flagent_cdc_930_assign_position
    after insert on flagent_cdc.lane_deferred_commit
    deferrable initially deferred
    for each row
    execute function flagent_cdc.assign_lane_position();

alter table flagent_cdc.lane_deferred_commit enable always trigger flagent_cdc_930_assign_position;
