"""Names in records and stores that would lead out of the folder that they belong to."""

from pathlib import Path

import pytest

from ctrloom import storage
from ctrloom.config.base import ConfigError
from ctrloom.storage import Listed, StorageError, StoredFile, clients
from ctrloom.storage.location import stays_inside

OUTSIDE = ["../x", "a/../../x", "/etc/x", "a//x", "./x", "a/.", "..", ""]


@pytest.mark.parametrize("name", OUTSIDE)
def test_name_that_leads_outside_is_found(name: str) -> None:
    assert not stays_inside(name)
    assert stays_inside("a/..b/c..d.json")
    with pytest.raises(ConfigError, match="path: must be a path within the folder"):
        StoredFile.parse({"path": name, "bytes": 1, "sha256": "0" * 64}, "version.json")


@pytest.mark.parametrize("name", [name for name in OUTSIDE if name])
def test_object_is_not_written_outside(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = storage.place("gs://bucket/models")
    assert isinstance(folder, storage.Location)

    class Store:
        def listed(self, under: storage.Location) -> list[Listed]:
            return [Listed(storage.Location("gs", f"bucket/models/{each}"), 1, "1") for each in ("ok", name)]

        def download(self, files: object) -> None:
            raise AssertionError("nothing is downloaded")

    monkeypatch.setattr(clients, "client_of", lambda *_: Store())
    with pytest.raises(StorageError, match="would be written outside of"):
        storage.download(folder, tmp_path / "to")
