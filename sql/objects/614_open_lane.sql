-- open_stream: the number of a stream, which is made where there is none of that name, or made anew where it had another
-- mode and no table belongs to it any more.
--
-- May raise: invalid_parameter_value where its tables still need its present mode.
create or replace function flagent_cdc.open_stream(in_name text, in_mode text, in_watched integer) returns integer
    language plpgsql
    as $$
declare
    known  flagent_cdc.stream;
    others text;
    opened integer;
begin
    if in_name = 'flags' then
        return 0;
    end if;
    select s.* into known from flagent_cdc.stream s where s.name = in_name for update;
    if known.mode = in_mode then
        return known.id;
    elsif known.id is not null then
        select pg_catalog.string_agg(pg_catalog.format('%I.%I', w.schema_name, w.table_name), ', ') into others
          from flagent_cdc.watched_table w
         where w.stream = in_name and w.id <> in_watched;
        if others is not null then
            raise exception using
                errcode = 'invalid_parameter_value',
                message = pg_catalog.format(
                    'the stream %s has the mode %s, which %s needs', in_name, known.mode, others
                );
        end if;
        delete from flagent_cdc.stream s where s.id = known.id;
    end if;
    insert into flagent_cdc.stream (name, mode) values (in_name, in_mode) returning id into opened;
    if in_mode = 'notify' then
        execute pg_catalog.format('create sequence flagent_cdc.%I cache 1', 'stream_' || opened || '_position');
    end if;
    return opened;
end
$$;

revoke all on function flagent_cdc.open_stream(text, text, integer) from public;
