-- close_group: marks the last change of a group that has its position, so that no change joins the group, whatever the settings of
-- the session say.
--
-- Called by: assign_position() and assign_lane_position(), where a cursor WITH HOLD is open.
-- Arguments: the log and the group; its lane and how many changes it has; the place of its first change, null where that is
--            not known.
--
-- By its place where that is known: SERIALIZABLE writers would fail each other by reading the index; see note_places().
create or replace function flagent_cdc.close_group(
    in_log text, in_group bigint, in_lane integer, in_changes integer, in_first tid
) returns void
    language plpgsql
    set enable_seqscan = off
    -- Restored when the function returns; see read_no_index().
    set enable_indexscan = on
    set enable_bitmapscan = on
    as $$
declare
    noted   constant tid[] := flagent_cdc.noted_places('flagent_cdc.places_' || in_lane);
    last    constant tid := case when in_changes = 1 then in_first else noted[pg_catalog.cardinality(noted)] end;
    closed  bigint := 0;
    ignored text;
begin
    if last is not null then
        ignored := flagent_cdc.read_no_index(true);
        execute pg_catalog.format(
            'update flagent_cdc.%I c set has_nested = null where c.ctid = $1 and c.transaction_group = $2 and c.id = $3', in_log
        ) using last, in_group, in_changes;
        get diagnostics closed = row_count;
        ignored := flagent_cdc.read_no_index(false);
    end if;
    if closed = 0 then
        execute pg_catalog.format(
            'update flagent_cdc.%1$I c set has_nested = null where c.transaction_group = $1 and c.id = ('
            ' select max(l.id) from flagent_cdc.%1$I l where l.transaction_group = $1)', in_log
        ) using in_group;
    end if;
end
$$;

revoke all on function flagent_cdc.close_group(text, bigint, integer, integer, tid) from public;
