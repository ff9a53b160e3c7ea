"""A project of which every text that a person may choose is hostile, in a folder with a hostile name."""

import json
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path

from tests.first_night import Project

FOLDER = "shop's #1 50% näh"
"""A space, an apostrophe, `#`, `%` and a letter that is not ASCII."""
MARK = "<img src=x onerror=alert(1)>"
"""Must not be in any page as it is."""
TEXTS = (
    "it's",
    'say "hi"',
    "`tick` \u00b4acute\u00b4 \u2018curly\u2019 \u201elow\u201c",
    "back\\slash\\'",
    "ends\\",
    "'; DROP TABLE lists; --",
    "two\nlines\r\n",
    "tab\tand\u2028separator",
    "100% %s %(x)s %20",
    "$1 ${HOME} $(id) :k ?",
    "{braces} {{ ds }} {% raw %} [bold]",
    "🌙👩\u200d🚀",
    "\u202eright to left\u202c",
    "e\u0301 is not é",
    " blanks around ",
    "NULL",
    "nan",
    "true",
    "-1",
    "1e5",
    "__HIVE_DEFAULT_PARTITION__",
    "../../etc/passwd",
    "a/b?c=d&e#f",
    "a,b;c|d=e",
    MARK,
    "</script><script>alert(1)</script>",
    "bell\x07 and nul\x00inside",
    "x" * 300,
    "ж" * 300,
)
IDS = tuple(text for text in TEXTS if "\0" not in text)
"""A NUL may be in a title; an id that holds one is in quarantine. The sources declare that `NULL` and `nan` are ids."""
COUNTRY = "Côte d'Ivoire"
FIRST, NIGHT = date(2024, 3, 1), date(2024, 3, 28)
USERS = TEXTS + tuple(f"u{n}" for n in range(31))
ITEMS = TEXTS + tuple(f"i{n}" for n in range(15))
TASTES = 4
"""Users like items of their own taste only: a model that learns beats popularity."""
OF_USERS = """the user's "`name`" \\ %{}"""
OF_ITEMS = """the item's "`name`" \\ %{}"""
"""Names of attributes."""
FIELD = """field's "`x`" \\ %"""


def sql(text: str) -> str:
    """As a person writes a text in the SQL of a slate rule (DuckDB's)."""
    return "'" + text.replace("'", "''") + "'"


def spark(text: str) -> str:
    """As a person writes a text in the SQL of a source (Spark's)."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def toml(text: str) -> str:
    """As a person writes a text in nightloom.toml."""
    return json.dumps(text, ensure_ascii=False)


FIELD_SQL = f"`{FIELD.replace('`', '``')}`"
SOLD_IN = f"CASE WHEN item_id = {spark(TEXTS[0])} THEN {spark(COUNTRY)} END"
PINS = "".join(
    f"[[slate.pins]]\nname = 'pin_{n}'\nitem = {toml(text)}\nplace = 12\n"
    f"users = {{ {toml(OF_USERS)} = {toml(text)} }}\n"
    for n, text in enumerate(TEXTS)
)
SETTINGS = f"""
[project]
name = "hostile"

[[sources]]
name = "clicks"
kind = "events"
path = {toml("landing/it's %20 #")}
format = "json"
settle_seconds = 0
ids = {{ missing = [] }}
fields = {{ {toml(FIELD)} = "string", item_id = "string", at = "timestamp" }}
columns = {{ user_id = {toml(FIELD_SQL)}, item_id = "item_id", event = {toml(spark(COUNTRY))}, occurred_at = "at" }}

[[sources.rules]]
name = "crawlers"
when = {toml(f"{FIELD_SQL} = {spark(MARK + chr(39))}")}
then = "quarantine"

[[sources]]
name = "catalogue"
kind = "items"
path = "landing/items"
format = "json"
settle_seconds = 0
ids = {{ missing = [] }}
fields = {{ item_id = "string", title = "string", genres = "array<string>", {toml(FIELD)} = "string" }}
columns = {{ item_id = "item_id", title = "title", categories = "genres" }}
attributes = {{ {toml(OF_ITEMS)} = {toml(FIELD_SQL)}, sold_in = {toml(SOLD_IN)} }}

[[sources]]
name = "members"
kind = "users"
path = "landing/users"
format = "json"
settle_seconds = 0
ids = {{ missing = [] }}
fields = {{ user_id = "string", {toml(FIELD)} = "string" }}
columns = {{ user_id = "user_id" }}
attributes = {{ {toml(OF_USERS)} = {toml(FIELD_SQL)}, country = {toml(spark(COUNTRY))} }}

[[signals]]
event = {toml(COUNTRY)}

[[models]]
name = "popularity"

[[models]]
name = "als"
params = {{ factors = 8 }}

[training]
holdout_days = 7

[gates.model]
segment_loss = 1.0

[gates.slate]
min_fill = 0.5
min_coverage = 0.9
stop_on = []

[slate]
k = 6
stored = 12
segments = [{toml(OF_USERS)}, "country"]

[[slate.filters]]
name = "no_script"
when = {toml(f"title <> {sql(MARK + chr(39))} AND NOT list_contains(categories, {sql('none of ' + TEXTS[0])})")}

[[slate.filters]]
name = "sold_here"
item = "sold_in"
user = "country"

[[slate.boosts]]
name = "liked"
when = {toml(f"title IN ({', '.join(map(sql, TEXTS))})")}
add = 0.1

[[slate.boosts]]
name = "decays"
add = 0.1
since = {toml(OF_ITEMS)}
half_life_days = 3

[[slate.caps]]
name = "few_of_one"
by = {toml(OF_ITEMS)}
at_most = 5

[[slate.floors]]
name = "one_of_it"
when = {toml(f"{sql(TEXTS[0])} IN categories")}
at_least = 1

[[slate.promotions]]
name = "for_a_country"
when = {toml(f"title = {sql(TEXTS[1])}")}
share = 0.17
users = {{ country = {toml(COUNTRY)} }}

{PINS}
[slate.diversity]
by = ["category", {toml(OF_ITEMS)}]

[[marts]]
name = "hostile_users"
grain = {toml(TEXTS[0] + TEXTS[1] + TEXTS[3] + TEXTS[9])}
key = ["user_id"]
columns = {{ user_id = "string", text = {{ type = "string", comment = {toml(TEXTS[0] + TEXTS[1] + TEXTS[3])} }} }}
sql = {toml(f"SELECT user_id, any_value({spark(TEXTS[3])}) AS text FROM silver.interactions GROUP BY user_id")}
"""
"""nightloom.toml with a rule of each kind."""


def title(number: int) -> str:
    """The title of an item."""
    return TEXTS[(number + 1) % len(TEXTS)] if number < len(TEXTS) else ITEMS[number]


def project(folder: Path) -> Project:
    """The project with its landing files."""
    made = Project.create(folder / FOLDER, SETTINGS)
    events, items, users = (made.root / "landing" / name for name in ("it's %20 #", "items", "users"))
    for each in (events, items, users):
        each.mkdir(parents=True)
    days = (NIGHT - FIRST).days
    liked = [
        {FIELD: user, "item_id": item, "at": f"{FIRST + timedelta(days=(5 * u + 3 * i) % (days + 1))}T12:00:00Z"}
        for u, user in enumerate(USERS)
        for i, item in enumerate(ITEMS)
        if u % TASTES == i % TASTES and (u // TASTES + i // TASTES) % 3
    ]
    _write(events / "it's % #.jsonl", liked)
    described = [
        {"item_id": item, "title": title(n),
         "genres": [TEXTS[n % len(TEXTS)], TEXTS[0]], FIELD: TEXTS[n % len(TEXTS)]}
        for n, item in enumerate(ITEMS)
    ]  # fmt: skip
    _write(items / "items.jsonl", described)
    _write(users / "users.jsonl", [{"user_id": user, FIELD: TEXTS[n % 5]} for n, user in enumerate(USERS)])
    return made


def _write(file: Path, rows: Iterable[Mapping[str, object]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf8")
