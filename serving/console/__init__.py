"""The operator's pages: what is served, gates, last nights, a user's list and the reasons for it. Server-rendered."""

from serving.console.pages import routes

__all__ = ["routes"]
