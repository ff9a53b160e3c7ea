"""A Kafka topic -> its messages as records with the columns of a landing file; Kafka's errors -> ours.

Each message's `file` is kafka:TOPIC/PARTITION/OFFSET. The run ends with an error when a broker is down, or when Kafka
deleted messages before they were read. By default the client would wait for minutes, or for ever.
"""

from __future__ import annotations

import re

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from nightloom.errors import DataError, NightloomError
from nightloom.settings import Source

MESSAGES_PER_BATCH = 1_000_000  # the most that a killed run reads again
TIMEOUT_MS = 15_000  # for one answer of a broker
LOST = r"[Dd]ata may have been (lost|missed)|KAFKA_DATA_LOSS|OffsetOutOfRange"
NO_TOPIC = r"UnknownTopicOrPartition"
NO_ANSWER = r"TimeoutException|No resolvable bootstrap urls|DisconnectException|Timed out|Failed to create new Kafka"


class KafkaError(NightloomError):
    """No broker answers, or the topic is not there."""


def read_topic(spark: SparkSession, source: Source, *, accept_loss: bool = False) -> DataFrame:
    """The topic from its checkpoint on -> raw, file, file_modified_at, problem: a row per message."""
    text, file = F.col("value").cast("string"), F.concat_ws("/", "topic", "partition", "offset")
    encoded = F.concat(F.lit("(message that is no UTF-8, in base64: "), F.base64("value"), F.lit(")"))
    raw = F.when(F.col("value").isNull(), "(message without a value)").when(F.is_valid_utf8(text), text)
    problem = F.when(F.col("value").isNull(), "the message has no value").when(
        ~F.is_valid_utf8(text), "the message is not UTF-8"
    )
    return (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", str(source.servers))
        .option("subscribe", str(source.topic))
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", MESSAGES_PER_BATCH)
        .option("failOnDataLoss", str(not accept_loss).lower())
        .option("kafka.request.timeout.ms", TIMEOUT_MS)
        .option("kafka.default.api.timeout.ms", TIMEOUT_MS)
        .option("kafkaConsumer.pollTimeoutMs", TIMEOUT_MS)
        .option("fetchOffset.numRetries", 1)
        .load()
        .select(
            raw.otherwise(encoded).alias("raw"),
            F.concat(F.lit("kafka:"), file).alias("file"),
            F.col("timestamp").alias("file_modified_at"),
            F.lit(None).cast("int").alias("lines"),
            problem.alias("problem"),
            F.lit(None).cast("string").alias("file_summary"),
        )
    )


def translate_error(source: Source, message: str) -> NightloomError | None:
    """The error of a query with its causes, as one of ours; None where Kafka is not the reason."""
    where = f"source '{source.name}': topic {source.topic} at {source.servers}"
    if re.search(LOST, message):
        reason = re.search(r"Reason: ([^\n]{,300}[^\n.])", message)
        found = f" ({reason[1]})" if reason else ""
        return DataError(
            f"{where}: Kafka deleted messages before they were read{found}. "
            f"Nothing more is read until somebody accepts the loss: run this once with --accept-loss {source.name}"
        )
    if re.search(NO_TOPIC, message):
        return KafkaError(f"{where}: there is no such topic; create it, or mend the source's `topic`")
    if re.search(NO_ANSWER, message):
        return KafkaError(f"{where}: no broker answers; start it, or mend the source's `servers`, then run again")
    return None
