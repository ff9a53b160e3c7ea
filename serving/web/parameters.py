"""What the routes of lists take: one description, from which the checks and the OpenAPI document come.

The same names in the query of a GET and in the JSON body of a POST.
"""

from __future__ import annotations

from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    StrictInt,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from starlette.datastructures import QueryParams
from starlette.requests import Request

from serving.answers import BadRequestError, parse_k
from serving.paging import Page, parse_page
from serving.selection import Filters, Selection
from serving.stores.base import EVERYBODY
from serving.stores.reader import Snapshot

MAX_EXCLUDED = 10_000
MAX_NAMED = 50
"""Categories, attributes or words of context in one request."""
MAX_USERS = 1000
MAX_HIDDEN, MAX_ITEM_ID = 1000, 1000
"""Items of one change of those that no answer has, and characters of each id."""
LINE = r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$"
"""One line that is not blank."""
K_SCHEMA = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}
Pair = Annotated[str, Field(pattern=r"^[^=]+=")]
"""NAME=VALUE."""
Model = TypeVar("Model", bound=BaseModel)


class Parameters(BaseModel):
    """The base: an unknown name in a body is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ListSelection(Parameters):
    """Which items a list may have, and how many."""

    k: Annotated[StrictInt | str | None, WithJsonSchema(K_SCHEMA)] = Field(None, examples=[10])
    """How many items: by default `slate.k`, at most `slate.stored`."""
    exclude: tuple[str, ...] = Field((), max_length=MAX_EXCLUDED, examples=[["42", "57"]])
    """Items that are not wanted, such as those on the page already. In a query they are separated by commas."""
    segment: str | None = Field(None, examples=["market=DE"])
    """The segment whose popular list fills the list, before everybody's."""
    context: tuple[Pair, ...] = Field((), max_length=MAX_NAMED, examples=[["market=DE", "age=30-39"]])
    """What is known of the reader, as NAME=VALUE. The popular lists of these segments fill the list, in the order of
    `slate.segments`; names that are no segments do not matter."""
    category: tuple[str, ...] = Field((), max_length=MAX_NAMED, examples=[["Drama"]])
    """Only items that have one of these categories."""
    attribute: tuple[Pair, ...] = Field((), max_length=MAX_NAMED, examples=[["year=1997", "year=1998"]])
    """Only items that have this value of an attribute, as NAME=VALUE. Of several values of one name an item needs one,
    and of several names each."""

    @field_validator("k")
    @classmethod
    def _number_in_json(cls, k: int | str | None, info: ValidationInfo) -> int | str | None:
        """A query has texts alone; in JSON a number is a number."""
        if info.mode == "json" and isinstance(k, str):
            raise ValueError("Input should be a whole number")
        return k

    def select(
        self, snapshot: Snapshot, declared: tuple[str, ...], hidden: frozenset[str], page: Page | None = None
    ) -> Selection:
        """What is asked of a version. `declared` is slate.segments, `hidden` what no answer has.

        Raises BadRequestError.
        """
        filters = Filters.of(self.category, self.attribute)
        k, segments = parse_k(snapshot, self.k), self._segments(declared)
        return Selection(k, frozenset(self.exclude), segments, filters, page, hidden)

    def _segments(self, declared: tuple[str, ...]) -> tuple[str, ...]:
        named = () if self.segment in (None, EVERYBODY) else (self.segment,)
        if not self.context:
            return named
        known = [each for name in declared for each in self.context if each.partition("=")[0] == name]
        return tuple(dict.fromkeys((*named, *known)))


class ListRequest(ListSelection):
    """What a list is asked for."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"k": 10, "exclude": ["42", "57"], "category": ["Drama"]}]}
    )

    page: str | None = Field(None, examples=["v000007.1c29d3f0b54f5a3e.10.5ad2c1b7"])
    """The `next` of the answer before: the items that follow, of the same version. None is repeated, whatever was
    published since. A page of a version that is not kept any more is answered with 410."""

    @classmethod
    def of_query(cls, query: QueryParams) -> Self:
        """Of a name that is given twice and is no list the last value counts. Raises BadRequestError."""
        fields: dict[str, Any] = {name: query[name] for name in ("k", "segment", "page") if name in query}
        fields |= {name: query.getlist(name) for name in ("context", "category", "attribute") if name in query}
        if "exclude" in query:
            fields["exclude"] = [item for text in query.getlist("exclude") for item in text.split(",")]
        return _checked(cls, fields)

    def parsed_page(self) -> Page | None:
        """Raises BadRequestError for a text that is no page's."""
        if self.page is None:
            return None
        if (found := parse_page(self.page)) is None:
            raise BadRequestError(f"page is {self.page[:80]!r}, expected the `next` of the answer before")
        return found


class BatchRequest(ListSelection):
    """The lists of several users, who get the same number of items and the same exclusions and filters."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"users": ["196", "186"], "k": 10}]})

    users: tuple[str, ...] = Field(min_length=1, max_length=MAX_USERS, examples=[["196", "186"]])
    """Users; their lists come in this order."""


class EventsQuery(Parameters):
    """Whose events they are."""

    source: str | None = Field(None, examples=["ratings"])
    """The source in `nightloom.toml`; may be left out where one source alone takes events."""


class EventsRequest(RootModel[list[dict[str, Any]] | dict[str, Any]]):
    """An event, or up to 1,000: its fields are those that the source declares."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [[{"event_id": "e1", "user_id": "196", "item_id": "50", "event": "click"}]]}
    )


ItemIds = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=MAX_ITEM_ID)], ...],
    Field(min_length=1, max_length=MAX_HIDDEN, examples=[["50", "181"]]),
]
Reason = Annotated[str, Field(min_length=1, max_length=500, pattern=LINE, examples=["recalled by its maker"])]


class HiddenItemsRequest(Parameters):
    """Items that leave every answer."""

    items: ItemIds
    """The items."""
    why: Reason
    """Why, in one line. It is recorded, with the name of the key."""


class HiddenItemsQuery(Parameters):
    """Items that come back into the lists."""

    item: ItemIds
    """The items: the parameter may be given several times."""
    why: Reason
    """Why, in one line. It is recorded, with the name of the key."""

    @classmethod
    def of_query(cls, query: QueryParams) -> Self:
        """Raises BadRequestError."""
        given: dict[str, Any] = {"item": query.getlist("item")} if "item" in query else {}
        return _checked(cls, given | ({"why": query["why"]} if "why" in query else {}))


class ExplanationQuery(Parameters):
    """What an explanation is asked for."""

    item: str = Field(examples=["50"])
    """An item of the user's list."""


NOTHING_ASKED = ListRequest()


def list_request(request: Request, body: bytes) -> ListRequest:
    """What a GET or a POST of a list asks for. Raises BadRequestError."""
    if request.method == "POST":
        return parse_body(ListRequest, body)
    return ListRequest.of_query(request.query_params) if request.scope["query_string"] else NOTHING_ASKED


def parse_body(model: type[Model], body: bytes) -> Model:
    """A JSON body. Raises BadRequestError that names the first wrong field."""
    if not body:
        raise BadRequestError("the body is empty, expected a JSON object; {} asks for the defaults")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _first_error(error) from None


def _checked(model: type[Model], fields: dict[str, Any]) -> Model:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise _first_error(error) from None


def _first_error(error: ValidationError) -> BadRequestError:
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"])) or "the body"
    return BadRequestError(f"{where}: {first['msg']}; found {first['input']!r:.80}")
