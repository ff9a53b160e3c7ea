"""Errors of the client: one parent."""

from __future__ import annotations


class ClientError(Exception):
    """What was asked for did not come."""


class UnreachableError(ClientError):
    """No answer: the server is away or silent, also after the retries."""


class ApiError(ClientError):
    """The server's error.

    `code` is one of docs/api-reference.md, such as `bad_request`; the server's log has `request_id`. `rejected` are the
    bad events of a request without any good one.
    """

    def __init__(
        self, status: int, code: str, message: str, request_id: str, rejected: list[dict[str, object]]
    ) -> None:
        super().__init__(f"{status} {code}: {message} (request {request_id})")
        self.status, self.code, self.message, self.request_id = status, code, message, request_id
        self.rejected = rejected
