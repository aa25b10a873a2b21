"""The life of a worker; whole ones are in tests/e2e/test_workers.py."""

from pathlib import Path

from gateway.config.command_line import document
from gateway.config.function import Function
from gateway.server.worker_life import read_again, requiring_init


def test_successor_must_not_serve_what_cannot_be_initialised() -> None:
    described = document(Function("app.handler", name="shop"), port=0)

    asked = requiring_init(described)

    assert [one.execution.requires_init for one in described.functions] == [False]
    assert [one.execution.requires_init for one in asked.functions] == [True]
    assert asked.listeners == described.listeners


def test_worker_reads_files_of_variables_itself(tmp_path: Path) -> None:
    file = tmp_path / "variables"
    file.write_text("KIND=other\n")
    function = Function(
        "app.handler",
        name="shop",
        environment={"KIND": "plain", "SIZE": "1"},
        environment_pairs=("SIZE=1",),
        environment_file=file,
    )

    found = read_again(document(function, port=0))

    assert [one.environment for one in found.functions] == [{"KIND": "other", "SIZE": "1"}]
