"""[places]: where the lake, the store and everything else are."""

import re
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, model_validator
from typing_extensions import TypeAliasType

from nightloom.places import SCHEMES, scheme_of
from nightloom.section import Section, suggest_key


def _known_address(text: str) -> str:
    scheme = scheme_of(text)
    if scheme is None:
        return text
    if scheme not in SCHEMES:
        known = " or ".join(f"{each}://" for each in SCHEMES)
        near = suggest_key(scheme, SCHEMES).replace("'?", "://'?")
        raise ValueError(f"found '{scheme}://', expected a folder, or an address that begins with {known}{near}")
    parts = urlsplit(text)
    if parts.password or (parts.username and scheme != "abfss"):
        raise ValueError("the address holds a secret; the environment gives credentials, see docs/places.md")
    if not parts.hostname or parts.query or parts.fragment or (scheme == "abfss") != bool(parts.username):
        form = (
            "abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/FOLDER"
            if scheme == "abfss"
            else f"{scheme}://BUCKET/FOLDER"
        )
        raise ValueError(f"found '{text}', expected {form}")
    return text


def _on_this_machine(text: object) -> object:
    if scheme := scheme_of(str(text)):
        raise ValueError(f"found '{scheme}://', expected a folder on this machine's own disks")
    return text


Address = TypeAliasType("Address", Annotated[str, AfterValidator(_known_address)])
"""A folder, or an address in object storage."""
LocalFolder = TypeAliasType("LocalFolder", Annotated[Path, BeforeValidator(_on_this_machine)])


class Places(Section):
    """Where things are: in a folder, or at an address in object storage that begins with s3://, gs:// or abfss://.
    Relative paths are relative to nightloom.toml. Credentials come from the environment: docs/places.md."""

    home: Address = "data"
    """Folder or address of every place below that has no value, and of reports and training checkpoints."""
    lake: Address | None = None
    """Delta tables, and how far ingest has read; default HOME/lake. Folders may have any name without `[ ] ^ | \\` and
    without `%` before two hexadecimal digits, which the Delta library cannot open."""
    store: Address | None = None
    """Serving store that is a folder (store.kind = "lmdb" or "files") or, with "files", an address; default
    HOME/store."""
    store_url: str | None = None
    """Serving store that is a server: redis://HOST:PORT/DB, postgresql://HOST:PORT/DB,
    cassandra://HOST,HOST:PORT. An address with a password goes into the variable NIGHTLOOM_PLACES__STORE_URL: in the
    file it is an error."""
    mlflow: str | None = None
    """MLflow tracking URI; default a SQLite file HOME/mlflow.db."""
    mlflow_artifacts: Address | None = None
    """Where the models' files go; default HOME/mlflow, or what the tracking server says. It counts when the project's
    experiment is created."""
    scratch: LocalFolder | None = None
    """Folder on a machine's own disk for what can be made again: rows that DuckDB spills, Spark's temporary files,
    models from the registry, the API's last good version; default HOME, if that is a folder."""
    docs: Address | None = None
    """Great Expectations' Data Docs; default HOME/data-docs."""
    access: Address | None = None
    """Folder or address of the API's keys (keys.json), which every instance reads; default HOME/access."""
    airflow: LocalFolder | None = None
    """AIRFLOW_HOME; default HOME/airflow, or SCRATCH/airflow where HOME is an address."""
    airflow_url: str | None = None
    """Address of an Airflow elsewhere, such as https://airflow.example.org: `nightloom night`, `backfill` and `status`
    then ask that one, with NIGHTLOOM_AIRFLOW_TOKEN, or NIGHTLOOM_AIRFLOW_USER and NIGHTLOOM_AIRFLOW_PASSWORD."""
    spark: str = "warm"
    """`warm`: a local Spark Connect server that the night's stages share. A master URL (spark://..., k8s://..., yarn,
    local[2]): a driver per stage; see [Spark on a cluster](cluster.md). sc://...: a Spark Connect server of your own; a
    stage sets what results depend on (time zone, ANSI mode, ...) for its session, and ends with an error that names a
    setting which it can neither set nor find."""

    @model_validator(mode="after")
    def _airflow_is_an_address(self) -> Self:
        if self.airflow_url is not None and not re.match(r"https?://[^@/\s]+(/\S*)?$", self.airflow_url):
            raise ValueError(
                "places.airflow_url: expected http://HOST:PORT or https://HOST; user and password are variables"
            )
        return self

    @model_validator(mode="after")
    def _known_spark(self) -> Self:
        if not re.match(r"warm$|yarn$|local($|\[)|(sc|spark|k8s)://.", self.spark):
            raise ValueError(
                f"places.spark: found '{self.spark}', expected warm, sc://HOST:PORT, or a master: local[2], yarn, "
                f"spark://HOST:PORT or k8s://HOST:PORT{suggest_key(self.spark, ('warm', 'yarn', 'local[*]'))}"
            )
        return self
