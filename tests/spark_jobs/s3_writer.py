"""`python -m tests.spark_jobs.s3_writer spark|delta-rs NAME TABLE FIRST LAST LOG`: rows (NAME, n), one commit each.

For each row LOG gets `n begun` before its commit and `n done` after it. A writer that was killed goes on after the
number that it had begun. The variables AWS_* say where S3 is.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from spark_jobs.configuration import configuration, environment

SMALL = {"spark.driver.memory": "1g"}
COMMITS_PER_OWN = 3
"""delta-rs waits for so many commits of all writers for each of its own: it would end before Spark has begun."""


def spark_appender(name: str, table: str) -> Callable[[int], None]:
    home = Path(tempfile.mkdtemp(prefix="driver-"))
    os.environ.update(environment(home))
    builder = SparkSession.builder.master("local[1]")
    for key, value in configuration(home, "local[1]", lake=table, given=SMALL).items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()

    def append(number: int) -> None:
        row = spark.createDataFrame([(name, number)], "writer string, number int")
        row.coalesce(1).write.format("delta").mode("append").save(table)

    return append


def delta_rs_appender(name: str, table: str) -> Callable[[int], None]:
    def append(number: int) -> None:
        rows = pa.table({"writer": pa.array([name], pa.string()), "number": pa.array([number], pa.int32())})
        while DeltaTable(table).version() < COMMITS_PER_OWN * (number - 1):
            time.sleep(0.02)
        write_deltalake(table, rows, mode="append")

    return append


def main(kind: str, name: str, table: str, first: int, last: int, log: Path) -> None:
    append = {"spark": spark_appender, "delta-rs": delta_rs_appender}[kind](name, table)
    with log.open("a", buffering=1) as lines:
        for number in range(first, last + 1):
            lines.write(f"{number} begun\n")
            append(number)
            lines.write(f"{number} done\n")


if __name__ == "__main__":
    kind, name, table, first, last, log = sys.argv[1:]
    main(kind, name, table, int(first), int(last), Path(log))
