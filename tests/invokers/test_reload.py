"""When a save starts a reload; what a reload does is in tests/compose/test_reloads.py."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from gateway.core.notices import Notice, OperatorWarning
from gateway.invokers.reload import WATCH_TURNS, on_change
from gateway.invokers.watched import Outputs, find_places
from gateway.telemetry.system import turns_of_the_loop

PATIENCE_SECONDS = 10.0


class Saves:
    """Counts reloads, which can be waited for, and keeps what the operator is told."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[None] = asyncio.Queue()
        self.notices: list[Notice] = []

    def emit(self, notice: Notice, /) -> None:
        self.notices.append(notice)

    async def reload(self) -> None:
        self._queue.put_nowait(None)

    async def wait(self) -> None:
        """Wait for a reload."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._queue.get()

    @property
    def has_more(self) -> bool:
        """Say whether there was another reload."""
        return not self._queue.empty()


@asynccontextmanager
async def watching(*directories: Path, files: tuple[Path, ...] = ()) -> AsyncIterator[Saves]:
    saves = Saves()
    find = partial(find_places, directories, files)
    async with asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(on_change(find, Outputs([], ()), saves.reload, saves))
        await turns_of_the_loop(WATCH_TURNS)
        yield saves
        watch.cancel()


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "code"
    path.mkdir()
    return path


@pytest.mark.parametrize(
    "name", ["app.py", "bootstrap", "lib/native.so", "data", "node_modules/x/index.js", "a.log"]
)
async def test_every_file_of_the_code_brings_a_reload(code: Path, name: str) -> None:
    (code / name).parent.mkdir(parents=True, exist_ok=True)
    async with watching(code) as saves:
        (code / name).write_text("x")
        await saves.wait()


async def test_layers_and_single_files_bring_reloads(code: Path, tmp_path: Path) -> None:
    layer, file = tmp_path / "layer", tmp_path / "env" / "file"
    for directory in (layer / "python", file.parent):
        directory.mkdir(parents=True)
    file.write_text("A1=1")
    async with watching(code, layer, files=(file,)) as saves:
        (layer / "python" / "words.py").write_text("x")
        await saves.wait()
        (file.parent / "unrelated").write_text("x")
        (file.parent / "fresh").write_text("A1=2")
        (file.parent / "fresh").replace(file)
        await saves.wait()
        file.write_text("A1=3")  # the file that was put in its place is watched, too
        await saves.wait()


async def test_what_links_point_to_brings_a_reload(code: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (code / "shared").symlink_to("../shared")
    async with watching(code) as saves:
        (shared / "app.py").write_text("x")
        await saves.wait()


async def test_what_a_link_made_later_points_to_brings_a_reload(code: Path, tmp_path: Path) -> None:
    alone = tmp_path / "words.py"
    alone.write_text("x")
    async with watching(code) as saves:
        (code / "words.py").symlink_to(alone)
        await saves.wait()
        await saves.wait()  # once more, because the watch was another one for a moment
        alone.write_text("y")
        await saves.wait()


@pytest.mark.parametrize(
    "name", ["__pycache__/app.cpython-311.pyc", ".git/index", "app.py~", ".app.py.swp", ".venv/x"]
)
async def test_what_tools_write_brings_none(code: Path, name: str) -> None:
    (code / name).parent.mkdir(exist_ok=True)
    async with watching(code) as saves:
        (code / name).write_text("x")
        (code / "last").write_text("x")  # all that came before it is known by then
        await saves.wait()

        assert not saves.has_more


async def test_directory_that_cannot_be_watched_is_served_without(tmp_path: Path) -> None:
    async with watching(tmp_path / "gone") as saves:
        pass

    [notice] = saves.notices
    assert isinstance(notice, OperatorWarning)
    assert notice.text.startswith("not reloading: the code cannot be watched: ")


async def test_reload_that_cannot_be_done_ends_the_watch_and_says_why(code: Path) -> None:
    saves = Saves()

    async def reload() -> None:
        raise RuntimeError("symlink loop")

    find = partial(find_places, [code])
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
        tasks.create_task(on_change(find, Outputs([], ()), reload, saves))
        await turns_of_the_loop(WATCH_TURNS)
        (code / "app.py").write_text("x")

    [notice] = saves.notices
    assert isinstance(notice, OperatorWarning)
    assert notice.text.endswith(": symlink loop")
