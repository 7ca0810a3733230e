"""`python -m bench.cluster.consumers ADDRESS STREAM COUNT`: the load of COUNT nodes on NATS, without the nodes.

Each has a connection and a consumer configured like a node's, and probes the relay every five seconds. Messages are
discarded. Prints `ready` once all consumers exist.
"""

import asyncio
import contextlib
import sys

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

PROBE_S = 5.0

_ready: list[int] = []


async def _consumer(address: str, stream: str, number: int, count: int) -> None:
    client = Client()
    await client.connect(address.split(","))
    inbox = client.new_inbox()

    async def discard(message: Msg) -> None:
        if message.headers and message.headers.get("Status") == "100":
            stalled = message.reply or message.headers.get("Nats-Consumer-Stalled")
            if stalled:
                await client.publish(stalled)

    await client.subscribe(inbox, cb=discard, pending_bytes_limit=-1, pending_msgs_limit=-1)
    config = ConsumerConfig(
        deliver_subject=inbox,
        deliver_policy=DeliverPolicy.NEW,
        ack_policy=AckPolicy.NONE,
        flow_control=True,
        idle_heartbeat=1.0,
        num_replicas=1,
        mem_storage=True,
        max_deliver=1,
    )
    await client.jetstream().add_consumer(stream, config)
    _ready.append(number)
    if len(_ready) == count:
        print("ready", flush=True)
    await asyncio.sleep(PROBE_S * number / count)
    while True:
        # A relay that is behind answers late; a node only reports that, which costs NATS nothing.
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            await client.request(f"{stream}.probe", b"", timeout=5)
        await asyncio.sleep(PROBE_S)


async def _main(address: str, stream: str, count: int) -> None:
    await asyncio.gather(*(_consumer(address, stream, number, count) for number in range(count)))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
