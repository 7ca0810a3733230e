"""Tables that filters are compiled for."""

from cdc.core.log.lane import FLAGS, WatchedTable
from cdc.core.log.table_column import TableColumn
from cdc.core.subscription.lane_map import LaneMap

__all__ = ["COLUMNS", "MAP", "ORDERS"]

COLUMNS = (
    TableColumn("id", "integer", "int4", is_key=True),
    TableColumn("tenant_id", "bigint", "int8"),
    TableColumn("total", "numeric", "numeric"),
    TableColumn("paid", "boolean", "bool"),
    TableColumn("name", "text", "text"),
    TableColumn("code", "text", "text", has_byte_order=True),
    TableColumn("odd", "text", "text", is_deterministic=False),
    TableColumn("state", "shop.state", None, labels=("open", "held", "done")),
    TableColumn("ref", "uuid", "uuid"),
    TableColumn("day", "date", "date"),
    TableColumn("at", "timestamp with time zone", "timestamptz"),
    TableColumn("local", "timestamp without time zone", "timestamp"),
    TableColumn("data", "jsonb", "jsonb"),
    TableColumn("weight", "double precision", "float8"),
    TableColumn("secret", "text", "text", is_hidden=True),
)

ORDERS = WatchedTable("shop", "orders", FLAGS, COLUMNS)

MAP = LaneMap((ORDERS, WatchedTable("a", "items", FLAGS, COLUMNS[:2]), WatchedTable("b", "items", FLAGS, COLUMNS[:3])))
