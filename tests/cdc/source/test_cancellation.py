import asyncio

from cdc.source.cancellation import cancel_and_wait


async def test_a_task_that_swallows_a_cancellation_ends_too() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    async def fail() -> None:
        raise ValueError

    tasks = [asyncio.create_task(work()), asyncio.create_task(fail())]
    await begun.wait()
    await asyncio.wait_for(cancel_and_wait(tasks), 20)
    assert tasks[0].cancelled()
    assert isinstance(tasks[1].exception(), ValueError)
