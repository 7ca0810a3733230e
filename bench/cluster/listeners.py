"""`python -m bench.cluster.listeners URL COUNT`: the load of COUNT nodes on PostgreSQL, without the nodes.

Each has the two sessions of a node: one that LISTENs and reads every notification, and one that every five seconds
probes it and queries the change log's state and the schemas to attach. A notification carries its commit, so neither a
node nor a stand-in reads the change log after it. Notifications are discarded. Prints `ready` once all listen.
"""

import asyncio
import sys

import psycopg
from psycopg.sql import SQL, Identifier

from cdc.database.queries import log_query, query

PROBE_S = 5.0


async def _listener(url: str, number: int, count: int) -> None:
    listening = await psycopg.AsyncConnection.connect(url, autocommit=True)
    querying = await psycopg.AsyncConnection.connect(url, autocommit=True)
    row = await (await listening.execute("select channel from flagent_cdc.installation")).fetchone()
    assert row is not None
    await listening.execute(SQL("listen {}").format(Identifier(row[0])))
    pgconn = listening.pgconn

    def read() -> None:
        pgconn.consume_input()
        while pgconn.notifies() is not None:
            pass

    asyncio.get_running_loop().add_reader(listening.fileno(), read)
    _ready.append(number)
    if len(_ready) == count:
        print("ready", flush=True)
    await asyncio.sleep(PROBE_S * number / count)
    while True:
        await querying.execute(query("notify"), {"channel": row[0], "payload": '{"probe":"bench"}'})
        await (await querying.execute(log_query("log_state", "flags"))).fetchone()
        await (await querying.execute(query("pending_schemas"))).fetchall()
        await asyncio.sleep(PROBE_S)


_ready: list[int] = []


async def _main(url: str, count: int) -> None:
    await asyncio.gather(*(_listener(url, number, count) for number in range(count)))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2])))
