"""Helm, and the schemas of Kubernetes and of two operators: built and fetched by Go at their first use."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

HELM = "helm.sh/helm/v4/cmd/helm@v4.3.2"
KUBERNETES = "k8s.io/kube-openapi@v0.0.0-20260721132016-d427ff9ee9ad", "pkg/schemaconv/testdata/swagger.json"
"""A Go module, and in it the OpenAPI document of Kubernetes 1.27: all kinds here are unchanged since."""
OPERATORS = (
    ("github.com/kubeflow/mpi-operator@v0.6.0", "manifests/base/kubeflow.org_mpijobs.yaml"),
    (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ),
)
"""Go modules, and in each the definition of a kind."""

Manifest = dict[str, Any]
Schemas = dict[tuple[str, str], Draft202012Validator]
"""(apiVersion, kind) -> what checks a manifest."""


def helm() -> str:
    """The program; Go builds it at its first use, which takes some minutes."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nightloom" / "go"
    if found := shutil.which("helm", path=os.pathsep.join([str(folder), os.environ["PATH"]])):
        return found
    assert shutil.which("go"), "Helm is built from its source: install Go 1.26 or later, or put `helm` on the PATH"
    subprocess.run(["go", "install", HELM], env=os.environ | {"GOBIN": str(folder)}, check=True)
    return str(folder / "helm")


def schemas() -> Schemas:
    """Schemas in which an unknown key is an error."""
    definitions = strict(json.loads(_file(*KUBERNETES).read_text())["definitions"])
    return dict([*_of_kubernetes(definitions), *_of_operators()])


def _of_kubernetes(definitions: Any) -> Iterator[tuple[tuple[str, str], Draft202012Validator]]:
    for name, schema in definitions.items():
        for kind in schema.get("x-kubernetes-group-version-kind", ()):
            version = "/".join(filter(None, (kind["group"], kind["version"])))
            validator = Draft202012Validator({"$ref": f"#/definitions/{name}", "definitions": definitions})
            yield (version, kind["kind"]), validator


def _of_operators() -> Iterator[tuple[tuple[str, str], Draft202012Validator]]:
    for module, path in OPERATORS:
        spec = yaml.safe_load(_file(module, path).read_text())["spec"]
        for version in spec["versions"]:
            schema = Draft202012Validator(strict(version["schema"]["openAPIV3Schema"]))
            yield (f"{spec['group']}/{version['name']}", spec["names"]["kind"]), schema


def strict(schema: Any) -> Any:
    """A schema of Kubernetes as JSON Schema: an object has no other keys than it names, as a server checks it."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(value) for name, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        made["type"] = ["integer", "string"]
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


def _file(module: str, path: str) -> Path:
    """A file of a Go module, which the module proxy gives."""
    assert shutil.which("go"), "the schemas are files of Go modules: install Go"
    done = subprocess.run(
        ["go", "mod", "download", "-json", module], capture_output=True, text=True, check=True, cwd="/"
    )
    return Path(json.loads(done.stdout)["Dir"]) / path
