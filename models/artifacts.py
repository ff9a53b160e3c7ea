"""MLflow's artefacts in object storage: a plug-in of MLflow (pyproject.toml) for artefacts at s3://, gs:// and abfss://.

MLflow's own classes need the library of each cloud, with variables of its own. This one asks as the rest of Nightloom
does.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from mlflow.entities import FileInfo
from mlflow.store.artifact.artifact_repo import ArtifactRepository

from nightloom.places import Place, files_below, place_at, remove_tree, upload_folder


class PlaceArtifacts(ArtifactRepository):
    """The artefacts below one address."""

    def __init__(self, artifact_uri: str, *rest: Any, **more: Any) -> None:
        super().__init__(artifact_uri, *rest, **more)
        self._root = place_at(artifact_uri)

    def _place(self, path: str | None) -> Place:
        return self._root / path if path else self._root

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        file = Path(local_file)
        with file.open("rb") as source, (self._place(artifact_path) / file.name).open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        upload_folder(Path(local_dir), self._place(artifact_path))

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """Files and folders directly below a path; of a file, none."""
        prefix, found = f"{path}/" if path else "", dict[str, FileInfo]()
        for name, _, size in files_below(self._place(path)):
            first, _, deeper = name.partition("/")
            found[first] = FileInfo(prefix + first, bool(deeper), None if deeper else size)
        return [found[name] for name in sorted(found)]

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        with self._place(remote_file_path).open("rb") as source, Path(local_path).open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        remove_tree(self._place(artifact_path))
