"""Ids in the paths of routes, `{name:path}`: any text, a slash and a newline too."""

from starlette.convertors import PathConvertor, register_url_convertor


class AnyText(PathConvertor):
    """Starlette's own stops at a newline."""

    regex = "(?s:.*)"


def accept_any_text() -> None:
    """Replace Starlette's `path`, for routes that are made afterwards."""
    register_url_convertor("path", AnyText())
