"""The script of the first visit is put into HTML pages, and into nothing else."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from sweeps.engine.tracking.pages import FIRST_VISIT, PanelClosed

PAGE = b"<!doctype html><html><head><title>MLflow</title></head><body></body></html>"


def answered(content_type: bytes, *parts: bytes) -> tuple[dict[bytes, bytes], bytes]:
    """Return headers and body of an answer that a server gives in these parts."""

    async def server(_scope: Scope, _receive: Receive, send: Send) -> None:
        length = str(sum(map(len, parts))).encode()
        headers = [(b"content-type", content_type), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for i, part in enumerate(parts):
            await send({"type": "http.response.body", "body": part, "more_body": i + 1 < len(parts)})

    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    asyncio.run(PanelClosed(server)({"type": "http"}, receive, send))
    return dict(messages[0]["headers"]), b"".join(message["body"] for message in messages[1:])


@pytest.mark.parametrize("cut", [len(PAGE), 20, 5])
def test_an_html_page_gets_the_script_and_its_new_length(cut: int) -> None:
    headers, body = answered(b"text/html; charset=utf-8", PAGE[:cut], PAGE[cut:])
    assert body.replace(FIRST_VISIT, b"") == PAGE
    assert body.index(FIRST_VISIT) == PAGE.index(b"<head>") + len("<head>")
    assert headers[b"content-length"] == str(len(body)).encode()


def test_other_answers_pass_as_they_are() -> None:
    headers, body = answered(b"application/json", b'{"note": "<head>', b'"}')
    assert body == b'{"note": "<head>"}'
    assert headers[b"content-length"] == b"18"
