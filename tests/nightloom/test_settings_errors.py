"""What is wrong in nightloom.toml is reported at load, with its line and the nearest key."""

import pytest

from nightloom.errors import SettingsError
from nightloom.settings.checks import find_unsafe_commits
from tests.nightloom.conftest import MART, SMALL, Change

RULE = """[slate]
k = 5
stored = 10
[[slate.PLURAL]]
name = "r"
"""
MISTAKES = [
    ('name = "shop"', 'nmae = "shop"', r"line 2: project\.nmae: unknown key; .*Did you mean 'name'\?"),
    ("", "[slate]\nk = 10\nstroed = 30\n", r"line 24: slate\.stroed: unknown key; .*Did you mean 'stored'\?"),
    ("", "[gates.data]\nmax_quarantine = 0.1\n", r"gates\.data\.max_quarantine: .*Did you mean 'max_quarantined'\?"),
    ("[[signals]]", "[[signal]]", r"line 17: signal: unknown key; .*Did you mean 'signals'\?"),
    ('format = "json"', 'format = "jsno"', r"line 8: sources\.0\.format: .*'avro', 'kafka', 'delta' or 'jdbc'"),
    ("event = \"'click'\"", "evnt = \"'click'\"", r"columns has 'evnt'; events have .*Did you mean 'event'\?"),
    ('user_id = "u"\n', "", r"columns lacks user_id; a source of events must say how it is made"),
    ('path = "landing"\n', "", r"line 4: sources\.0: format is 'json', so it needs path"),
    ('format = "json"', 'format = "json"\ntopic = "t"', r"format is 'json', which has no topic; it has encoding, expl"),
    ('format = "json"', 'format = "json"\nheader = false', r"format is 'json', which has no header"),
    ('format = "json"', 'format = "json"\nencoding = "utf-88"', r"'utf-88' is not the encoding of a text. Did you"),
    ('format = "json"', 'format = "json"\ndelimiter = ";"', r"format is 'json', which has no delimiter"),
    ('format = "json"', 'format = "parquet"\nencoding = "UTF-8"\nquote = ""', r"'parquet', .* no encoding, quote; it"),
    ('format = "json"', 'format = "csv"\ndelimiter = ""', r"line 9: sources\.0\.delimiter: .*at least 1 character"),
    ('format = "json"', 'format = "csv"\ndelimiter = "a\\"b"', r"delimiter 'a\"b' holds the quote or the escape"),
    ('format = "json"', 'format = "csv"\ncomment = "\\n"', r"comment holds a line break, which ends a line"),
    ('format = "json"', 'format = "csv"\nquote = "::"', r"line 9: sources\.0\.quote: .*at most 1 character"),
    ('format = "json"', 'format = "json"\nexplode = "us"', r"explode names 'us'; the fields are i, t, u. Did you mean"),
    ('format = "json"', 'format = "json"\napi = true\ntime_zone = "UTC"', r"so time_zone cannot be set: the API takes"),
    ('format = "json"', 'format = "json"\nexplode_delimiter = " "', r"explode_delimiter needs explode, the field"),
    ('format = "json"', 'format = "json"\ntimestamp_format = "ms"', r"'ms' has no year"),
    ('format = "json"', 'format = "json"\ntimestamp_format = "milisecond"', r"Did you mean 'milliseconds'\?"),
    ('format = "json"', 'format = "json"\ntimestamp_format = "%Y-%m-%d"', r"'%Y-%m-%d' is a pattern of Python"),
    ('format = "json"', 'format = "json"\ntimestamp_format = "YYYY-MM-DD"', r"letters Y, by which Spark reads no time"),
    ('format = "json"', 'format = "json"\ntimestamp_format = "HH:mm"', r"'HH:mm' has no year \(y\), so it is no"),
    ('format = "json"', 'format = "json"\ntime_zone = "Europe/Berln"', r"line 9: .*Did you mean 'Europe/Berlin'\?"),
    ('i = "string"', 'i = "string", _metadata = "int"', r"fields\._metadata: '_metadata' is a name of ours"),
    ('occurred_at = "t"', 'occurred_at = "_metadata.file_time"', r"names _metadata\.file_time; a record of json"),
    ('format = "json"', 'format = "kafka"\ntopic = "t"', r"format is 'kafka', so it needs servers"),
    ('format = "json"', 'format = "kafka"\nservers = "h:1"\ntopic = "t"',
     r"format is 'kafka', which has no path; it has servers, topic"),
    ('format = "json"', 'format = "json"\napi = true', r"api is true, so columns\.event_id has to be a field"),
    ('format = "json"', 'format = "csv"\napi = true', r"format 'csv'; the API takes events for a source"),
    ('format = "json"', 'format = "json"\napi = true\nencoding = "utf-16"', r"the API writes UTF-8, so take it out"),
    ('format = "json"', 'format = "json"\nids = { trm = true }', r"ids\.trm: unknown key; .*Did you mean 'trim'\?"),
    ('format = "json"', 'format = "json"\nprecedence = { title = 1 }', r"precedence needs merge = 'columns'"),
    ('format = "json"', 'format = "json"\nfull = true', r"full is true; that is for items in files"),
    ("", "[interactions]\nmax_per_user_and_day = 0\n", r"line 23: .*greater than or equal to 1"),
    ("", '[[aliases]]\nfile = "a.csv"\n', r"aliases\.0\.file: unknown key; known here are path"),
    ("", "[slate]\nk = 10\nstored = 5\n", r"line 22: slate: stored is 5, less than k = 10"),
    ("", "[store]\nkeep = 1\n", r"line 23: store\.keep: .*greater than or equal to 2"),
    ("", '[[models]]\nname = "popularity"\n', r"models has popularity more than once"),
    ('name = "shop"', 'name = "The Shop"', r"line 2: project\.name: "),
    ('name = "shop"', "name = shop", r"not valid TOML: .*line 2"),
    ('t = "timestamp"', 't = "timestmp"', r"line 9: sources\.0\.fields\.t: 'timestmp' is no type .*mean 'timestamp'\?"),
    ('t = "timestamp"', 't = "array<strng>"', r"'strng' is no type of Spark SQL"),
    ('t = "timestamp"', 't = "map<string>"', r"'map<string>' is no type of Spark SQL"),
    ('i = "string"', 'i = "string", U = "string"', r"'U' and 'u' differ by case alone"),
    ('item_id = "i"', 'item_id = "upper(i"',
     r"line 13: sources\.0\.columns\.item_id: is no SQL: upper\(i: Expecting \)"),
    ('item_id = "i"', "item_id = \"'it's'\"", r"item_id: is no SQL: .* without its end"),
    ('item_id = "i"', 'item_id = "j"', r"item_id: names the field 'j'; the fields are i, t, u"),
    ('item_id = "i"', 'item_id = ""', r"item_id: is no SQL: an empty text"),
    ("\"'click'\"", "\"'clik'\"", r"every event is 'clik', which no signal declares; .*Did you mean 'click'\?"),
    ("[sources.columns]", "attributes = { a = 'u' }\n[sources.columns]", r"line 11: .*events have no attributes"),
    ('kind = "events"', 'kind = "event"', r"line 6: sources\.0\.kind: .*found 'event'. Did you mean 'events'\?"),
    ('event = "click"', 'event = "click"\nvalid = [5, 1]', r"line 17: signals\.0: valid is \[5, 1\]; the lowest"),
    ('event = "click"', 'event = "click"\nvalid = [1, 5]',
     r"line 19: signals\.0\.valid: no source .* gives the column"),
    ('event = "click"', 'event = "click"\nvalid = [1, 5]\nmin_value = 6', r"min_value is 6, above the highest valid"),
    ('event = "click"', 'event = "click"\nweight = 0', r"line 17: signals: every weight is 0"),
    ('event = "click"', 'event = "click"\nweight = inf', r"line 19: signals\.0\.weight: .*finite number"),
    ('event = "click"', 'event = ""', r"line 18: signals\.0\.event: .*at least 1 character"),
    ('"popularity"', '"popularty"', r"line 21: models\.0\.name: no model is called .*Did you mean 'popularity'\?"),
    ('"popularity"', '"als"\nparams = { factor = 8 }', r"line 22: models\.0\.params\.factor: unknown .*'factors'\?"),
    ('"popularity"', '"als"\nparams = { factors = "many" }', r"line 22: .*factors: .*valid integer"),
    ('"popularity"', '"als"\nsearch = { factors = { low = 0, high = 2 } }', r"line 22: models\.0\.search\.factors: "),
    ('"popularity"', '"blend"\nparams = { members = "als, blend" }', r"line 22: .*members: no member can be 'blend'"),
    ("", '[places]\nspark = "wram"\n', r"places\.spark: found 'wram', expected .*Did you mean 'warm'\?"),
    ("", '[spark.settings]\n"sprk.x" = 1\n', r"line 23: spark\.settings\.sprk\.x: found 'sprk\.x', expected the name"),
    ("", '[spark.settings]\nspark.sql.ansi.enabled = true\n',
     r"line 23: spark\.settings\.spark\.sql\.ansi\.enabled: found 'true'; results depend on it, .* always 'false'"),
    ("", '[spark.settings]\n"spark.master" = "yarn"\n', r"line 23: .*spark\.master: take it out: places\.spark says"),
    ("", '[spark.settings]\n"spark.hadoop.fs.s3a.secret.key" = "x"\n', r"secret\.key: may be a secret, which never"),
    ("", '[places]\nlake = "a[1]"\n', r"line 23: places\.lake: the path .*a\[1\]' holds '\[', '\]', which Delta"),
    ("", '[places]\nmlflow = "sqlit:///m.db"\n', r"places\.mlflow: .* with sqlit://. Did you mean 'sqlite'"),
    ('path = "landing"\nformat = "json"', 'format = "kafka"\nservers = "broker"\ntopic = "t"', r"line 8: .*servers: "),
    ('path = "landing"\nformat = "json"', 'format = "kafka"\nservers = "b:1"\ntopic = "a b"', r"line 9: .*topic: "),
    ("", '[places]\nlake = "50%20"\n', r"line 23: places\.lake: the path .* holds % and two hexadecimal"),
    ("", "[training]\nseed = -1\n", r"line 23: training\.seed: "),
    ("", '[training]\nhosts = ["a:2"]\nranks = 3\n', r"line 22: training: ranks is 3, and hosts have 2"),
    ("", '[airflow]\nnightly = "0 2 * * 1"\n', r"line 23: airflow\.nightly: found .* so it starts once a day"),
    ("", '[airflow]\nretraining = "0 25 * * *"\n', r"line 23: airflow\.retraining: found .*a cron expression"),
    ("", '[airflow]\ntimezone = "Europe/Berln"\n', r"line 23: airflow\.timezone: .*Did you mean 'Europe/Berlin'\?"),
    ("", '[airflow]\nnightly = "30 1 * * *"\ntimezone = "Europe/Berlin"\n', r"airflow: .* a day would have no night"),
    ("", '[[airflow.stages]]\nname = "training.trian"\n', r"line 23: .*no stage .*Did you mean 'training\.train'\?"),
    ("", '[[airflow.stages]]\nname = "training.due"\n' * 2, r"line 25: .*'training\.due' has an earlier section"),
    ("", '[[airflow.alerts]]\nnotifier = "slak"\n', r"notifier is 'slak'; .* Did you mean 'slack'\?"),
    ("", '[[airflow.alerts]]\nnotifier = "smtp"\narguments = { password = "x" }\n', r"arguments has 'password'; sec"),
    ("", "[late]\nwindow_days = 99999999999\n", r"line 23: late\.window_days: "),
    ("", RULE.replace("PLURAL", "floors") + 'at_least = 1\nwhen = "evnts > 1"\n', r"line 28: .*when: .*evnts"),
    ("", RULE.replace("PLURAL", "floors") + 'at_least = 1\nwhen = "true) a, (true"\n', r"expected a condition"),
    ("", RULE.replace("PLURAL", "pins") + 'item = "a"\nplace = 1\nfirst_day = 2024-03-02\nlast_day = 2024-03-01\n',
     r"line 25: slate\.pins\.0: last_day is 2024-03-01, before first_day = 2024-03-02"),
]  # fmt: skip
"""A text of a small nightloom.toml (empty: add at the end), what stands there instead -> what the error must match."""
MISTAKES_IN_A_DATABASE = [
    (
        "//h:1/shop",
        "//ann:hidden@h:1/shop",
        r"line 4: .* a user or a password; .* NIGHTLOOM_SOURCE_CLICKS_USER and NIGHT",
    ),
    ("/shop", "/shop?ssl=true&password=hidden", r"holds a user or a password"),
    ("postgresql://h:1/shop", "sqlserver://h:1;databaseName=shop;Password = hidden", r"holds a user or a password"),
    ("jdbc:postgresql", "jdbc:oracle", r"url is no address of a database .* jdbc:postgresql://HOST:PORT"),
    ("jdbc:postgresql", "postgresql", r"url is no address of a database"),
    ('cursor_column = "t"', "", r"kind is 'events', so it needs cursor_column"),
    ('cursor_column = "t"', 'cursor_column = "tt"', r"cursor_column is 'tt'; the fields are i, t, u"),
    ('table = "clicks"', "", r"format is 'jdbc', so it needs table"),
    ('table = "clicks"', 'table = "clicks"\nsettle_seconds = 1', r"format is 'jdbc', which has no settle_seconds"),
    (
        'occurred_at = "t"',
        'occurred_at = "timestamp_millis(_metadata.row_index)"',
        r"names _metadata.row_index; a record of",
    ),
]
"""The same for a source that is a table of a database. No message shows the password."""
DATABASE = """format = "jdbc"
url = "jdbc:postgresql://h:1/shop"
table = "clicks"
cursor_column = "t"
"""
MISTAKES_IN_A_MART = [
    ('"bigint"', '"bigin"', r"line 28: marts.0.columns.events: type 'bigin' is not known; .*mean 'bigint'\?"),
    ('key = ["day"]', 'key = ["dya"]', r"line 23: marts.0: key has 'dya'; columns are day, events. Did you mean 'day'"),
    ('day = "date"', 'day = "string"', r"period is 'day': columns needs day = \"date\", and key holds it too"),
    ("FROM silver.interactions", "FROM silver.interaction", r"silver.interaction, .* 'silver.interactions'"),
    ("SELECT to_date", "SELECT to_date(", r"line 29: marts\.0\.sql: is no SQL: "),
    ("GROUP BY 1", "WHERE night = :night GROUP BY 1", r"has :night, and only :k, :stored have a value"),
    ('name = "busy"', 'name = "popular"', r"gold.popular is Nightloom's own table; take another name"),
    ("events = {", '"Events a day" = {', r"columns has 'Events a day'; a name is a-z, 0-9 and _"),
    ("comment =", "coment =", r"unknown key; known here are comment, personal, type. Did you mean 'comment'\?"),
    ("grain =", "grian =", r"known here are columns, grain, key, name, period, sql. Did you mean 'grain'\?"),
]  # fmt: skip
"""The same for a section [[marts]]."""


@pytest.mark.parametrize(("find", "put", "message"), MISTAKES)
def test_a_mistake_is_reported_with_its_line_and_the_nearest_key(
    find: str, put: str, message: str, change: Change
) -> None:
    with pytest.raises(SettingsError, match=message):
        change(find, put)


@pytest.mark.parametrize(("find", "put", "message"), MISTAKES_IN_A_DATABASE)
def test_a_mistake_in_a_database_is_reported_and_no_secret_is_shown(
    find: str, put: str, message: str, change: Change
) -> None:
    old = SMALL[SMALL.index('path = "landing"') : SMALL.index("[[signals]]")]
    new = old.replace('path = "landing"\nformat = "json"\n', DATABASE)
    assert find in new
    with pytest.raises(SettingsError, match=message) as caught:
        change(old, new.replace(find, put, 1))
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(("find", "put", "message"), MISTAKES_IN_A_MART)
def test_a_mistake_in_a_mart_is_reported_with_its_line(find: str, put: str, message: str, change: Change) -> None:
    assert find in MART
    with pytest.raises(SettingsError, match=message):
        change("", MART.replace(find, put, 1))


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, []),
        ({"AWS_CONDITIONAL_PUT": "etag", "AWS_S3_ALLOW_UNSAFE_RENAME": "false"}, []),
        ({"AWS_CONDITIONAL_PUT": "disabled"}, ["AWS_CONDITIONAL_PUT is 'disabled'"]),
        ({"AWS_S3_ALLOW_UNSAFE_RENAME": "true"}, ["AWS_S3_ALLOW_UNSAFE_RENAME is 'true'"]),
        ({"AWS_S3_LOCKING_PROVIDER": "dynamodb"}, ["AWS_S3_LOCKING_PROVIDER is 'dynamodb'"]),
    ],
)
def test_variables_by_which_commits_on_s3_overwrite_each_other_are_refused(
    variables: dict[str, str], found: list[str]
) -> None:
    words = [words for _, words in find_unsafe_commits("s3://bucket/lake", variables)]
    assert [each in all for each, all in zip(found, words, strict=True)] == [True] * len(found)
    assert list(find_unsafe_commits("/data/lake", variables)) == []
