"""Sends the events of the sample's last file to a Kafka topic, and removes the file.

benchmarks/container_faults.py runs it in a container, which has Spark's Kafka client and no other.
"""

from pyspark.sql import SparkSession

from nightloom import settings as settings_module
from nightloom.places import folder_of, place_at
from spark_jobs.configuration import extra_jars


def main() -> None:
    settings = settings_module.load()
    (stream,) = (source for source in settings.sources if source.format == "kafka")
    (files,) = (source for source in settings.sources if source.kind == "events" and source.format == "json")
    last = max(folder_of(place_at(str(files.path), settings.root)).iterdir())
    spark = (
        SparkSession.builder.master("local[1]").config("spark.driver.extraClassPath", ":".join(extra_jars()))
    ).getOrCreate()
    messages = spark.read.text(str(last)).write.format("kafka").option("topic", str(stream.topic))
    messages.option("kafka.bootstrap.servers", str(stream.servers)).save()
    last.unlink()


if __name__ == "__main__":
    main()
