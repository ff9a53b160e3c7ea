"""What a cluster gets: the driver's address, the jars, sizes by the data; and models on the executors' machines."""

import os
import socket
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pyspark.core.files import SparkFiles
from pyspark.sql import SparkSession

from spark_jobs.cluster import check_folders, driver_address, is_cluster
from spark_jobs.configuration import configuration, environment
from spark_jobs.sent_model import SentModel, send
from spark_jobs.session_settings import SparkError
from spark_jobs.sizing import GIB, DataSize, cluster_settings, explanation

IMAGE = {"spark.kubernetes.container.image": "registry.example/nightloom-spark:1"}


@pytest.fixture(autouse=True)
def jars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spark_jobs.configuration.extra_jars", lambda: ["/jars/a.jar", "/jars/b.jar"])


def test_the_drivers_address_is_the_one_on_the_way_to_the_master() -> None:
    assert driver_address("spark://127.0.0.1:7077") == "127.0.0.1"
    assert driver_address("spark://127.0.0.1:7077,127.0.0.2:7077") == "127.0.0.1"
    assert driver_address("k8s://https://127.0.0.1:6443") == "127.0.0.1"
    assert driver_address("k8s://127.0.0.1") == "127.0.0.1"
    assert driver_address("yarn") is None


def test_a_master_without_an_address_is_named() -> None:
    with pytest.raises(SparkError, match=r"places\.spark is spark://no\.such\.invalid:7077: no\.such\.invalid: "):
        driver_address("spark://no.such.invalid:7077")


def test_what_nightloom_toml_gives_comes_last(tmp_path: Path) -> None:
    given = {"spark.driver.host": "10.0.0.7", "spark.executor.memory": "9g"}
    found = configuration(tmp_path, "spark://no.such.invalid:7077", sized={"spark.executor.memory": "2g"}, given=given)
    assert found["spark.driver.host"] == "10.0.0.7"
    assert found["spark.executor.memory"] == "9g"
    assert found["spark.jars"] == "/jars/a.jar,/jars/b.jar"
    assert configuration(tmp_path, "local[2]", given={"spark.driver.memory": "9g"})["spark.driver.memory"] == "9g"


def test_jars_that_executors_have_are_not_sent(tmp_path: Path) -> None:
    given = {"spark.executor.extraClassPath": "/opt/jars/*"}
    found = configuration(tmp_path, "spark://127.0.0.1:7077", given=given)
    assert "spark.jars" not in found
    assert found["spark.driver.extraClassPath"] == "/jars/a.jar:/jars/b.jar"


def test_executors_have_a_python_and_the_driver_no_loopback_address_on_a_cluster(tmp_path: Path) -> None:
    cluster = environment(tmp_path, "spark://10.0.0.1:7077", "/opt/nightloom/bin/python")
    laptop = environment(tmp_path, "local[2]", "/opt/nightloom/bin/python")
    assert cluster["PYSPARK_PYTHON"] == "/opt/nightloom/bin/python"
    assert "SPARK_LOCAL_IP" not in cluster
    assert (
        laptop["PYSPARK_PYTHON"] == environment(tmp_path, "spark://10.0.0.1:7077")["PYSPARK_PYTHON"] == sys.executable
    )
    assert laptop["SPARK_LOCAL_IP"] == "127.0.0.1"


def test_kubernetes_needs_an_image_and_yarn_hadoops_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SparkError, match=r'set "spark\.kubernetes\.container\.image" in \[spark\.settings\]'):
        configuration(tmp_path, "k8s://https://127.0.0.1:6443")
    assert configuration(tmp_path, "k8s://https://127.0.0.1:6443", given=IMAGE)["spark.driver.host"] == "127.0.0.1"
    for name in ("HADOOP_CONF_DIR", "YARN_CONF_DIR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SparkError, match="HADOOP_CONF_DIR does not say where"):
        configuration(tmp_path, "yarn")
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    assert "spark.driver.host" not in configuration(tmp_path, "yarn")


@pytest.mark.parametrize("place", ["warm", "local", "local[2]"])
def test_a_laptop_is_no_cluster(place: str) -> None:
    assert not is_cluster(place)
    assert is_cluster("sc://host:15002")


def test_more_data_gives_more_tasks_and_executors_and_not_more_memory() -> None:
    small, large = (cluster_settings(DataSize(int(gib * GIB), 100_000), cores=4, ranks=2) for gib in (0.01, 100))
    assert small["spark.sql.shuffle.partitions"] == "4"
    assert small["spark.dynamicAllocation.maxExecutors"] == "2"
    assert large["spark.sql.shuffle.partitions"] == "3200"
    assert large["spark.dynamicAllocation.maxExecutors"] == "400"
    assert small["spark.executor.memory"] == large["spark.executor.memory"] == "5120m"
    assert "100.00 GiB of events, 100,000 items: 3200 shuffle partitions, up to 400 executors" in explanation(
        DataSize(100 * GIB, 100_000), large
    )


def test_more_items_give_python_more_memory() -> None:
    few, many = (cluster_settings(DataSize(GIB, items), cores=4, ranks=2) for items in (1_000, 10_000_000))
    assert (few["spark.executor.memoryOverhead"], many["spark.executor.memoryOverhead"]) == ("2049m", "8762m")


def test_a_folder_that_an_executor_lacks_is_named(spark: SparkSession, tmp_path: Path) -> None:
    check_folders(spark, tmp_path / "lake", [tmp_path])
    assert list((tmp_path / "lake").iterdir()) == []
    with pytest.raises(SparkError, match=f"the executor on {socket.gethostname()} does not see /no/such/folder, which"):
        check_folders(spark, tmp_path / "lake", [tmp_path, Path("/no/such/folder")])


def test_workers_of_one_machine_unpack_a_sent_model_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "3-abc" / "part").mkdir(parents=True)
    np.save(tmp_path / "3-abc" / "part" / "items.npy", np.arange(10))
    sent: list[str] = []

    class Session:
        def addArtifacts(self, path: str, file: bool) -> None:
            assert file
            sent.append(path)

    model = send(Session(), tmp_path / "3-abc", to_cluster=True)  # type: ignore[arg-type]
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "machine"))
    (tmp_path / "machine").mkdir()
    monkeypatch.setattr(SparkFiles, "get", lambda name: next(path for path in sent if path.endswith(name)))
    with ThreadPoolExecutor(4) as workers:
        folders = {*workers.map(lambda _: model.here(), range(8))}
    (folder,) = map(Path, folders)
    assert (np.load(folder / "part" / "items.npy", mmap_mode="r") == np.arange(10)).all()
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, "lock"}
    assert (tmp_path / "machine" / f"nightloom-{os.getuid()}" / "models").stat().st_mode & 0o077 == 0


def test_a_model_that_nobody_used_for_long_leaves_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "model.json").write_text("{}")
    monkeypatch.setattr(SparkFiles, "get", lambda name: str(tmp_path / name))
    for name in ("old.zip", "new.zip"):
        zipfile.ZipFile(tmp_path / name, "w").close()
    old = Path(SentModel("", "old.zip").here())
    os.utime(old, (0, 0))
    SentModel("", "new.zip").here()
    assert not old.exists()


def test_on_a_laptop_workers_read_the_drivers_folder(spark: SparkSession, tmp_path: Path) -> None:
    assert send(spark, tmp_path, to_cluster=False).here() == str(tmp_path)
