-- note_places: keeps where the changes of this transaction are stored, in a transaction-local setting, for order_group().
--
-- Called by: what logs a change, for SERIALIZABLE writers only: reading the log back by its index, which others write to, would
--            make them fail each other; rows that a transaction has written itself it may read by their places.
-- Arguments: the setting; the places noted so far; those to add, separated by spaces.
-- Costs:     copies the list. Beyond 200 000 characters, about 20 000 changes, it says so instead, and the index is read.
create or replace function flagent_cdc.note_places(in_setting text, in_noted text, in_places text) returns text
    language sql
    as $$
    select pg_catalog.set_config(
        in_setting,
        case
            when pg_catalog.length(in_noted) + pg_catalog.length(in_places) > 200000 or in_noted = 'too many' then 'too many'
            else pg_catalog.concat_ws(' ', nullif(in_noted, ''), in_places)
        end,
        true
    )
$$;

revoke all on function flagent_cdc.note_places(text, text, text) from public;
