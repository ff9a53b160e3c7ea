"""explode.py: one record that holds many events becomes a record per event, and no line counts twice."""

import json

import pytest

from tests.spark_jobs.landing_records import Read, good, problems

SESSION = {"session": "bigint", "events": "struct<aid:string,ts:bigint>"}


def test_each_element_of_an_array_becomes_a_record_in_its_place(read: Read) -> None:
    events = [{"aid": "a", "ts": 1}, {"aid": "b", "ts": 2}]
    lines = [{"session": 7, "events": events}, {"session": 8, "events": []}, {"session": 9}]
    found = read("\n".join(map(json.dumps, lines)), "json", SESSION, explode="events")
    assert good(found) == [
        {"session": 7, "events": events[0]},
        {"session": 7, "events": events[1]},
        {"session": 8, "events": None},
        {"session": 9, "events": None},
    ]
    assert [lines for _, lines, _ in found] == [1, 0, 1, 1]


def test_an_array_deep_in_a_record_is_named_by_its_path(read: Read) -> None:
    content = '{"day": "x", "cart": {"id": 1, "lines": ["a", "b"]}}\n{"day": "y", "cart": 3}\n{"cart": {"lines": 4}}\n'
    found = read(content, "json", {"cart": "struct<id:int,lines:string>"}, explode="cart.lines")
    assert good(found) == [{"day": "x", "cart": {"id": 1, "lines": each}} for each in "ab"]
    assert problems(found) == [
        "explode names cart.lines, and cart is '3'",
        "explode names cart.lines, which is '4', expected an array",
    ]


def test_a_whole_file_that_is_one_object_over_several_lines_holds_its_events(read: Read) -> None:
    content = json.dumps({"export": 1, "data": [{"id": n} for n in range(3)]}, indent=2)
    found = read(content, "json", {"data": "struct<id:int>"}, explode="data")
    assert [row["data"]["id"] for row in good(found)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("cell", "layout"),
    [
        ("N1-1 N2-0  N3-0 ", {"explode_delimiter": " "}),
        ('"[""N1-1"", ""N2-0"", ""N3-0""]"', {}),
        ("\"['N1-1', 'N2-0', 'N3-0']\"", {}),
        ("N1-1|N2-0|N3-0", {"explode_delimiter": "|"}),
        ('"N1-1,N2-0,N3-0"', {"explode_delimiter": ","}),
    ],
)
def test_the_text_of_a_csv_field_is_split(cell: str, layout: dict[str, str], read: Read) -> None:
    found = read(f"id,shown\nu1,{cell}\nu2,\n", "csv", {"id": "string", "shown": "string"}, explode="shown", **layout)
    assert [tuple(row.values()) for row in good(found)] == [
        ("u1", "N1-1"),
        ("u1", "N2-0"),
        ("u1", "N3-0"),
        ("u2", None),
    ]


def test_a_text_that_is_no_list_says_what_would_help(read: Read) -> None:
    found = read("id,text\nu1,a;b\n", "csv", explode="text")
    words = "expected a list; if something stands between its elements, set `explode_delimiter`"
    assert problems(found) == [f"explode names text, which is 'a;b', {words}"]


def test_the_last_field_takes_the_rest_of_a_line_where_both_delimiters_are_equal(read: Read) -> None:
    layout = {"header": False, "delimiter": " ", "explode": "text", "explode_delimiter": " ", "takes_rest": True}
    found = read("0 10 11 12\n1 20\n2 \n3\n", "csv", **layout)
    assert [tuple(row.values()) for row in good(found)] == [
        ("0", "10"), ("0", "11"), ("0", "12"), ("1", "20"), ("2", None),
    ]  # fmt: skip
    assert problems(found) == ["it has 1 fields, expected 2: id, text"]


def test_records_are_numbered_within_their_file_where_the_source_asks_for_it(read: Read) -> None:
    lines = '{"id": 1}\n{}\nno record\n{"id": [2, 3] }\n'
    found = read(lines, "json", has_row_index=True)
    assert good(found) == [{"id": 1, "_row_index": 0}, {"_row_index": 1}, {"id": [2, 3], "_row_index": 3}]
    layout = {"header": False, "delimiter": " ", "explode": "text", "explode_delimiter": " ", "takes_rest": True}
    found = read("0 10 10\n1 20\n", "csv", has_row_index=True, **layout)
    assert [tuple(row.values()) for row in good(found)] == [("0", "10", 0), ("0", "10", 1), ("1", "20", 2)]
