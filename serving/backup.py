"""A project -> a backup of one moment, and a backup -> the project, whole or not at all."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, NamedTuple

from nightloom.backup import Backup, BackupError, Entry, FileChangedError, Repository
from nightloom.errors import ConcurrentRunError
from nightloom.event_journal import export_journal
from nightloom.lake import now
from nightloom.night.revision import code_revision
from nightloom.places import Place, files_below, folder_of, replacement
from nightloom.settings import Settings
from serving import backup_contents as contents
from spark_jobs import landing

ATTEMPTS = 5
"""A night that runs changes files while they are copied: then what has changed is copied again."""
PACKAGES = ("apache-airflow", "mlflow", "deltalake", "delta-spark")
RESTORING, REPLACED = ".restoring", ".replaced-"
SECRET = 0o600


class Taken(NamedTuple):
    """A backup that was made."""

    name: str
    backup: Backup
    copied: int
    """Bytes that no earlier backup had."""


def take(settings: Settings, repository: Repository) -> Taken:
    """Back a project up, as of one moment. Raises ConcurrentRunError where a run writes all the time."""
    export_journal(settings)
    earlier = repository.read().files if repository.names() else ()
    known = {(file.part, file.name, file.modified, file.bytes): file.sha256 for file in earlier}
    stored = repository.stored()
    before = sum(stored.values())
    changed: set[Any] = set()
    for _ in range(ATTEMPTS):
        state = _state(settings)
        try:
            files = _store_files(settings, repository, known, stored)
        except (FileChangedError, FileNotFoundError) as error:
            changed = {error}
            continue
        backup = Backup(now().isoformat(timespec="milliseconds"), _facts(settings), tuple(files))
        if not (changed := set(state.items()) ^ set(_state(settings).items())):
            return Taken(repository.write(backup), backup, sum(stored.values()) - before)
    raise ConcurrentRunError(
        f"no backup was made: {len(changed):,} files changed while they were copied, {ATTEMPTS} times, among them "
        f"{min(map(str, changed))}; a night runs. Try again at its end: what was copied is not copied again"
    )


def _state(settings: Settings) -> dict[Any, Any]:
    try:
        return {key: file for key, (_, file) in contents.listed(settings).items()} | contents.database_states(settings)
    except FileNotFoundError:  # vanished while it was listed: whatever else is found, this differs from it
        return {now(): None}


def _store_files(
    settings: Settings,
    repository: Repository,
    known: dict[tuple[str, str, float, int], str],
    stored: dict[str, int],
) -> list[Entry]:
    """Store every file's content -> entries."""
    entries = []
    for (part, name), (place, file) in contents.listed(settings).items():
        sha256 = known.get((part, name, file.modified, file.bytes))
        if sha256 is None or stored.get(sha256) != file.bytes:
            sha256, size = repository.store(place, stored)
            if size != file.bytes:
                raise FileChangedError(str(place))
        entries.append(Entry(part, name, file.modified, file.bytes, sha256))
    for part, path in contents.databases(settings).items():
        if path.exists():
            with contents.database_copy(path) as copy:
                sha256, size = repository.store(copy, stored)
            entries.append(Entry(part, "", path.stat().st_mtime, size, sha256))
    return entries


def packages() -> dict[str, str]:
    """Package -> version, of those whose files a backup holds."""
    return {name: package_version(name) for name in PACKAGES}


def _facts(settings: Settings) -> dict[str, Any]:
    return {
        "project": settings.project.name,
        "code": code_revision(),
        "packages": packages(),
        "tables": contents.table_versions(settings),
        "artifacts": contents.address_of(settings.place("mlflow_artifacts")),
        "not_covered": contents.not_covered(settings),
    }


class Restored(NamedTuple):
    """What a restore did."""

    moved: list[str]
    """What was there and has another name now."""
    kept: list[str]
    """Files of the project's own that are there with another content, and stayed."""


def put_back(settings: Settings, repository: Repository, backup: Backup, *, replace: bool = False) -> Restored:
    """Restore a backup. Nothing takes its place before every content was read and compared.

    With `replace` what stands in the way is renamed. Raises BackupError, and then nothing of the project has changed.
    """
    repository.require_complete(backup.files)
    targets = _targets(settings)
    unknown = sorted({file.part for file in backup.files} - {*targets, contents.CONFIG, contents.LANDING})
    if unknown:
        raise BackupError(
            f"the backup has the part {', '.join(unknown)}, for which nightloom.toml has no place (store.kind, "
            "places.mlflow); restore with the nightloom.toml that is in the backup"
        )
    _require_free(targets, replace)
    for part, place in targets.items():
        files = [file for file in backup.files if file.part == part]
        _fetch_part(repository, place, files)
    _relocate_artifacts(settings, backup)
    own = [file for file in backup.files if file.part in (contents.CONFIG, contents.LANDING)]
    fetched = [(_own_target(settings, file), _fetch_own(settings, repository, file)) for file in own]
    moved = [line for place in targets.values() if isinstance(place, Path) for line in _into_place(place)]
    kept = [str(target) for target, scratch in fetched if not _add(scratch, target)]
    return Restored(moved, kept)


def _targets(settings: Settings) -> dict[str, Place]:
    return {**contents.folders(settings), **contents.databases(settings), **contents.secrets(settings)}


def _require_free(targets: dict[str, Place], replace: bool) -> None:
    taken = [place for place in targets.values() if _occupied(place)]
    objects = [place for place in taken if not isinstance(place, Path)]
    if objects:
        raise BackupError(
            f"found files in {objects[0]}, expected none; nothing was restored. Empty that place, then restore"
        )
    if taken and not replace:
        names = ", ".join(map(str, taken))
        raise BackupError(
            f"found {names}; expected nothing there. Nothing was restored: --replace gives what is there another name "
            f"(NAME{REPLACED}TIME) and restores"
        )


def _occupied(place: Place) -> bool:
    if isinstance(place, Path) and not place.is_dir():
        return place.exists()
    return next(files_below(place), None) is not None


def _scratch(place: Path) -> Path:
    return place.with_name(place.name + RESTORING)


def _fetch_part(repository: Repository, place: Place, files: list[Entry]) -> None:
    """Copy a part's files to where one rename puts them in place; into object storage at once."""
    if isinstance(place, Path):
        _remove(_scratch(place))  # a killed restore left it
    for file in files:
        root = _scratch(place) if isinstance(place, Path) else place
        _fetch(repository, file, root / file.name if file.name else root)


def _fetch(repository: Repository, file: Entry, target: Place) -> None:
    if not isinstance(target, Path):
        with replacement(target) as copy:
            repository.fetch(file, copy)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as copy:
        if file.part.startswith("airflow"):
            os.chmod(target, SECRET)
        repository.fetch(file, copy)
    os.utime(target, (file.modified, file.modified))  # Delta finds the version of a moment by its files' times


def _remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _relocate_artifacts(settings: Settings, backup: Backup) -> None:
    """Let MLflow find its models where they are now."""
    old, new = backup.facts["artifacts"], contents.address_of(settings.place("mlflow_artifacts"))
    database = contents.databases(settings).get(contents.MLFLOW)
    if old != new and database is not None and _scratch(database).exists():
        contents.move_artifacts(_scratch(database), old, new)


def _into_place(place: Path) -> list[str]:
    """Rename a part into its place -> what stood there and has another name now."""
    moved, time = [], f"{now():%Y%m%dT%H%M%S}"
    beside = [place.with_name(place.name + ending) for ending in contents.LOG_ENDINGS]
    for each in (place, *beside):
        if each.exists() and (each.is_file() or any(each.iterdir())):
            each.rename(each.with_name(f"{each.name}{REPLACED}{time}"))
            moved.append(f"{each} -> {each.name}{REPLACED}{time}")
    if _scratch(place).exists():
        _scratch(place).replace(place)
    return moved


def _own_target(settings: Settings, file: Entry) -> Path:
    return settings.file if file.part == contents.CONFIG else folder_of(landing.find_file(settings.root, file.name))


def _fetch_own(settings: Settings, repository: Repository, file: Entry) -> Path:
    """A landing file, or nightloom.toml, beside its place."""
    target = _own_target(settings, file)
    scratch = target.with_name(f".{target.name}{RESTORING}")  # hidden: ingest does not take it
    _fetch(repository, file, scratch)
    return scratch


def _add(scratch: Path, target: Path) -> bool:
    """Put a file in its place if nothing is there -> False where another content is."""
    if not target.exists():
        scratch.rename(target)
        return True
    same = target.read_bytes() == scratch.read_bytes()
    scratch.unlink()
    return same
