"""Whatever a text file holds and however its source declares it: no reader fails, and each line is in one record."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.spark_jobs.landing_records import records

FIELDS = {"id": "string", "n": "int", "at": "timestamp", "text": "string"}
SIGNS = st.text("\"';,:|\\#\t \r\n{}[]()0123456789-+abcnoNeTruidatx\ufeff\u00e9\x00", max_size=60)
HEADERS = st.sampled_from(["", "id,n,at,text\n", "id::n::at::text\r\n", "id\tn\tat\ttext\r", '[{"id": 1}', "{'id': 1,"])
DIALECT = st.fixed_dictionaries(
    {
        "header": st.booleans(),
        "delimiter": st.sampled_from([",", ";", "\t", " ", "::", "||~||"]),
        "quote": st.sampled_from(['"', "'", ""]),
        "escape": st.sampled_from([None, "\\", '"']),
        "comment": st.sampled_from([None, "#", "::"]),
        "decimal_comma": st.booleans(),
        "timestamp_format": st.sampled_from([None, "seconds", "d.M.yyyy", "MMM d, yyyy"]),
        "null_values": st.sampled_from([(), ("NULL", "-")]),
        "has_row_index": st.booleans(),
        "explode": st.sampled_from([None, "text", "text.a"]),
        "explode_delimiter": st.sampled_from([None, " ", "::"]),
    }
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(["csv", "json", "python"]), HEADERS, SIGNS, DIALECT, st.sampled_from(["utf-8", "utf-16"]))
def test_each_line_of_any_text_is_in_one_record(
    format: str, header: str, text: str, dialect: dict[str, Any], encoding: str
) -> None:
    rest = not dialect["header"] and dialect["explode"] == "text"
    takes_rest = format == "csv" and rest and dialect["explode_delimiter"] == dialect["delimiter"]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "a"
        file.write_bytes((header + text).encode(encoding))
        found = records(file, format, FIELDS, **dialect, takes_rest=takes_rest)
    for record, _, problem in found:
        if problem is None and (format != "json" or dialect["explode"]):
            json.loads(record)
