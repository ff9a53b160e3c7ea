"""The examples of docs/authoring.md, for the tests that run them."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "authoring.md").read_text(encoding="utf8")


def examples(section: str, language: str) -> list[str]:
    """The texts of one language below a heading of the page, in their order."""
    (text,) = re.findall(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
