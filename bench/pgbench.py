"""Runs a script with pgbench, PostgreSQL's load generator."""

import os
import re
import subprocess
import sys
import tempfile

from psycopg.conninfo import conninfo_to_dict

from cdc.embedded.programs import find_binaries


def run_pgbench(url: str, script: str, clients: int, seconds: int) -> tuple[int, float]:
    """Run a script with several clients; the number of committed transactions, and their rate per second."""
    parts = conninfo_to_dict(url)
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        done = subprocess.run(
            [
                find_binaries() / "pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", str(min(clients, 2)),
                "-T", str(seconds), "-f", file.name,
                "-h", str(parts["host"]), "-p", str(parts.get("port", 5432)), "-U", str(parts["user"]),
                str(parts["dbname"]),
            ],
            env={**os.environ, "PGPASSWORD": str(parts.get("password", ""))},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
    count = re.search(r"transactions actually processed: (\d+)", done.stdout)
    rate = re.search(r"tps = ([\d.]+)", done.stdout)
    if done.returncode != 0 or count is None or rate is None:
        sys.exit(f"pgbench failed: {done.stderr or done.stdout}")
    return int(count[1]), float(rate[1])
