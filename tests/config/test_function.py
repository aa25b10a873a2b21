"""A function: its name, its defaults, and what one process or one worker runs of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config.function import Execution, Function
from gateway.core.errors import InvalidSetting


@pytest.mark.parametrize(
    ("directory", "expected"),
    [
        ("shop", "shop"),
        ("my_shop-2", "my_shop-2"),
        ("my shop.v2", "my-shop-v2"),
        ("käse", "k-se"),
        (80 * "x", 64 * "x"),
    ],
)
def test_function_is_called_like_its_code_directory(
    tmp_path: Path, directory: str, expected: str
) -> None:
    assert Function("app.handler", tmp_path / directory).completed_name() == expected


def test_function_in_the_root_directory_is_called_function() -> None:
    assert Function("app.handler", Path("/")).completed_name() == "function"


def test_relative_code_directory_is_resolved_for_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert Function("app.handler").completed_name() == Function("h", tmp_path).completed_name()


def test_given_name_wins_over_the_directory() -> None:
    assert Function("app.handler", Path("/srv/code"), "shop").completed_name() == "shop"


def test_callers_name_the_function_without_a_qualifier() -> None:
    reference = Function("app.handler", name="shop").reference()

    assert (reference.name, reference.qualifier) == ("shop", "")
    assert reference.arn == "arn:aws:lambda:us-east-1:123456789012:function:shop"


@pytest.mark.parametrize("change", [{"name": "a b"}, {"region": "here"}, {"account_id": "1"}])
def test_function_that_aws_would_refuse_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(InvalidSetting):
        replace(Function("app.handler", name="shop"), **change).reference()


def test_function_has_awss_limits_unless_told_otherwise() -> None:
    function = Function("app.handler")

    assert (function.timeout_seconds, function.memory_mb, function.environment) == (3.0, 128, {})
    assert (function.runtime, function.python, function.layers) == ("", "", ())
    assert (function.runtime_client, function.ephemeral_storage_mb) == ("bootstrap", 512)


def test_function_is_isolated_with_50_environments_unless_told_otherwise() -> None:
    execution = Function("app.handler").execution

    assert (execution.is_in_process, execution.most_concurrent()) == (False, 50)
    assert (execution.queue_timeout_seconds, execution.min_environments) == (0.0, 0)
    assert execution.idle_environment_seconds == 600.0


@pytest.mark.parametrize(
    ("concurrency", "threads", "expected"),
    [(16, None, 16), (4, None, 4), (16, 0, 0), (16, 4, 4), (4, 16, 4), (1, 1, 1)],
)
def test_threads_never_outnumber_the_concurrency(
    concurrency: int, threads: int | None, expected: int
) -> None:
    execution = Execution(is_in_process=True, concurrency=concurrency, threads=threads)

    assert execution.worker_threads() == expected


@pytest.mark.parametrize(
    ("concurrency", "is_in_process", "expected"),
    [(None, True, 16), (None, False, 50), (3, True, 3), (3, False, 3)],
)
def test_concurrency_depends_on_where_handlers_run(
    concurrency: int | None, is_in_process: bool, expected: int
) -> None:
    execution = Execution(concurrency=concurrency, is_in_process=is_in_process)

    assert execution.most_concurrent() == expected
    assert execution.most_started() == expected * (2 if is_in_process else 1)


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 50])
def test_shares_of_workers_add_up_and_are_never_empty(workers: int) -> None:
    whole = Execution(min_environments=10)
    shares = [whole.share(number, workers) for number in range(workers)]

    assert sum(share.most_concurrent() for share in shares) == 50
    assert sum(share.min_environments for share in shares) == 10
    assert min(share.most_concurrent() for share in shares) >= 1


@pytest.mark.parametrize(
    ("execution", "workers"),
    [
        (Execution(concurrency=2), 3),
        (Execution(), 51),
        (Execution(is_in_process=True), 17),
        (Execution(is_in_process=True, threads=2), 3),
    ],
)
def test_less_than_one_invocation_for_each_worker_is_refused(
    execution: Execution, workers: int
) -> None:
    with pytest.raises(InvalidSetting, match="raise --concurrency, or take fewer --workers"):
        execution.share(0, workers)


def test_one_process_keeps_what_it_was_given() -> None:
    whole = Execution(concurrency=1, threads=0, is_in_process=True)

    assert whole.share(0, 1) == whole
