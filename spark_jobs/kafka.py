"""A Kafka topic -> its messages as records, the same columns as a landing file's; what Kafka's errors mean.

Each message's `file` is kafka:TOPIC/PARTITION/OFFSET. A broker that is down, or messages that Kafka deleted before they
were read, end the run with an error: the client's own waiting times would be minutes, or for ever.
"""

from __future__ import annotations

import re

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from nightloom.errors import DataError, NightloomError
from nightloom.settings import Source

MESSAGES_AT_ONCE = 1_000_000  # of one batch, so what a killed run does again at most
PATIENCE_MS = 15_000  # for one answer of a broker
LOST = r"[Dd]ata may have been (lost|missed)|KAFKA_DATA_LOSS|OffsetOutOfRange"
NO_TOPIC = r"UnknownTopicOrPartition"
NO_ANSWER = r"TimeoutException|No resolvable bootstrap urls|DisconnectException|Timed out|Failed to create new Kafka"


class KafkaError(NightloomError):
    """No broker answers, or the topic is not there."""


def messages(spark: SparkSession, source: Source, *, accept_loss: bool = False) -> DataFrame:
    """The topic from where the checkpoint stopped -> raw, file, file_modified_at: a message each."""
    text, file = F.col("value").cast("string"), F.concat_ws("/", "topic", "partition", "offset")
    encoded = F.concat(F.lit("(message that is no UTF-8, in base64: "), F.base64("value"), F.lit(")"))
    raw = F.when(F.col("value").isNull(), "(message without a value)").when(F.is_valid_utf8(text), text)
    return (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", str(source.servers))
        .option("subscribe", str(source.topic))
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", MESSAGES_AT_ONCE)
        .option("failOnDataLoss", str(not accept_loss).lower())
        .option("kafka.request.timeout.ms", PATIENCE_MS)
        .option("kafka.default.api.timeout.ms", PATIENCE_MS)
        .option("kafkaConsumer.pollTimeoutMs", PATIENCE_MS)
        .option("fetchOffset.numRetries", 1)
        .load()
        .select(
            raw.otherwise(encoded).alias("raw"),
            F.concat(F.lit("kafka:"), file).alias("file"),
            F.col("timestamp").alias("file_modified_at"),
        )
    )


def meaning(source: Source, told: str) -> NightloomError | None:
    """What a query's error, its causes too, says about Kafka; None where it is something else."""
    where = f"source '{source.name}': topic {source.topic} at {source.servers}"
    if re.search(LOST, told):
        reason = re.search(r"Reason: ([^\n]{,300}[^\n.])", told)
        found = f" ({reason[1]})" if reason else ""
        return DataError(
            f"{where}: Kafka deleted messages before they were read{found}. "
            f"Nothing more is read until somebody accepts the loss: run this once with --accept-loss {source.name}"
        )
    if re.search(NO_TOPIC, told):
        return KafkaError(f"{where}: there is no such topic; make it, or mend the source's `topic`")
    if re.search(NO_ANSWER, told):
        return KafkaError(f"{where}: no broker answers; start it, or mend the source's `servers`, then run again")
    return None
