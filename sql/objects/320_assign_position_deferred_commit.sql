-- flagent_cdc_910_assign_position: gives a group its position that was deferred, because SET CONSTRAINTS fired the trigger
-- before COMMIT.
--
-- Fires: in the next round of deferred triggers; see assign_position().
drop trigger if exists flagent_cdc_910_assign_position on flagent_cdc.deferred_commit;

create constraint trigger flagent_cdc_910_assign_position
    after insert on flagent_cdc.deferred_commit
    deferrable initially deferred
    for each row
    execute function flagent_cdc.assign_position();

alter table flagent_cdc.deferred_commit enable always trigger flagent_cdc_910_assign_position;
