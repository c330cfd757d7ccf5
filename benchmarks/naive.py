"""A relay as most people write it, for the comparison alone: FastAPI, the openai SDK, and a queue between the two.

It runs in the environment `build/compare`, under uvicorn with its quickest loop and parser. It checks no key, counts
no token and keeps no books; a client that has gone does not stop its provider, and a slow one does not slow it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import FastAPI  # type: ignore[import-not-found] # it is not in the project's environment
from fastapi.responses import StreamingResponse  # type: ignore[import-not-found]
from openai import AsyncOpenAI

app = FastAPI()
client = AsyncOpenAI(base_url=os.environ.get("OPENAI_BASE_URL"), api_key=os.environ.get("OPENAI_API_KEY", "none"))
tasks: set[asyncio.Task[None]] = set()


@app.post("/v1/chat/completions")  # type: ignore[untyped-decorator]
async def chat(body: dict[str, Any]) -> StreamingResponse:
    """One streamed answer."""
    queue: asyncio.Queue[str | None] = asyncio.Queue()

    async def produce() -> None:
        try:
            stream = await client.chat.completions.create(
                model=body["model"], messages=body["messages"], max_tokens=body.get("max_tokens"), stream=True
            )
            async for chunk in stream:
                await queue.put(chunk.model_dump_json())
            await queue.put("[DONE]")
        finally:
            await queue.put(None)

    async def events() -> AsyncIterator[str]:
        while (data := await queue.get()) is not None:
            yield f"data: {data}\n\n"

    task = asyncio.create_task(produce())
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return StreamingResponse(events(), media_type="text/event-stream")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A relay to measure beside.")
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(app, host="127.0.0.1", port=parser.parse_args().port, log_level="error", access_log=False)
