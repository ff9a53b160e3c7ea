"""stores/cassandra.py, its own features: bytes on the disk, no tombstones, one project to a keyspace, TLS and roles."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cassandra import WriteType
from cassandra.policies import RetryPolicy

from benchmarks.cassandra_server import cassandra_server
from benchmarks.servers import Server
from nightloom.errors import StoreError
from serving import loader
from serving.stores import versions
from serving.stores.base import KINDS
from serving.stores.cassandra import WRITE_TRIES, CassandraStore, RepeatedWrites
from serving.stores.reader import Reader
from tests.serving.sample_stores import no_progress, publish_sample
from tests.serving.test_stores import measure_sizes, rows_of

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cassandra")]
USERS = 20_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with cassandra_server(tmp_path / "cassandra") as running:
        yield running


def files_of(folder: Path, keyspace: str, table: str) -> list[Path]:
    return [file for file in folder.glob(f"cassandra/data/{keyspace}/{table}-*/**/*") if file.is_file()]


def test_the_bytes_of_a_version_are_those_of_its_files_and_a_pruned_version_leaves_none(
    server: Server, tmp_path: Path
) -> None:
    store = CassandraStore(server.address, "sizes")
    with store.exclusive_lock():
        loader.load(store, 1, {kind: rows_of(1, kind, USERS) for kind in KINDS}, None, no_progress)
    size, predicted = store.version_bytes(1), store.predict_bytes(measure_sizes(USERS))
    pruned = CassandraStore(server.address, "pruned")
    for _ in range(4):
        publish_sample(pruned, tmp_path)
    server.stop()  # it writes what it holds in memory to its files
    on_disk = sum(file.stat().st_size for file in files_of(tmp_path, "sizes", "v000001"))
    assert size == pytest.approx(on_disk, rel=0.05)
    assert predicted == pytest.approx(on_disk, rel=0.05)
    assert files_of(tmp_path, "pruned", "v000001") == []  # nor in a snapshot
    assert len(files_of(tmp_path, "pruned", "v000004")) > 0


def test_two_projects_whose_names_make_one_keyspace_do_not_overwrite_each_other(server: Server, tmp_path: Path) -> None:
    publish_sample(CassandraStore(server.address, "my-shop"), tmp_path)
    other = CassandraStore(server.address, "my_shop")
    with pytest.raises(StoreError, match="the keyspace my_shop has the lists of project 'my-shop'"):
        publish_sample(other, tmp_path)
    assert versions.list_pushes(other) == []


SECURED = """
authenticator: PasswordAuthenticator
authorizer: CassandraAuthorizer
role_manager: CassandraRoleManager
client_encryption_options:
  enabled: true
  keystore: {keystore}
  keystore_password: keystore
"""


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A key store for 127.0.0.1, and its certificate."""
    store, certificate = folder / "keystore", folder / "certificate.pem"
    common = ["-keystore", str(store), "-storepass", "keystore", "-alias", "server"]
    make = ["keytool", "-genkeypair", *common, "-keyalg", "RSA", "-dname", "CN=localhost", "-ext", "SAN=ip:127.0.0.1"]
    for command in (make, ["keytool", "-exportcert", *common, "-rfc", "-file", str(certificate)]):
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    return store, certificate


def run_cql(store: CassandraStore, *statements: str) -> None:
    for statement in statements:
        store._session.execute(statement)


def test_roles_with_the_rights_of_the_docs_publish_and_read_over_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keystore, certificate = make_certificate(tmp_path)
    with cassandra_server(tmp_path / "cassandra", SECURED.format(keystore=keystore)) as server:
        host = server.address.removeprefix("cassandra://")

        def store_of(login: str, scheme: str = "cassandras") -> CassandraStore:
            return CassandraStore(f"{scheme}://{login}@{host}", "shop")

        with pytest.raises(StoreError, match="certificate verify failed"):
            store_of("cassandra:cassandra").read_notes()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        admin = wait_for_login(store_of("cassandra:cassandra"))
        run_cql(
            admin,
            "CREATE KEYSPACE shop WITH replication = {'class': 'NetworkTopologyStrategy', 'replication_factor': 1}",
            "CREATE ROLE nightloom WITH PASSWORD = 'a b@c' AND LOGIN = true",
            "GRANT ALL ON KEYSPACE shop TO nightloom",
            "CREATE ROLE web WITH PASSWORD = 'web' AND LOGIN = true",
            "GRANT SELECT ON KEYSPACE shop TO web",
        )
        publish_sample(store_of("nightloom:a%20b%40c"), tmp_path)
        assert Reader(store_of("web:web")).current().get("users", "u0007") is not None
        with pytest.raises(StoreError, match="has no MODIFY permission"):
            publish_sample(store_of("web:web"), tmp_path)
        with pytest.raises(StoreError, match="password are incorrect") as wrong:
            store_of("web:secret").read_notes()
        with pytest.raises(StoreError, match="no server answers"):
            store_of("web:web", "cassandra").read_notes()
        assert "secret" not in str(wrong.value)


def wait_for_login(store: CassandraStore) -> CassandraStore:
    """A new server makes its first role a moment after it listens."""
    deadline = time.monotonic() + 60
    while True:
        try:
            store.read_notes()
            return store
        except StoreError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_a_write_that_a_busy_server_gave_up_is_repeated_some_times() -> None:
    timeout = {"write_type": WriteType.UNLOGGED_BATCH, "required_responses": 1, "received_responses": 0}  # the driver's
    answers = [
        RepeatedWrites().on_write_timeout(None, consistency=8, retry_num=number, **timeout) for number in range(9)
    ]
    assert answers[: WRITE_TRIES - 1] == [(RetryPolicy.RETRY, None)] * (WRITE_TRIES - 1)
    assert set(answers[WRITE_TRIES - 1 :]) == {(RetryPolicy.RETHROW, None)}
