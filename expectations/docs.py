"""Data Docs: validation results and suites -> static pages under settings.place("docs"), which keep the last runs."""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import great_expectations as gx
from great_expectations.data_context import AbstractDataContext
from great_expectations.data_context.types.base import DataContextConfig, ProgressBarsConfig
from great_expectations.data_context.types.resource_identifiers import (
    ExpectationSuiteIdentifier,
    ValidationResultIdentifier,
)
from great_expectations.render.view import DefaultJinjaPageView
from jinja2 import ChoiceLoader, FileSystemLoader, pass_context

from expectations import object_pages
from nightloom.pages.html import TURNING
from nightloom.places import Place
from nightloom.settings import Settings

SITE = "nightloom"
RUNS_KEPT = 20
"""Validation pages kept for each suite: some three weeks of nights. The results themselves stay in ops.expectations."""


def context(settings: Settings) -> AbstractDataContext:
    """A Great Expectations context with its suites, results and pages on disk.

    Suites are rebuilt each night. They are on disk because the site drops a page whose suite is in no store.
    """
    docs = settings.place("docs")
    project = gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            expectations_store_name="expectations",
            validation_results_store_name="results",
            checkpoint_store_name="checkpoints",
            stores={
                "expectations": {"class_name": "ExpectationsStore", "store_backend": _folder(docs / "suites")},
                "results": {"class_name": "ValidationResultsStore", "store_backend": _folder(docs / "results")},
                "checkpoints": {"class_name": "CheckpointStore"},
                "validation_definition_store": {"class_name": "ValidationDefinitionStore"},
            },
            data_docs_sites={SITE: _site(docs)},
            analytics_enabled=False,
        ),
    )
    project.variables.progress_bars = ProgressBarsConfig(globally=False)
    return project


def _site(docs: Place) -> dict[str, Any]:
    page, index = ({"module_name": __name__, "class_name": name} for name in ("Page", "IndexPage"))
    return {
        "class_name": "SiteBuilder",
        "store_backend": _folder(docs),
        "site_section_builders": {"expectations": {"view": page}, "validations": {"view": page}},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder", "view": index},
    }


class Page(DefaultJinjaPageView):
    """A page with our frame and style (pages/).

    The built-in pages load scripts, styles and a tracking logo from seven other hosts, and show almost nothing without.
    """

    def __init__(self, **folders: Any) -> None:
        super().__init__(**folders)
        ours = FileSystemLoader(Path(__file__).parent / "pages")
        self.env.loader = ChoiceLoader([ours, *filter(None, [self.env.loader])])

    def render(self, document: Any, template: Any = None, **values: Any) -> str:
        """As built in, with the signs that turn a text made visible: they may stand in a sampled value, too."""
        page = super().render(document, template, **values)  # type: ignore[no-untyped-call]
        return str(page).translate(TURNING)

    @pass_context
    def render_content_block(self, context: Any, content_block: Any, *rest: Any, **more: Any) -> Any:
        """As built in, with plain text escaped: it may be a sampled value, so anything that somebody sent."""
        return super().render_content_block(context, _escaped(content_block), *rest, **more)


def _escaped(content: Any) -> Any:
    if isinstance(content, list):
        return [_escaped(each) if isinstance(each, str) else each for each in content]
    return html.escape(content, quote=False) if isinstance(content, str) else content


class IndexPage(Page):
    """The site's first page."""

    _template = "index_page.j2"


def _folder(place: Place) -> dict[str, str]:
    if isinstance(place, Path):
        return {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(place)}
    return {"module_name": object_pages.__name__, "class_name": "ObjectBackend", "base_directory": str(place)}


def write_pages(
    project: AbstractDataContext, settings: Settings, results: Sequence[ValidationResultIdentifier]
) -> Place:
    """Write the pages of these results and of their suites, and the index; drop the oldest. Returns the index."""
    _prune(project)
    suites = {result.expectation_suite_identifier.name for result in results}
    identifiers: list[Any] = [*results]
    identifiers += [ExpectationSuiteIdentifier(name=name) for name in sorted(suites)]
    project.build_data_docs(resource_identifiers=identifiers)
    return settings.place("docs") / "index.html"


def _prune(project: AbstractDataContext) -> None:
    """Remove the results of each suite beyond the newest RUNS_KEPT runs; pages go with their results."""
    store: Any = project.validation_results_store  # its keys are typed as any store's
    of_suite: dict[str, list[ValidationResultIdentifier]] = defaultdict(list)
    for key in store.list_keys():
        of_suite[key.expectation_suite_identifier.name].append(key)
    for keys in of_suite.values():
        runs = sorted({key.run_id.run_time for key in keys}, reverse=True)[:RUNS_KEPT]
        for key in (key for key in keys if key.run_id.run_time not in runs):
            store.remove_key(key)
