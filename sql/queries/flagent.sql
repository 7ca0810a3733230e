-- Reading Flagent's own tables, for the catalog's start. {table} is composed by the driver as a qualified identifier.

-- rows: all rows of one watched table as JSON, in the same form as the log has them
select to_jsonb(t) as row
  from {table} t
 order by t.id;
