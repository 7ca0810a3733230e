-- flagent_cdc_910_assign_position, flagent_cdc_930_assign_position and flagent_cdc_940_order_read_changes: the work of COMMIT
-- that was deferred once more.
--
-- Fire: in the next round of deferred triggers; see is_last_of_commit().
drop trigger if exists flagent_cdc_910_assign_position on flagent_cdc.deferred_commit;

create constraint trigger flagent_cdc_910_assign_position
    after insert on flagent_cdc.deferred_commit
    deferrable initially deferred
    for each row
    when (new.lane = 0 and new.deferrals >= 0)
    execute function flagent_cdc.assign_position();

alter table flagent_cdc.deferred_commit enable always trigger flagent_cdc_910_assign_position;

drop trigger if exists flagent_cdc_930_assign_position on flagent_cdc.deferred_commit;

create constraint trigger flagent_cdc_930_assign_position
    after insert on flagent_cdc.deferred_commit
    deferrable initially deferred
    for each row
    when (new.lane > 0 and new.transaction_group > 0 and new.deferrals >= 0)
    execute function flagent_cdc.assign_lane_position();

alter table flagent_cdc.deferred_commit enable always trigger flagent_cdc_930_assign_position;

drop trigger if exists flagent_cdc_940_order_read_changes on flagent_cdc.deferred_commit;

create constraint trigger flagent_cdc_940_order_read_changes
    after insert on flagent_cdc.deferred_commit
    deferrable initially deferred
    for each row
    when (new.lane > 0 and new.transaction_group = 0 and new.deferrals >= 0)
    execute function flagent_cdc.order_read_changes();

alter table flagent_cdc.deferred_commit enable always trigger flagent_cdc_940_order_read_changes;
