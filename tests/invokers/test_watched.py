"""What is watched, and which changes count."""

from pathlib import Path

import pytest

from gateway.invokers.watched import Outputs, find_places, is_ignored


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / ".tox" / "code"  # a place whose own name is ignored elsewhere
    path.mkdir(parents=True)
    return path


def test_links_out_of_the_code_are_followed(code: Path, tmp_path: Path) -> None:
    shared, file = tmp_path / "shared", tmp_path / "file"
    shared.mkdir()
    file.touch()
    (code / "directory").symlink_to(shared)
    (code / "file").symlink_to("../../file")
    (code / "dangling").symlink_to("nowhere")
    (code / "inside").symlink_to("directory")
    (code / ".git").mkdir()
    (code / ".git" / "away").symlink_to("/usr")

    places = find_places([code], [tmp_path / "env"])

    assert places.directories == {code, shared}
    assert places.files == {file, tmp_path / "env"}


def test_link_to_a_directory_around_the_code_is_not_followed(code: Path, tmp_path: Path) -> None:
    (code / "up").symlink_to(tmp_path)
    (code / "all").symlink_to("/")

    assert find_places([code]).directories == {code}


def test_directory_that_is_a_link_is_watched_where_it_is(code: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(code)

    assert find_places([tmp_path / "current"]).directories == {code}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("app.py", True),
        ("bootstrap", True),
        ("lib/x.so", True),
        ("sourceless.pyc", True),
        ("__pycache__/app.pyc", False),
        (".venv/lib/x.py", False),
        ("app.py~", False),
        (".#app.py", False),
    ],
)
def test_change_is_relevant_by_its_place_in_the_code(
    code: Path, name: str, *, expected: bool
) -> None:
    assert find_places([code]).is_relevant(str(code / name)) is expected
    assert is_ignored(Path(name)) is not expected


def test_change_elsewhere_is_not_relevant_but_for_single_files(code: Path, tmp_path: Path) -> None:
    places = find_places([code], [tmp_path / "env"])

    assert places.is_relevant(str(tmp_path / "env"))
    assert not places.is_relevant(str(tmp_path / "other"))


def test_own_outputs_are_known_by_path_and_by_what_a_descriptor_is(tmp_path: Path) -> None:
    with (tmp_path / "stdout").open("w") as stdout, Path("/dev/null").open("w") as null:
        outputs = Outputs([str(tmp_path / "logs")], (stdout.fileno(), null.fileno(), 999_999))

    assert str(tmp_path / "stdout") in outputs
    assert str(tmp_path / "logs") in outputs
    assert str(tmp_path / "logs" / "stream") in outputs
    assert str(tmp_path / "app.py") not in outputs
    assert "/dev/null" not in outputs
