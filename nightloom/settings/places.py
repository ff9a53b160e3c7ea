"""[places]: where the lake, the store and everything else are."""

import re
from pathlib import Path
from typing import Self

from pydantic import model_validator

from nightloom.section import Section, suggest_key


class Places(Section):
    """Where things are. Relative paths are relative to nightloom.toml."""

    home: Path = Path("data")
    """Folder of every place below that has no value."""
    lake: Path | None = None
    """Delta tables; default HOME/lake. Folders may have any name without `[ ] ^ | \\` and without `%` before two
    hexadecimal digits, which the Delta library cannot open."""
    store: Path | None = None
    """Serving store that is a folder (store.kind = "lmdb" or "files"); default HOME/store."""
    store_url: str | None = None
    """Serving store that is a server: redis://HOST:PORT/DB, postgresql://HOST:PORT/DB. An
    address with a password goes into the variable NIGHTLOOM_PLACES__STORE_URL: in the file it is an error."""
    mlflow: str | None = None
    """MLflow tracking URI; default a SQLite file HOME/mlflow.db."""
    scratch: Path | None = None
    """Folder on a machine's own disk for what can be made again: rows that DuckDB spills, Spark's temporary files,
    models from the registry, the API's last good version; default HOME."""
    docs: Path | None = None
    """Great Expectations' Data Docs; default HOME/data-docs."""
    airflow: Path | None = None
    """AIRFLOW_HOME; default HOME/airflow."""
    spark: str = "warm"
    """`warm`: a local Spark Connect server that the night's stages share. A master URL (spark://..., k8s://..., yarn,
    local[2]): a driver per stage; see [Spark on a cluster](cluster.md). sc://...: a Spark Connect server of your own; a
    stage sets what results depend on (time zone, ANSI mode, ...) for its session, and ends with an error that names a
    setting which it can neither set nor find."""

    @model_validator(mode="after")
    def _known_spark(self) -> Self:
        if not re.match(r"warm$|yarn$|local($|\[)|(sc|spark|k8s)://.", self.spark):
            raise ValueError(
                f"places.spark: found '{self.spark}', expected warm, sc://HOST:PORT, or a master: local[2], yarn, "
                f"spark://HOST:PORT or k8s://HOST:PORT{suggest_key(self.spark, ('warm', 'yarn', 'local[*]'))}"
            )
        return self
