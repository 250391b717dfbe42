"""Models are fetched by a real program, once for each revision, and never left half done."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelport_engine.errors import EngineError, FetchFailed, SpawnFailed
from modelport_engine.paths import EnginePaths
from modelport_engine.replicas.processes import owned
from modelport_engine.replicas.storage import Storage
from modelport_engine.settings import Settings
from modelport_engine.state.records import Key, Revision

if TYPE_CHECKING:
    from collections.abc import Iterator

INITIALIZER = Path(__file__).with_name("initializer.py")
TUMOR = "models:/tumor/3"
OURS = {"MLFLOW_TRACKING_URI": "http://ours"}
SECRETS = {"MLFLOW_TRACKING_PASSWORD": "do-not-tell"}


def revision(uri: str = TUMOR, number: int = 1, **env: str) -> Revision:
    model = {
        "modelFormat": {"name": "onnx"},
        "storageUri": uri,
        "env": [{"name": name, "value": value} for name, value in env.items()],
    }
    name = f"tumor-predictor-{number:05}"
    template = {"model": model}
    key = Key("default", "tumor")
    return Revision(key, name, number, template, {}, "", "Pending", failure=None)


class Kept:
    """What there is to fetch, and the storage that it is fetched to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "kept"
        self.paths = EnginePaths(folder / "home")
        self.paths.prepare()
        self.storage = self.storage_with()

    def storage_with(self, **settings: Any) -> Storage:
        command = shlex.join([sys.executable, str(INITIALIZER), str(self.folder)])
        known = Settings(**{"storage_initializer": command, **settings})
        return Storage(self.paths, known, {"PATH": os.defpath, **OURS, **SECRETS})

    def model(self, name: str = "tumor", **behaviour: Any) -> None:
        (self.folder / name).mkdir(parents=True)
        (self.folder / name / "behaviour.json").write_text(json.dumps(behaviour))

    def fetch(self, *revisions: Revision, storage: Storage | None = None) -> list[Path]:
        using = storage or self.storage

        async def all_of_them() -> list[Path]:
            uris = (one.template["model"]["storageUri"] for one in revisions)
            return await asyncio.gather(*map(using.fetch, revisions, uris))

        return asyncio.run(all_of_them())

    @property
    def times(self) -> int:
        return len((self.folder / "fetched").read_text().splitlines())

    @property
    def partials(self) -> list[Path]:
        return list(self.paths.models.rglob("*.partial"))


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    kept = Kept(tmp_path)
    yield kept
    assert list(owned(kept.paths.home)) == []


def test_a_folder_of_this_machine_is_used_where_it_is(kept: Kept, tmp_path: Path) -> None:
    assert kept.storage.folder(revision(f"file://{tmp_path}"), f"file://{tmp_path}") == tmp_path


def test_a_model_is_fetched_once_for_each_revision(kept: Kept) -> None:
    kept.model()
    first, second = revision(), revision(number=2)
    assert kept.storage.folder(first, TUMOR) is None
    folder, same = kept.fetch(first, first)
    assert folder == same == kept.storage.folder(first, TUMOR)
    assert (folder / "behaviour.json").is_file()
    assert kept.times == 1
    assert kept.fetch(first) == [folder]
    assert kept.times == 1

    assert kept.storage.folder(second, TUMOR) is None
    assert kept.fetch(second) != [folder]
    assert kept.times == 2
    assert kept.partials == []

    kept.storage.forget(first.key, {second.name})
    assert kept.storage.folder(first, TUMOR) is None
    assert kept.storage.folder(second, TUMOR) is not None
    kept.storage.forget(first.key, set())
    assert list(kept.paths.models.glob("*/*")) == []
    kept.storage.forget(first.key, set())


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        ({"fails": "no such model"}, r"models:/tumor/3 cannot be fetched \(no such model\): .*"),
        ({"nothing": True}, r"models:/tumor/3 holds no files \(fetching models:/tumor/3\): .*"),
    ],
)
def test_what_cannot_be_fetched_is_said_with_the_last_words(
    kept: Kept, behaviour: dict[str, Any], why: str
) -> None:
    kept.model(**behaviour)
    with pytest.raises(FetchFailed, match=why) as caught:
        kept.fetch(revision())
    log = kept.paths.service_logs("default", "tumor") / "tumor-predictor-00001-storage.log"
    assert str(caught.value).endswith(f"see {log}")
    assert "fetching" in log.read_text()
    assert kept.storage.folder(revision(), TUMOR) is None
    assert kept.partials == []
    assert isinstance(EngineError.of(caught.value.document), FetchFailed)


def test_no_secret_is_in_what_is_said(kept: Kept) -> None:
    told = "https://me:pass@store/a?X-Signature=abc refused do-not-tell and mine-alone"
    kept.model(fails=told)
    own = {"AWS_SECRET_ACCESS_KEY": "mine-alone"}
    with pytest.raises(FetchFailed) as caught:
        kept.fetch(revision(**own))
    assert "(https://***@store/a?*** refused *** and ***)" in str(caught.value)


def test_one_that_hangs_is_ended_at_its_deadline(kept: Kept) -> None:
    kept.model(hangs=True)
    with pytest.raises(FetchFailed, match=r"models:/tumor/3 was not fetched within 0\.2 s"):
        kept.fetch(revision(), storage=kept.storage_with(fetch_deadline=0.2))
    assert kept.partials == []


def test_one_that_is_called_off_leaves_nothing(kept: Kept) -> None:
    kept.model(hangs=True)

    async def called_off() -> None:
        fetching = asyncio.create_task(kept.storage.fetch(revision(), TUMOR))
        async with asyncio.timeout(10):
            while not (kept.folder / "hanging").exists():
                await asyncio.sleep(0.01)
        fetching.cancel()
        await fetching

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(called_off())
    assert kept.partials == []


def test_what_a_killed_engine_had_begun_is_tidied_up(kept: Kept) -> None:
    kept.model()
    (folder,) = kept.fetch(revision())
    partial = folder.with_name("0123.partial")
    partial.mkdir()
    kept.storage.tidy()
    assert not partial.exists()
    assert folder.is_dir()


def test_an_initializer_that_cannot_be_started_is_said_so(kept: Kept) -> None:
    storage = kept.storage_with(storage_initializer="/no/such/program")
    with pytest.raises(SpawnFailed, match="/no/such/program cannot be started"):
        kept.fetch(revision(), storage=storage)


def seen(kept: Kept, number: int, env: dict[str, str]) -> dict[str, str]:
    """Give the environment that the initializer had for a revision with these variables."""
    (folder,) = kept.fetch(revision(number=number, **env))
    found: dict[str, str] = json.loads((folder / "environment.json").read_text())
    return found


def test_the_engines_credentials_are_for_its_own_mlflow_alone(kept: Kept) -> None:
    kept.model()
    env = {"AWS_REGION": "here", "PYTHONPATH": "/evil", "LD_PRELOAD": "/evil.so"}
    ours = seen(kept, 1, env)
    assert ours.items() >= {**SECRETS, **OURS, "AWS_REGION": "here"}.items()
    assert {"PYTHONPATH", "LD_PRELOAD"} & set(ours) == set()
    theirs = {"MLFLOW_TRACKING_URI": "http://theirs"}
    assert seen(kept, 2, theirs).items() >= theirs.items()
    assert "do-not-tell" not in seen(kept, 2, theirs).values()
    assert seen(kept, 3, OURS).items() >= {**SECRETS, **OURS}.items()
