"""Great Expectations' files in object storage: suites, results and pages of Data Docs."""

from __future__ import annotations

from typing import Any

from great_expectations.data_context.store.tuple_store_backend import TupleStoreBackend
from great_expectations.exceptions import InvalidKeyError

from nightloom.places import Place, files_below, place_at, replacement

Key = tuple[str, ...]


class ObjectBackend(TupleStoreBackend):
    """The files below an address, by the names that TupleFilesystemStoreBackend gives them in a folder."""

    def __init__(self, base_directory: str, **options: Any) -> None:
        super().__init__(**options)
        self._place = place_at(base_directory)
        self._config = {
            "base_directory": base_directory, "module_name": __name__, "class_name": type(self).__name__, **options,
        }  # fmt: skip

    def _file(self, key: Any) -> Place:
        library: Any = self  # its methods have no types
        name: str = library._convert_key_to_filepath(key if isinstance(key, tuple) else key.to_tuple())
        return self._place / name

    def _get(self, key: Key) -> Any:
        try:
            return self._file(key).read_text(encoding="utf8").rstrip("\n")
        except FileNotFoundError:
            raise InvalidKeyError(f"{self._file(key)} is not there") from None

    def _get_all(self) -> list[str]:
        return [self._get(key) for key in self.list_keys() if key != self.STORE_BACKEND_ID_KEY]

    def _set(self, key: Any, value: str | bytes, **_: Any) -> Any:
        file = self._file(key)
        with replacement(file) as opened:
            opened.write(value.encode() if isinstance(value, str) else value)
        return str(file)

    def _move(self, source_key: Key, dest_key: Key, **_: Any) -> Any:
        self._set(dest_key, self._get(source_key))
        self.remove_key(source_key)
        return dest_key

    def list_keys(self, prefix: Key = ()) -> list[Key]:
        library: Any = self
        folder = "".join(f"{part}/" for part in prefix)
        kept = [
            name
            for name, _, _ in files_below(self._place)
            if name.startswith(folder)
            and not library._is_missing_prefix_or_suffix(self.filepath_prefix, self.filepath_suffix, name)
        ]
        keys = [library._convert_filepath_to_key(name) for name in kept]
        return [key for key in keys if key and not library.is_ignored_key(key)]

    def remove_key(self, key: Any) -> Any:
        found = self._has_key(key)
        self._file(key).unlink(missing_ok=True)
        return found

    def _has_key(self, key: Any) -> bool:
        return self._file(key).is_file()

    def get_url_for_key(self, key: Key, protocol: str | None = None) -> str:
        return str(self._file(key))

    @property
    def config(self) -> dict[str, Any]:
        return self._config
