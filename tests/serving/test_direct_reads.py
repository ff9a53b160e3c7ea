"""docs/direct-reads.md: its code reads what a publish wrote, from each kind of store on its real server."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.serving.sample_stores import SERVERS, open_store_at, publish_sample, start_server

PAGE = (Path(__file__).parents[2] / "docs" / "direct-reads.md").read_text(encoding="utf8")
CODE = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
PROJECT = "direct"
Read = Callable[..., Any]


@pytest.fixture(scope="module")
def functions() -> dict[str, Read]:
    """The functions of the page."""
    names: dict[str, Any] = {}
    exec(compile(CODE, "docs/direct-reads.md", "exec"), names)
    return names


def assert_reads(read: Read, *place: str) -> None:
    assert read(*place, "users", "u0007")["items"] == ["1"]
    assert read(*place, "items", "3")["title"] == "t1"
    assert read(*place, "popular", "all")["version"] == "v000001"
    assert not read(*place, "similar", "nothing")


@pytest.mark.parametrize("kind", ["lmdb", "files"])
def test_a_folder_is_read_by_the_code_of_the_page(kind: str, functions: dict[str, Read], tmp_path: Path) -> None:
    place = str(tmp_path / "store")
    publish_sample(open_store_at(kind, place), tmp_path)
    assert_reads(functions[f"read_{kind}"], place)


@pytest.mark.parametrize("kind", [kind for kind in SERVERS if kind in ("redis", "postgresql")])
def test_a_server_is_read_by_the_code_of_the_page(kind: str, functions: dict[str, Read], tmp_path: Path) -> None:
    with start_server(kind, tmp_path) as address:
        publish_sample(open_store_at(kind, f"{address}#{PROJECT}"), tmp_path)
        assert_reads(functions[f"read_{kind}"], address, PROJECT)


def test_the_key_of_a_long_id_is_that_of_the_store(functions: dict[str, Read]) -> None:
    from serving.stores.base import encode_key

    for id in ("196", "é" * 250, "é" * 251, "x" * 500, "x" * 501):
        assert functions["key_of"](id) == encode_key(id)


def test_the_buckets_of_the_page_are_those_of_the_stores(functions: dict[str, Any]) -> None:
    from serving.stores.server import BUCKETS

    assert functions["BUCKETS"] == BUCKETS
