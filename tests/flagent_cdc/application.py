"""An application that embeds flagent-cdc under `/flags`: run by uvicorn, hypercorn and granian in the tests."""

import os

from fastapi import FastAPI

import flagent_cdc

events = flagent_cdc.embed(os.environ["SHOP_DATABASE"])
app = FastAPI(lifespan=events.lifespan)


@app.get("/")
async def shop() -> dict[str, str]:
    return {"shop": "open"}


app.mount("/flags", events)


async def django(scope, receive, send):  # type: ignore[no-untyped-def]
    """Like Django, it refuses the lifespan protocol."""
    if scope["type"] != "http":
        raise ValueError(f"cannot handle {scope['type']}")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"django"})


beside = flagent_cdc.embed(os.environ["SHOP_DATABASE"]).beside(django, "/flags")
