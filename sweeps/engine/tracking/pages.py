"""The tracking UI's pages open on model training and without MLflow's assistant."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# On the first visit MLflow 3.17 opens the assistant's panel and shows its GenAI view, unless the browser's storage has
# these entries. What a user chose stays.
FIRST_VISIT = b"""<script>
for (const [key, value] of [
  ["mlflow.assistant.panelOpen_v1", "false"], ["mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true"],
  ["mlflow.workflowType_v1", '"machine_learning"'],
]) if (localStorage.getItem(key) === null) localStorage.setItem(key, value);
</script>"""
HEAD = b"<head>"


class PanelClosed:
    """The pages of a server, with a script in their head that prepares the first visit."""

    def __init__(self, pages: ASGIApp) -> None:
        self.pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; everything but the HTML page passes as it is."""
        started: list[Message] = []  # the head of an HTML answer, kept back until its length is known
        body: list[bytes] = []

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and of_html(message):
                started.append(message)
            elif started and message["type"] == "http.response.body":
                body.append(message.get("body", b""))
                if not message.get("more_body", False):
                    page = b"".join(body).replace(HEAD, HEAD + FIRST_VISIT, 1)
                    MutableHeaders(scope=started[0])["content-length"] = str(len(page))
                    await send(started[0])
                    await send({"type": "http.response.body", "body": page})
            else:
                await send(message)

        await self.pages(scope, receive, sent)


def of_html(start: Message) -> bool:
    """Whether the head of an answer announces an HTML page."""
    return MutableHeaders(scope=start).get("content-type", "").startswith("text/html")
