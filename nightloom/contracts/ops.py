"""ops: runs with their table versions, gate results, models and maintenance."""

from nightloom.contracts.table import NIGHT, Column, Table, non_empty, required

SEVERITY = required("severity", "string", "stop: a failure closes the gate; warn: it is reported and the night goes on")
KNOWN_SEVERITY = ("known_severity", "severity IN ('stop', 'warn')")

STAGES = Table(
    "ops",
    "stages",
    "The run records: one row per run of a stage, which nightloom/night/ writes for every stage.",
    (
        required("run_id", "string", "Airflow's run id, or hand-... when a person ran the stage"),
        NIGHT,
        required("stage", "string", "Name of the stage, as in its command"),
        required("status", "string", "ok, skipped (nothing to do), closed (a gate) or failed"),
        required("started_at", "timestamp", "Start of the work, UTC"),
        required("seconds", "double", "Wall-clock seconds of the work, interpreter start included"),
        required("reads", "map<string,bigint>", "Table -> version read"),
        required("writes", "map<string,bigint>", "Table -> version written"),
        required("rows", "map<string,bigint>", "Name of a count -> rows"),
        Column(
            "tags",
            "map<string,string>",
            "Further values by name, such as the model version",
            required=True,
            former_name="facts",
        ),
        required("code", "string", "Code revision"),
        required("config", "string", "Digest of nightloom.toml, places left out"),
        Column("error", "string", "Message, where the run failed or the gate closed"),
        Column("peak_memory_bytes", "bigint", "Most memory of one process of the stage, without Spark's server"),
    ),
    key=("run_id", "stage", "started_at"),
    retention_days=400,
    checks=(("known_status", "status IN ('ok', 'skipped', 'closed', 'failed')"),),
)

GATES = Table(
    "ops",
    "gates",
    "One row per check of a gate, for each run of the gate.",
    (
        required("run_id", "string", "As in ops.stages"),
        NIGHT,
        required("gate", "string", "data, model, slate or marts"),
        required("check", "string", "What was checked"),
        required("passed", "boolean", "Whether it passed"),
        SEVERITY,
        required("observed", "string", "What was found"),
        required("expected", "string", "What was expected"),
        required("checked_at", "timestamp", "When, UTC"),
        Column("override", "string", "Who overrode the closed gate, and why"),
    ),
    key=("run_id", "gate", "check", "checked_at"),
    retention_days=400,
    checks=(KNOWN_SEVERITY,),
)

MODEL_VERDICTS = Table(
    "ops",
    "model_verdicts",
    "One row per challenger, for each run of gate 2: its evaluation on the held-out days, and its outcome.",
    (
        required("run_id", "string", "As in ops.stages"),
        NIGHT,
        required("version", "string", "The challenger: version of the registered model"),
        required("model", "string", "Which model it is, as in nightloom.toml"),
        Column("champion", "string", "Version of the champion at that time"),
        required("outcome", "string", "promoted, refused, or passed (another was better, or it was a dry run)"),
        required("why", "string", "The checks that it failed, or its gain"),
        required("metric", "string", "The metric that decides, such as ndcg@10"),
        required("users", "bigint", "Users of the evaluation"),
        Column("score", "double", "The metric's mean over these users"),
        Column("champion_score", "double", "The champion's, same users and days"),
        Column("popularity_score", "double", "That of the most popular items, same users and days"),
        Column("gain_low", "double", "Lower end of the paired interval of score - champion_score"),
        Column("gain_high", "double", "Upper end"),
        required("segments", "map<string,double>", "Segment -> the metric's mean in it"),
        required("judged_at", "timestamp", "When, UTC; one moment for all challengers"),
    ),
    key=("run_id", "version", "judged_at"),
    retention_days=400,
    checks=(("known_outcome", "outcome IN ('promoted', 'refused', 'passed')"),),
)

CHAMPIONS = Table(
    "ops",
    "champions",
    "One row per change of the champion, by gate 2 or by a person.",
    (
        required("run_id", "string", "As in ops.stages"),
        required("changed_at", "timestamp", "When, UTC"),
        required("action", "string", "promoted, or demoted: back to the previous champion"),
        required("version", "string", "The champion from then on: version of the registered model"),
        required("model", "string", "Which model it is, as in nightloom.toml"),
        Column("previous_version", "string", "Version of the champion until then", former_name="before"),
        required("by", "string", "`gate 2`, or the person's name"),
        required("why", "string", "The reason"),
    ),
    key=("changed_at", "version"),
    checks=(("known_action", "action IN ('promoted', 'demoted')"), *non_empty("by", "why")),
)

EXPECTATIONS = Table(
    "ops",
    "expectations",
    "One row per expectation of a table, for each run of a gate: passed or failed, what was found, and where.",
    (
        required("run_id", "string", "As in ops.stages"),
        NIGHT,
        required("table", "string", "The table"),
        required("expectation", "string", "The expectation's type, columns and limits; the same each night"),
        SEVERITY,
        required("passed", "boolean", "Whether it passed"),
        required("observed", "string", "What was found, with examples", personal=True),
        Column("observed_value", "double", "What was found as a number; of expectations of rows, the failed share"),
        Column("rows", "bigint", "Rows checked, for expectations of rows"),
        Column("failed", "bigint", "Rows that failed, for expectations of rows"),
        required("samples", "array<string>", "Keys of some failed rows, and what is wrong with them", personal=True),
        required("files", "array<string>", "Files that these rows came from, where bronze still has them"),
        required("checked_at", "timestamp", "When, UTC; one moment for all of a table's expectations"),
    ),
    key=("run_id", "table", "expectation", "checked_at"),
    retention_days=400,
    checks=(KNOWN_SEVERITY,),
)

SLATE_RULES = Table(
    "ops",
    "slate_rules",
    "One row per slate rule, for each time a night's lists were made: how often it fired, and what it cost.",
    (
        required("run_id", "string", "As in ops.stages"),
        NIGHT,
        required("place", "bigint", "The rules apply in this order, from 1"),
        required("rule", "string", "Name of the rule"),
        required("kind", "string", "filter, boost, cap, floor, promotion, exploration, pin or diversity"),
        required("items", "bigint", "Items that meet its condition"),
        required("users", "bigint", "Lists that were made"),
        required("lists", "bigint", "Lists that it changed, compared with the lists by the rules before it"),
        required("entries", "bigint", "Items that it put on a first page"),
        required("score_lost", "double", "By how much it lowered the sum of the model's scores on first pages"),
        required("relevance_lost", "double", "The same as a share: each user's best candidate counts 1, the last 0"),
        required("counted_at", "timestamp", "When, UTC; one moment for all rules"),
    ),
    key=("run_id", "rule", "counted_at"),
    retention_days=400,
    checks=(("no_more_lists_than_users", "lists <= users"), *non_empty("rule")),
)

STORAGE = Table(
    "ops",
    "storage",
    "One row per table and run of the maintenance: its size, and the maintenance's actions.",
    (
        required("run_id", "string", "As in ops.stages"),
        NIGHT,
        required("table", "string", "The table"),
        required("version", "bigint", "Newest version, after the maintenance"),
        required("rows", "bigint", "Rows"),
        required("files", "bigint", "Data files of the newest version"),
        required("bytes", "bigint", "Their size"),
        required("disk_bytes", "bigint", "Size of the table's folder: old versions, change feed and log too"),
        required("log_files", "bigint", "Files in the Delta log"),
        required("small_share", "double", "Share of the data files that are small"),
        Column(
            "actions",
            "string",
            "The maintenance's actions, in words; `nothing` where none was worth it",
            required=True,
            former_name="done",
        ),
        required("measured_at", "timestamp", "When, UTC"),
    ),
    key=("run_id", "table", "measured_at"),
    retention_days=400,
)

REOPENINGS = Table(
    "ops",
    "reopenings",
    "One row per existing day, week or month of a gold table that was rebuilt because of late rows.",
    (
        required("run_id", "string", "As in ops.stages"),
        NIGHT,
        required("table", "string", "The table rebuilt"),
        required("period", "date", "The day, or the first day of the week or month"),
        required("why", "string", "Causes of the change, with the number of rows of each"),
        required("rows", "bigint", "Rows of the underlying table that changed"),
        required("reopened_at", "timestamp", "When, UTC"),
    ),
    key=("run_id", "table", "period"),
    retention_days=400,
    checks=(("at_least_one_row", "rows >= 1"),),
)

ACTIONS = Table(
    "ops",
    "actions",
    "One row per beginning, and one row per end, of an action in the console: who, what, why, its outcome.",
    (
        required("action_id", "string", "The action: its time and a random part"),
        required("at", "timestamp", "When it began, or ended, UTC"),
        required("status", "string", "started, done or failed"),
        required("action", "string", "rollback, block and the like, as docs/console.md names them"),
        required("subject", "string", "What it was done to: a version, an item, a night, records"),
        required("by", "string", "Name of the key with which the person signed in"),
        required("why", "string", "The person's reason"),
        required("host", "string", "Machine that did it"),
        Column("outcome", "string", "What came of it, or the error"),
    ),
    key=("action_id", "status"),
    checks=(("known_status", "status IN ('started', 'done', 'failed')"), *non_empty("by", "why")),
)
