"""The environment's variables of object storage -> Spark's settings. delta-rs and obstore read the variables.

Credentials are no settings, which Spark writes into command lines and logs: Spark's own code takes AWS_ACCESS_KEY_ID
and the like from the driver's environment and hands them to the executors.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

S3 = {
    "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
    "spark.hadoop.fs.AbstractFileSystem.s3.impl": "org.apache.hadoop.fs.s3a.S3A",
}
"""Hadoop knows s3a:// alone; every other library knows s3://."""


def s3_settings(variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Spark's settings for S3, and for a server with its interface, where AWS_ENDPOINT_URL names one."""
    endpoint = variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL")
    region = variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION") or ("us-east-1" if endpoint else None)
    named = {"endpoint": endpoint, "endpoint.region": region, "path.style.access": "true" if endpoint else None}
    return S3 | {f"spark.hadoop.fs.s3a.{key}": value for key, value in named.items() if value}
