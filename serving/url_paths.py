"""Ids in the paths of routes, `{name:path}`: any text, a slash and a newline too. Importing this module does it."""

from starlette.convertors import PathConvertor, register_url_convertor


class AnyText(PathConvertor):
    """Starlette's own stops at a newline."""

    regex = "(?s:.*)"


register_url_convertor("path", AnyText())
