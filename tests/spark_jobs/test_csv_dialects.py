"""csv_lines.py with the delimiters, quotes, escapes and comments that a source may declare."""

import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spark_jobs.readers.dialect import Dialect
from spark_jobs.readers.record import Layout
from tests.spark_jobs.landing_records import Read, bad, good, problems

RATINGS = {"user": "string", "item": "string", "stars": "int", "at": "timestamp"}


def dialect(**layout: str) -> Dialect:
    return Dialect(Layout("csv", {}, **layout))  # type: ignore[arg-type]  # texts alone


@pytest.mark.parametrize("delimiter", ["::", "\t", "|", ";", " ", "||~||", "\x01", "§"])
def test_a_delimiter_may_have_several_characters(delimiter: str, read: Read) -> None:
    lines = [["1", "122", "5", "838985046"], ["2", "a:b", "3", "838983525"]]
    content = "".join(delimiter.join(line) + "\r\n" for line in lines)
    found = read(content, "csv", RATINGS, header=False, delimiter=delimiter)
    assert [list(row.values()) for row in good(found)] == lines
    quoted = f'1{delimiter}"x{delimiter}""y"""{delimiter}5{delimiter}7\n'
    (row,) = good(read(quoted, "csv", RATINGS, header=False, delimiter=delimiter))
    assert row["item"] == f'x{delimiter}"y"'


def test_a_delimiter_of_several_characters_stands_in_a_value_of_several_lines(read: Read) -> None:
    found = read('id::text\n1::"a::b\nc"\n2::d\n', "csv", delimiter="::")
    assert good(found) == [{"id": "1", "text": "a::b\nc"}, {"id": "2", "text": "d"}]


def test_without_a_quote_quotes_are_ordinary_characters(read: Read) -> None:
    found = read('id\ttext\n1\t"Heroes\n2\tlow"\n3\t5" "pipe"\n', "csv", delimiter="\t", quote="")
    assert [row["text"] for row in good(found)] == ['"Heroes', 'low"', '5" "pipe"']


def test_another_quote_leaves_the_usual_one_alone(read: Read) -> None:
    found = read("""id,text\n1,'a, "b'\n2,it''s\n3,'it''s, yes'\n""", "csv", quote="'")
    assert [row["text"] for row in good(found)] == ['a, "b', "it''s", "it's, yes"]


def test_an_escape_stands_before_quotes_delimiters_line_breaks_and_itself(read: Read) -> None:
    content = 'id;text\n1;"say \\"hi\\"; ok"\n2;a\\;b\n3;\\N\n4;C:\\\\x\n5;two\\\nlines\n6;"c:\\dir"\n'
    found = read(content, "csv", delimiter=";", escape="\\")
    texts = ['say "hi"; ok', "a;b", "\\N", "C:\\x", "two\nlines", "c:\\dir"]
    assert [row["text"] for row in good(found)] == texts
    assert bad(found) == []
    assert [row["text"] for row in good(read('id,text\n1,"a ""b"""\n', "csv", escape='"'))] == ['a "b"']


def test_comments_are_no_records_and_no_lines_but_in_a_quoted_value_they_are_text(read: Read) -> None:
    content = '# made by hand\nid,text\n1,a\n# the rest\n2,"b\n#c"\n\n#'
    assert good(read(content, "csv", comment="#")) == [{"id": "1", "text": "a"}, {"id": "2", "text": "b\n#c"}]
    assert good(read("%% x\n1,a\n", "csv", comment="%%", header=False)) == [{"id": "1", "text": "a"}]


def test_a_line_with_another_number_of_fields_says_so_in_any_dialect(read: Read) -> None:
    found = read("1::2::3::4\n1::2\n1:2:3:4\n", "csv", RATINGS, header=False, delimiter="::")
    assert len(good(found)) == 1
    expected = "expected 4: user, item, stars, at"
    assert problems(found) == [f"it has 2 fields, {expected}", f"it has 1 fields, {expected}"]


@pytest.mark.parametrize(
    ("layout", "line"),
    [
        ({"decimal_comma": True}, 'u2;i2;1.234,5;2024-03-01;"b"'),
        ({"timestamp_format": "seconds"}, 'u2;i2;1;1709287200;"b"'),
        ({"timestamp_format": "d.M.yyyy"}, 'u2;i2;1;1.3.2024;"b"'),
        ({"null_values": ("NULL",)}, 'u2;i2;NULL;2024-03-01;"b"'),
    ],
)
def test_a_stray_quote_swallows_no_line_whose_values_are_written_as_declared(
    layout: dict[str, object], line: str, read: Read
) -> None:
    fields = {"user": "string", "item": "string", "stars": "double", "at": "timestamp", "text": "string"}
    content = f'u1;i1;1;x;"open\n{line}\nu3;i3;2;x;c"\n'
    found = read(content, "csv", fields, header=False, delimiter=";", **layout)
    assert [row["user"] for row in good(found)] == ["u2", "u3"]
    assert problems(found) == ["the quote that opens field 5 is not closed before the next record"]


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(st.lists(TEXT | st.text('";:,\\\t\r\n #', max_size=6), min_size=2, max_size=4), min_size=1),
    delimiter=st.sampled_from([",", "\t", "::", ";;;", "<>"]),
)
def test_what_a_writer_quotes_is_read_back_whatever_the_delimiter(rows: list[list[str]], delimiter: str) -> None:
    quoted = "".join(delimiter.join('"' + field.replace('"', '""') + '"' for field in row) + "\n" for row in rows)
    lines = io.StringIO(quoted, newline="")
    assert list(dialect(delimiter=delimiter).rows(lines)) == rows
