from __future__ import annotations

from typing import Any

import table
from google import genai
from google.genai import types
from table import MODELS, case

table.start()

client = genai.Client(api_key="key", http_options={"base_url": MODELS})
models, aio = client.models, client.aio.models
ASK: Any = {"contents": "?"}


def word() -> Any:
    from pydantic import BaseModel

    class Word(BaseModel):
        word: str

    return Word


@case
def content(model: str) -> None:
    assert type(models.generate_content(model=model, **ASK)) is types.GenerateContentResponse


@case
async def content_async(model: str) -> None:
    assert (await aio.generate_content(model=model, **ASK)).text == "yes"


@case
def stream(model: str) -> None:
    assert "".join(piece.text or "" for piece in models.generate_content_stream(model=model, **ASK)) == "yesyes"


@case
async def stream_async(model: str) -> None:
    pieces = await aio.generate_content_stream(model=model, **ASK)
    assert [type(piece) async for piece in pieces] == [types.GenerateContentResponse] * 2


@case
def chat(model: str) -> None:
    assert client.chats.create(model=model).send_message("?").text == "yes"


@case
def chat_stream(model: str) -> None:
    assert [piece.text for piece in client.chats.create(model=model).send_message_stream("?")] == ["yes", "yes"]


@case
def continued(model: str) -> None:
    """New releases retry automatically and merge both answers: each was billed, the merged usage matches neither."""
    config = {"response_mime_type": "application/json", "response_schema": word()}
    answer = models.generate_content(model=model, config=config, **ASK)
    assert hasattr(answer.candidates[0], "continuation_token") == (answer.text == "yesyes")


@case
def left_stream(model: str) -> None:
    assert next(iter(models.generate_content_stream(model=model, **ASK))).text == "yes"


table.main()
