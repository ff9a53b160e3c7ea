"""MLflow's plug-in for artefacts in object storage (entry point in pyproject.toml).

MLflow imports its plug-ins with itself. A registered model brings the code that it was trained with, so that import
must bring none of ours: this module stands alone, and the class comes with the first artefact.
"""

from typing import Any


def repository(artifact_uri: str, *rest: Any, **more: Any) -> Any:
    """The artefacts below an address."""
    from models.artifacts import PlaceArtifacts

    return PlaceArtifacts(artifact_uri, *rest, **more)
