"""[project]: what the project is called."""

from pydantic import Field

from nightloom.section import Section


class Project(Section):
    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    """Short name; the MLflow experiment and the registered model have it, too."""
