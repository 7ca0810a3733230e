"""Types of columns, each with values at the ends of what it can hold, as SQL literals."""

from collections.abc import Mapping, Sequence

__all__ = ["TYPES", "types_of"]

_LONG = "rpad('', 9000, md5('x'))"

TYPES: Mapping[str, Sequence[str]] = {
    "smallint": ("-32768", "32767", "0"),
    "integer": ("-2147483648", "2147483647", "0"),
    "bigint": ("-9223372036854775808", "9223372036854775807", "9007199254740993"),
    "numeric": (
        "'NaN'", "'Infinity'", "'-Infinity'", "1e1000", "-1e-500", "1.10", "0.000", "12345678901234567890.123456789",
    ),
    "numeric(10,3)": ("1.5", "-9999999.999", "0"),
    "real": ("'NaN'", "'Infinity'", "3.4028235e38", "1e-45", "0.1", "'-0'", "16777217"),
    "double precision": (
        "'NaN'", "'-Infinity'", "1.7976931348623157e308", "5e-324", "0.1::float8 + 0.2", "'-0'", "1e15",
    ),
    "money": ("'-92233720368547758.08'::money", "12.34::numeric::money", "0::money"),
    "text": (
        "''", "'\U0001f600 ü ∑'", r"E'quo\"te \\ \x01\x1f\t\n\r \x7f'", "E'\\u2028\\ufeff\\ufffd'", "'null'", _LONG,
    ),
    "varchar(10)": ("''", "'abc  '", "'äöü€'"),
    "char(5)": ("''", "'ab'", "'abcde'"),
    '"char"': ("'a'", "''", r"'\200'"),
    "name": ("''", "'a name'", "repeat('n', 63)"),
    "bytea": ("''", r"'\x00ff275c'", "decode(repeat('00ff', 3000), 'hex')"),
    "timestamp": ("'infinity'", "'-infinity'", "'4713-01-01 00:00 BC'", "'294276-12-31 23:59:59.999999'",
                  "'0001-02-03'", "'2026-03-29 02:30'"),
    "timestamptz": ("'infinity'", "'-infinity'", "'4713-01-01 00:00+00 BC'", "'294276-12-31 23:59:59.999999+00'",
                    "'2026-10-25 02:30+02'", "'1883-11-18 12:03:57+00'"),
    "date": ("'infinity'", "'-infinity'", "'4713-01-01 BC'", "'5874897-12-31'", "'2026-02-01'"),
    "time": ("'00:00'", "'24:00'", "'23:59:59.999999'"),
    "timetz": ("'00:00+15:59'", "'24:00-15:59'", "'12:00:00.5+02'"),
    "interval": (
        "'178000000 years'", "'-178000000 years'", "'1 mon -1 day +00:00:00.000001'", "'0'", "'-1 day +23:00'",
    ),
    "boolean": ("true", "false"),
    "point": ("'(NaN,Infinity)'", "'(1e300,-0)'", "'(0.1,0.2)'"),
    "line": ("'{1,2,3}'", "'{0.1,-1,0}'"),
    "lseg": ("'[(0,0),(0.1,1e-300)]'",),
    "box": ("'(0.1,0.2),(-1,-2)'",),
    "path": ("'[(0,0),(0.1,0.2)]'", "'((0,0),(1,1))'"),
    "polygon": ("'((0,0),(0.1,1),(1,0))'",),
    "circle": ("'<(0.1,0.2),3>'",),
    "inet": ("'::1'", "'255.255.255.255'", "'10.0.0.1/8'"),
    "cidr": ("'10.0.0.0/8'", "'::/0'"),
    "macaddr": ("'ff:ff:ff:ff:ff:ff'",),
    "macaddr8": ("'08:00:2b:01:02:03:04:05'",),
    "bit(5)": ("b'10101'", "b'00000'"),
    "bit varying": ("b''", "b'1'", "repeat('10', 300)::bit varying"),
    "tsvector": ("''", "to_tsvector('simple', 'a b''c a')", r"'\'':1A b:2'"),
    "tsquery": ("'a & !b | (c <-> d)'", "''"),
    "uuid": ("'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"),
    "json": (
        "'null'", "'{\"a\": 1, \"a\":   2}'", r"""'{"a": "x\u0000y"}'""", r"""'"\ud83d"'""", "'[1e999, -0.0, 1E+2]'",
        "(repeat('[', 300) || repeat(']', 300))::json", "'{\"n\": 1' || repeat('0', 5000) || '}'",
    ),
    "jsonb": ("'null'", "'{\"b\": [], \"a\": {\"\": \"\\\"\"}}'", "'1.10'", "'[1e300, \"\\u20ac\"]'"),
    "jsonpath": ("'$.a[*] ? (@ > 1)'", "'strict $'"),
    "int4range": ("'empty'", "'[1,)'", "'(,)'"),
    "int8range": ("'[-9223372036854775808,9223372036854775807)'",),
    "numrange": ("'[0.10,1.0]'", "'(,NaN)'"),
    "tsrange": ("'[2026-01-02 03:04,infinity]'",),
    "tstzrange": ("'[2026-01-02 03:04+00,)'", "'(-infinity,2026-01-02 03:04+05:30]'"),
    "daterange": ("'[2026-01-02,2026-03-04]'",),
    "int4multirange": ("'{}'", "'{[1,3),[5,)}'"),
    "tstzmultirange": ("'{[2026-01-02 03:04+00,2026-01-03 03:04+00)}'",),
    "pg_lsn": ("'FFFFFFFF/FFFFFFFF'", "'0/0'"),
    "pg_snapshot": ("'10:20:10,14,15'",),
    "txid_snapshot": ("'10:20:10,14,15'",),
    "xid8": ("'18446744073709551615'",),
    "xid": ("'4294967295'",),
    "cid": ("'1'",),
    "tid": ("'(4294967295,65535)'", "'(0,1)'"),
    "oid": ("4294967295", "0"),
    "regclass": ("'app.orders'::regclass", "'pg_class'::regclass", "4294967295::oid::regclass"),
    "regtype": ("'app.mood'::regtype", "'timestamptz'::regtype"),
    "regproc": ("'pg_backend_pid'",),
    "regprocedure": ("'abs(integer)'::regprocedure",),
    "regnamespace": ("'app'::regnamespace",),
    "int2vector": ("'1 -2 3'",),
    "oidvector": ("'1 4294967295'",),
    "refcursor": ("'a cursor'",),
    "integer[]": ("'{}'", "'{1,NULL,3}'", "'[-1:0][2:3]={{1,2},{3,4}}'"),
    "text[]": ("""'{"",NULL,"null","a\\"b","{}",","}'""", "array[chr(8364), E'\\n']"),
    "timestamptz[]": ("""'{"2026-01-02 03:04+00",infinity}'""",),
    "double precision[]": ("array[0.1::float8 + 0.2, 'NaN', '-0']",),
    "bytea[]": (r"array['\x00ff'::bytea, null]",),
    "json[]": (r"""array['{"a": "\u0000"}'::json]""",),
    "app.mood": ("'fine'", "'so, so'", "'\"'"),
    "app.pair": ("row(1, null)::app.pair", "row(null, '\"(,)\\')::app.pair", "row(2147483647, '')::app.pair"),
    "app.pair[]": ("array[row(1, 'x')::app.pair, null]",),
    "app.positive": ("1", "2147483647"),
    "app.moment": ("'2026-01-02 03:04+00'",),
    "app.moments": ("'[2026-01-02 03:04+00,2026-02-02 03:04+00)'",),
}  # fmt: skip
"""Not among them: `xml`, which a server may be built without."""


def types_of(server_version: int) -> Mapping[str, Sequence[str]]:
    """The types that a server of this version has, all their values legal there."""
    known = dict(TYPES)
    if server_version >= 170_000:
        known["interval"] = (*known["interval"], "'infinity'")
    return known
