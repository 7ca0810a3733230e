"""Flagr beside this server: the same flags, as the file that its read-only mode evaluates from."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.fanout.process import Process
from bench.port import free_port
from tests.cdc.core.flagent import Flagent

__all__ = ["document", "running_flagr"]


@contextmanager
def running_flagr(program: str, database: Flagent, core: int) -> Iterator[tuple[int, Process]]:
    """Run Flagr on these flags, on the given core; yields its port and its process."""
    port = free_port()
    with TemporaryDirectory(prefix="flagent-cdc-bench-") as directory:
        file = Path(directory) / "flags.json"
        file.write_text(json.dumps(document(database)))
        environment = {
            "FLAGR_DB_DBDRIVER": "json_file",
            "FLAGR_DB_DBCONNECTIONSTR": str(file),
            "FLAGR_EVALCACHE_REFRESHINTERVAL": "1h",
            "FLAGR_LOGRUS_LEVEL": "error",
            "FLAGR_MIDDLEWARE_VERBOSE_LOGGER_ENABLED": "false",
            "FLAGR_EVAL_LOGGING_ENABLED": "false",
            "FLAGR_PPROF_ENABLED": "false",
            "GOMAXPROCS": "1",
        }
        command = [program, "--port", str(port), "--host", "127.0.0.1"]
        with Process(command, core, environment=environment) as process:
            yield port, process


def document(database: Flagent) -> dict[str, Any]:
    """The flags of the tables in the format of Flagr's `json_file` driver."""
    tables = {name: list(rows.values()) for name, rows in database.tables.items()}
    return {"Flags": [_flag(flag, tables) for flag in tables["flags"]]}


def _flag(flag: Mapping[str, Any], tables: Mapping[str, list[Any]]) -> dict[str, Any]:
    flag_id = flag["id"]
    variants = [row for row in tables["variants"] if row["flag_id"] == flag_id]
    segments = [row for row in tables["segments"] if row["flag_id"] == flag_id]
    keys = {row["id"]: row["key"] for row in variants}
    return {
        "ID": flag_id,
        "Key": flag["key"],
        "Enabled": flag["enabled"],
        "SnapshotID": flag["snapshot_id"],
        "Variants": [{"ID": row["id"], "FlagID": flag_id, "Key": row["key"]} for row in variants],
        "Segments": [_segment(row, keys, tables) for row in segments],
        "Tags": [],
    }


def _segment(segment: Mapping[str, Any], keys: Mapping[int, str], tables: Mapping[str, list[Any]]) -> dict[str, Any]:
    segment_id = segment["id"]
    return {
        "ID": segment_id,
        "FlagID": segment["flag_id"],
        "Rank": segment["rank"],
        "RolloutPercent": segment["rollout_percent"],
        "Constraints": [
            {
                "ID": row["id"],
                "SegmentID": segment_id,
                "Property": row["property"],
                "Operator": row["operator"],
                "Value": _value(row["operator"], row["value"]),
            }
            for row in tables["constraints"]
            if row["segment_id"] == segment_id
        ],
        "Distributions": [
            {
                "ID": row["id"],
                "SegmentID": segment_id,
                "VariantID": row["variant_id"],
                "VariantKey": keys[row["variant_id"]],
                "Percent": row["percent"],
            }
            for row in tables["distributions"]
            if row["segment_id"] == segment_id
        ],
    }


def _value(operator: str, value: str) -> str:
    """A constraint's value as Flagr writes it: texts in quotes, lists in brackets, numbers bare."""
    if operator == "IN":
        return json.dumps([piece.strip() for piece in value.split(",")])
    return value if value.isdigit() else json.dumps(value)
