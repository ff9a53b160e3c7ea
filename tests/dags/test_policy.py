"""What holds for every DAG: owner, tags, retries, time limit, alert, documentation, and what a DAG file may import."""

from typing import Any

from nightloom.night import stages

DAY = 24 * 3600
GATES = {stage.name for stage in stages.GATES}


def tasks(dags: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, task) for dag in dags.values() for name, task in dag["tasks"].items()]


def test_every_dag_file_is_read_without_an_error(described: dict[str, Any]) -> None:
    assert described["errors"] == {}
    assert described["dags"].keys() == {"backfill", "maintenance", "nightly", "rebuild", "retraining"}


def test_a_dag_file_imports_neither_spark_nor_torch_nor_any_stage_and_of_ours_just_names_and_its_settings(
    described: dict[str, Any],
) -> None:
    heavy = {"pyspark", "delta", "torch", "horovod", "mlflow", "great_expectations", "deltalake", "pandas"}
    packages = {"spark_jobs", "expectations", "training", "models", "serving"}
    assert not (heavy | packages) & {name.split(".")[0] for name in described["modules"]}
    ours = {name.removeprefix("nightloom.") for name in described["modules"] if name.startswith("nightloom.")}
    assert ours == {"airflow", "errors", "night", "night.dag_settings", "night.stages", "night.tasks", "section"}


def test_every_dag_has_documentation_tags_and_runs_one_night_at_a_time(dags: dict[str, Any]) -> None:
    for name, dag in dags.items():
        assert dag["doc"].startswith("# "), name
        assert "nightloom" in dag["tags"], name
        assert dag["max_active_runs"] == 1, name
        assert dag["catchup"] is False, name


def test_every_task_has_owner_time_limit_and_alert(dags: dict[str, Any]) -> None:
    for name, task in tasks(dags):
        assert task["owner"] == "nightloom", name
        assert 0 < task["timeout_seconds"] <= DAY, name
        assert task["alerts"], name


def test_every_task_is_tried_again_also_a_gate_whose_process_was_killed(dags: dict[str, Any]) -> None:
    for name, task in tasks(dags):
        assert task["retries"] == 1, name


def test_every_stage_may_say_that_there_is_nothing_to_do(dags: dict[str, Any]) -> None:
    for name, task in tasks(dags):
        assert task["skips_on"] == [99], name


def test_the_night_that_starts_at_two_works_for_the_day_before(dags: dict[str, Any]) -> None:
    assert dags["nightly"]["interval"] == ["1998-04-21T02:00:00+00:00", "1998-04-22T02:00:00+00:00"]
    assert dags["nightly"]["commands"]["scheduled"][stages.BRONZE.name].endswith("--date 1998-04-21")


def test_spark_is_stopped_only_after_every_stage_that_uses_it(dags: dict[str, Any]) -> None:
    night = dags["nightly"]["tasks"]
    stop = night["spark_jobs.session.stop"]
    spark = {name for name in night if name.startswith("spark_jobs.") and not name.endswith("session.stop")}
    assert stop["kind"] == "teardown"
    assert set(stop["after"]) == spark | {stages.DATA_GATE.name}


def test_the_nights_tasks_are_the_listed_stages_and_none_waits_for_a_later_one(dags: dict[str, Any]) -> None:
    night = dags["nightly"]["tasks"]
    place = {stage.name: number for number, stage in enumerate(stages.NIGHT)}
    assert place.keys() == {name for name in night if not name.startswith("spark_jobs.session")}
    for name, number in place.items():
        assert all(place.get(before, -1) < number for before in night[name]["after"]), name


def test_nothing_is_published_that_a_gate_has_not_passed(dags: dict[str, Any]) -> None:
    night = dags["nightly"]["tasks"]
    before_publish = {stages.PUBLISH.name}
    while more := {name for task in before_publish for name in night[task]["after"]} - before_publish:
        before_publish |= more
    assert before_publish >= GATES


def test_a_backfill_has_the_nights_dates_is_paused_and_neither_trains_nor_publishes(dags: dict[str, Any]) -> None:
    assert dags["backfill"]["interval"] == dags["nightly"]["interval"]
    assert dags["backfill"]["starts_paused"] is True
    for dag in ("backfill", "rebuild"):
        assert all(name == "from_bronze" or name.startswith("spark_jobs.") for name in dags[dag]["tasks"]), dag
    assert dags["rebuild"]["interval"] is None


def test_the_retraining_is_started_by_a_nights_last_tables_and_by_time(dags: dict[str, Any]) -> None:
    night, retraining = dags["nightly"], dags["retraining"]
    assert [name for name, task in night["tasks"].items() if task["makes"]] == [stages.MARTS.name]
    assert stages.PUBLISH.name in night["tasks"][stages.MARTS.name]["after"]  # it takes no time from the lists
    assert night["tasks"][stages.MARTS.name]["makes"] == retraining["started_by"] == ["gold"]
    assert retraining["commands"]["scheduled"][stages.TRAINING_DUE.name].endswith("--date 1998-04-21")
    assert retraining["commands"]["after_a_night"][stages.TRAINING_DUE.name].endswith("--date 1998-04-19")
