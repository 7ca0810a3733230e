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
