-- open_lane: the number of a lane, which is created if there is none of that name, and created anew if it was ordered
-- otherwise and no other table belongs to it any more.
--
-- May raise: invalid_parameter_value where its other tables depend on its present order.
create or replace function flagent_cdc.open_lane(in_name text, in_order text, in_watched integer) returns integer
    language plpgsql
    as $$
declare
    known  flagent_cdc.lane;
    others text;
    opened integer;
begin
    if in_name = 'flags' then
        return 0;
    end if;
    select s.* into known from flagent_cdc.lane s where s.name = in_name for update;
    if known.lane_order = in_order then
        return known.id;
    elsif known.id is not null then
        select pg_catalog.string_agg(pg_catalog.format('%I.%I', w.schema_name, w.table_name), ', ') into others
          from flagent_cdc.watched_table w
         where w.lane = in_name and w.id <> in_watched;
        if others is not null then
            raise exception using
                errcode = 'invalid_parameter_value',
                message = pg_catalog.format(
                    'the lane %s is ordered %s, and %s depends on it', in_name,
                    case known.lane_order when 'commit' then 'at commit' else 'when read' end, others
                );
        end if;
        delete from flagent_cdc.lane s where s.id = known.id;
    end if;
    insert into flagent_cdc.lane (name, lane_order) values (in_name, in_order) returning id into opened;
    if in_order = 'commit' then
        execute pg_catalog.format('create sequence flagent_cdc.%I cache 1', 'lane_' || opened || '_position');
    end if;
    return opened;
end
$$;

revoke all on function flagent_cdc.open_lane(text, text, integer) from public;
