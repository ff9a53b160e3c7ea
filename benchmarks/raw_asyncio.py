"""The ceiling of an HTTP server in Python: an asyncio protocol that sends the same bytes for whatever it is sent.

`python -m benchmarks.raw_asyncio PORT BYTES`: answers on 127.0.0.1 with a body of so many bytes, on one core.
"""

from __future__ import annotations

import asyncio
import sys


class FixedAnswer(asyncio.Protocol):
    """One connection."""

    answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._head = transport, b""

    def data_received(self, data: bytes) -> None:
        heads = self._head + data
        count = heads.count(b"\r\n\r\n")
        self._head = heads[heads.rfind(b"\r\n\r\n") + 4 :] if count else heads
        assert isinstance(self._transport, asyncio.Transport)
        self._transport.write(self.answer * count)


async def serve(port: int, size: int) -> None:
    """Answer until the process ends."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    FixedAnswer.answer = head.encode() + b"x" * size
    server = await asyncio.get_running_loop().create_server(FixedAnswer, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
