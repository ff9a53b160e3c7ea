"""The operator's pages: what is served, gates, last nights, a user's list and the reasons for it. Server-rendered."""

from serving.console.pages import routes
from serving.console.render import render

__all__ = ["render", "routes"]
