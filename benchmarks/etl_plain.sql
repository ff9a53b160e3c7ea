-- The work of the lakehouse on a folder of event files, in plain DuckDB: files -> Parquet, without nights, history,
-- incremental runs or contracts. {landing} and {out} are folders. etl.py runs it and compares the counts.

-- Bronze: every line unchanged, with an id and its file.
COPY (
    SELECT sha256(concat_ws('|', 'events', filename, raw)) AS row_id, 'events' AS source, raw, filename AS file,
        now() AS ingested_at
    FROM read_csv('{landing}/events/*.jsonl.gz', columns = {{'raw': 'VARCHAR'}}, header = false, delim = '\x01',
        quote = '', escape = '', filename = true, auto_detect = false)
) TO '{out}/bronze.parquet';

-- Silver: typed and checked, one row per event id; unusable rows have a reason.
COPY (
    WITH parsed AS (
        SELECT *, CASE WHEN json_valid(raw) THEN raw END AS json,
            json ->> 'event_id' AS event_id, json ->> 'user_id' AS user_id, json ->> 'item_id' AS item_id,
            json ->> 'event' AS event, TRY_CAST(json ->> 'value' AS DOUBLE) AS value,
            TRY_CAST(json ->> 'at' AS TIMESTAMPTZ) AS occurred_at,
            list_filter(json_keys(json), lambda key:
                key NOT IN ('event_id', 'user_id', 'item_id', 'event', 'value', 'at')) AS undeclared
        FROM '{out}/bronze.parquet'
    )
    SELECT row_id, file, raw, event_id, user_id, item_id, event, value, occurred_at,
        CASE WHEN len(undeclared) > 0 THEN json END AS rescued,
        CASE event WHEN 'view' THEN 0.2 WHEN 'cart' THEN 0.6 ELSE 1.0 END AS weight,
        CASE
            WHEN json IS NULL THEN 'unreadable'
            WHEN value IS NULL AND json ->> 'value' IS NOT NULL THEN 'type'
            WHEN occurred_at IS NULL AND json ->> 'at' IS NOT NULL THEN 'type'
            WHEN coalesce(event_id, '') = '' OR coalesce(user_id, '') = '' OR coalesce(item_id, '') = ''
                OR occurred_at IS NULL THEN 'missing'
            WHEN event NOT IN ('view', 'cart', 'purchase', 'rating') THEN 'unknown_event'
            WHEN event = 'rating' AND NOT coalesce(value BETWEEN 1 AND 5, false) THEN 'impossible_value'
            WHEN occurred_at > ingested_at + INTERVAL 1 HOUR THEN 'clock_ahead'
        END AS reason
    FROM parsed
) TO '{out}/judged.parquet';

COPY (SELECT row_id, reason, raw, file FROM '{out}/judged.parquet' WHERE reason IS NOT NULL)
TO '{out}/quarantine.parquet';

COPY (
    SELECT event_id, user_id, item_id, event, value, weight, occurred_at, rescued, row_id
    FROM '{out}/judged.parquet' WHERE reason IS NULL
    QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY file, row_id) = 1
) TO '{out}/interactions.parquet';

-- Gold.
COPY (
    SELECT date_trunc('week', occurred_at) AS week, user_id,
        list(item_id ORDER BY occurred_at, event_id) AS items, list(weight ORDER BY occurred_at, event_id) AS weights,
        list(occurred_at ORDER BY occurred_at, event_id) AS at, list(event_id ORDER BY occurred_at, event_id) AS event_ids
    FROM '{out}/interactions.parquet' GROUP BY ALL
) TO '{out}/histories.parquet';

COPY (
    SELECT CAST(occurred_at AS DATE) AS day, item_id, count(*) AS events, count(DISTINCT user_id) AS users,
        sum(weight) AS weight, min(occurred_at) AS first_at, max(occurred_at) AS last_at
    FROM '{out}/interactions.parquet' GROUP BY ALL
) TO '{out}/item_days.parquet';

COPY (
    WITH night AS (SELECT max(day) AS night FROM '{out}/item_days.parquet')
    SELECT item_id, sum(events) FILTER (day = night) AS events_1d, sum(events) FILTER (day > night - 7) AS events_7d,
        sum(events) FILTER (day > night - 28) AS events_28d, sum(events) AS events,
        sum(weight * pow(0.5, (night - day) / 14.0)) AS popularity, min(first_at) AS first_at, max(last_at) AS last_at
    FROM '{out}/item_days.parquet', night GROUP BY item_id
) TO '{out}/item_stats.parquet';

COPY (SELECT item_id, popularity FROM '{out}/item_stats.parquet' ORDER BY popularity DESC LIMIT 60)
TO '{out}/popular.parquet';
