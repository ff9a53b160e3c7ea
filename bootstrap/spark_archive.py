"""`spark_archive.py FILE`: write an AppCDS archive of the classes that Spark's Connect server loads for Delta tables.

bootstrap/jars.py calls it. The JVM uses an archive only with the class path that it was written with: the jars of
.venv/spark-jars by name, then Spark's. So spark_jobs/configuration.py starts the server with the same
spark.driver.extraClassPath, and with `-XX:SharedArchiveFile=FILE`.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from pyspark.sql import SparkSession

PREFIX = Path(sys.prefix)
FLAGS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


def free_port() -> int:
    """A free TCP port on 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_server(java_options: str, port: int, folder: Path) -> "subprocess.Popen[bytes]":
    """Start the Connect server with Delta in `folder`; it is ready when it accepts connections on the port."""
    settings = {
        "spark.driver.extraClassPath": ":".join(sorted(str(jar) for jar in (PREFIX / "spark-jars").glob("*.jar"))),
        "spark.driver.extraJavaOptions": f"{java_options} {FLAGS} -Dderby.system.home=.",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.warehouse.dir": folder / "warehouse",
        "spark.local.dir": folder / "local",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": port,
        "spark.databricks.delta.snapshotPartitions": 2,
        "spark.sql.shuffle.partitions": 2,
        "spark.ui.enabled": "false",
        "spark.log.level": "WARN",
    }
    conf = [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
    main = "org.apache.spark.sql.connect.service.SparkConnectServer"
    command = [str(PREFIX / "bin/spark-submit"), "--master", "local[2]", *conf, "--class", main, "spark-internal"]
    return subprocess.Popen(command, cwd=folder, env=os.environ | {"SPARK_LOCAL_IP": "127.0.0.1"})


def wait_for(port: int, process: "subprocess.Popen[bytes]", seconds: float = 300) -> None:
    """Wait until the port accepts connections. Raises SystemExit if the process ends or time is up."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit(f"the Spark server did not open port {port} in {seconds:.0f} s (its exit code: {process.poll()})")


def exercise_tables(spark: SparkSession, folder: Path) -> None:
    """Do to small tables what a night does: create, stream, merge, overwrite, read versions and changes."""
    table, landing = f"{folder}/table", f"{folder}/landing"
    spark.sql(
        f"CREATE TABLE delta.`{table}` (id BIGINT NOT NULL, day DATE, tags ARRAY<STRING>, value DOUBLE) USING delta "
        "PARTITIONED BY (day) TBLPROPERTIES (delta.enableChangeDataFeed = true)"
    )
    spark.sql(f"ALTER TABLE delta.`{table}` ADD CONSTRAINT positive CHECK (value >= 0)")
    columns = ("id", "date'2000-01-01' + int(id % 3) AS day", "array(string(id)) AS tags", "rand(7) AS value")
    spark.range(100).selectExpr(*columns).write.mode("overwrite").json(landing)
    events = spark.readStream.schema("id BIGINT, day DATE, tags ARRAY<STRING>, value DOUBLE").json(landing)
    stream = events.writeStream.format("delta").option("checkpointLocation", f"{folder}/checkpoint")
    stream.trigger(availableNow=True).start(table).awaitTermination()
    spark.range(50, 150).selectExpr(*columns).createOrReplaceTempView("news")
    spark.sql(
        f"MERGE INTO delta.`{table}` old "
        "USING (SELECT *, row_number() OVER (PARTITION BY id ORDER BY value) AS n FROM news) new ON old.id = new.id "
        "WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
    )
    first = spark.read.format("delta").load(table).where("day = '2000-01-01'")
    first.write.format("delta").mode("overwrite").option("replaceWhere", "day = '2000-01-01'").save(table)
    spark.read.format("delta").option("versionAsOf", 2).load(table).groupBy("day").count().toPandas()
    changes = spark.read.format("delta").option("readChangeFeed", "true").option("startingVersion", 2).load(table)
    changes.join(spark.table("news"), "id", "left").orderBy("id").limit(10).collect()
    first.mapInArrow(lambda batches: batches, first.schema).write.format("delta").save(f"{folder}/copy")
    spark.sql(f"DESCRIBE HISTORY delta.`{table}`").collect()


def main(archive: Path) -> None:
    folder, port = archive.with_suffix(".work"), free_port()
    shutil.rmtree(folder, ignore_errors=True)  # left by an interrupted run
    folder.mkdir()
    unfinished = folder / archive.name
    process = start_server(
        f"-XX:ArchiveClassesAtExit={unfinished.name} -Xlog:cds=error,cds+dynamic=error", port, folder
    )
    try:
        wait_for(port, process)
        spark = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").getOrCreate()
        print("a night's steps on small tables", flush=True)
        exercise_tables(spark, folder)
        spark.stop()
        print("the JVM writes its archive", flush=True)
    finally:
        process.terminate()  # the JVM shuts down and writes the archive
        process.wait(timeout=300)
    if not unfinished.exists():
        raise SystemExit(f"the JVM wrote no {unfinished}")
    unfinished.replace(archive)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
