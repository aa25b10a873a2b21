"""How a process is planned: what it finds in its variables and directories (lambda.md 1.7, 1.8)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.core.notices import LogStream
from gateway.runtime.blueprint import Blueprint
from gateway.runtime.confinement import Abilities
from gateway.runtime.control_groups import Hierarchy
from gateway.runtime.launch import LaunchedProcess, MountNamespace, Outlets, Plan
from gateway.telemetry.system import SystemClock

MEGABYTE = 1024 * 1024
STREAM = LogStream("/aws/lambda/shop", "s", "shop", "$LATEST", "e", "python:3.12", 128)
ROOM = Abilities(can_unshare=True)
GROUPS = Abilities(hierarchies=(Hierarchy("/groups", 2, frozenset({"memory"})),))
CODE, BASE, EXTRA = Path("/srv/shop"), Path("/srv/base"), Path("/srv/extra")


class NoLauncher:
    """Never asked."""

    async def start(self, plan: Plan, outlets: Outlets) -> LaunchedProcess:
        raise NotImplementedError


def a_blueprint(found: Abilities, **settings: Any) -> Blueprint:
    blueprint = Blueprint(
        NoLauncher(),
        found,
        SystemClock(),
        None,
        lambda count: "0" * count,
        lambda: STREAM,
        ("/var/task/bootstrap", "x"),
        {"STAGE": "test", "PWD": "theirs"},
        CODE,
    )
    return replace(blueprint, **settings)


def plan(found: Abilities, **settings: Any) -> Plan:
    blueprint = a_blueprint(found, **settings)
    return blueprint.plan(STREAM, "127.0.0.1:9001", 7, blueprint.limits(STREAM))


def test_environment_finds_its_api_its_log_and_its_code() -> None:
    assert plan(ROOM).environ == {
        "STAGE": "test",
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/shop",
        "AWS_LAMBDA_LOG_STREAM_NAME": "s",
        "LAMBDA_TASK_ROOT": "/var/task",
        "PWD": "/var/task",
        "_LAMBDA_TELEMETRY_LOG_FD": "7",
    }


def test_room_has_code_layers_and_a_limited_tmp() -> None:
    found = plan(ROOM, layers=(BASE, EXTRA), keep=("/usr/python",), ephemeral_storage_mb=64)

    assert found.room == MountNamespace(
        "/srv/shop", ("/srv/base", "/srv/extra"), 64 * MEGABYTE, ("/usr/python",)
    )
    assert (found.command, found.directory) == (("/var/task/bootstrap", "x"), "/var/task")
    assert "TMPDIR" not in found.environ


def test_executable_of_a_layer_is_at_opt_in_a_room() -> None:
    command = ("/srv/extra/bootstrap", "/srv/extras")
    settings: dict[str, Any] = {"layers": (BASE, EXTRA), "command": command}

    assert plan(ROOM, **settings).command == ("/opt/bootstrap", "/srv/extras")
    assert plan(GROUPS, **settings).command == command


def test_without_a_room_the_variables_say_where_everything_is() -> None:
    blueprint = a_blueprint(Abilities(), layers=(BASE, EXTRA))
    limits = blueprint.limits(STREAM)
    limits.tmp = "/tmp/gateway-1"

    found = blueprint.plan(STREAM, "127.0.0.1:9001", 7, limits)

    assert found.room is None
    assert (found.command, found.directory) == (("/srv/shop/bootstrap", "x"), "/srv/shop")
    assert found.environ["LAMBDA_TASK_ROOT"] == found.environ["PWD"] == "/srv/shop"
    assert found.environ["TMPDIR"] == "/tmp/gateway-1"


def layer_paths(found: Abilities, variable: str = "_LAYERS", **variables: str) -> str | None:
    blueprint = a_blueprint(
        found,
        layers=(BASE, EXTRA),
        layers_variable=variable,
        variables={"AWS_EXECUTION_ENV": "AWS_Lambda_python3.12", **variables},
    )
    made = blueprint.plan(STREAM, "127.0.0.1:9001", 7, blueprint.limits(STREAM))
    return made.environ.get(variable)


def test_modules_of_layers_are_found_where_lambda_finds_them() -> None:
    inner = "python/lib/python3.12/site-packages"

    assert layer_paths(ROOM) == f"/opt/{inner}:/opt/python"
    assert layer_paths(Abilities()) == (  # later ones win
        f"/srv/extra/{inner}:/srv/base/{inner}:/srv/extra/python:/srv/base/python"
    )
    assert layer_paths(ROOM, "") is None


def test_a_path_of_the_functions_own_stays() -> None:
    assert layer_paths(ROOM, "PYTHONPATH", PYTHONPATH="mine") == "mine"


def test_data_is_limited_only_where_no_group_limits_memory() -> None:
    assert plan(Abilities(), memory_mb=128).data_bytes == 1024 * MEGABYTE
    assert plan(GROUPS, memory_mb=128).data_bytes == 0


def test_process_enters_the_control_groups_of_its_limits() -> None:
    blueprint = a_blueprint(GROUPS)
    limits = blueprint.limits(STREAM)

    found = blueprint.plan(STREAM, "127.0.0.1:9001", 7, limits)

    assert found.cgroups == limits.directories
    assert [Path(path).parent for path in found.cgroups] == [Path("/groups")]
