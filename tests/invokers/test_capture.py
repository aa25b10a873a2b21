"""What handlers print, and where it goes."""

import contextvars
import io
import sys
import threading

import pytest

from gateway.invokers.capture import (
    CURRENT,
    CUT,
    OUTPUT_LIMIT,
    Output,
    Router,
    captured_streams,
    current_request_id,
)


@pytest.mark.parametrize(
    ("sizes", "kept", "is_cut"),
    [
        ([OUTPUT_LIMIT - 1], OUTPUT_LIMIT - 1, False),
        ([OUTPUT_LIMIT], OUTPUT_LIMIT, False),
        ([OUTPUT_LIMIT + 1], OUTPUT_LIMIT, True),
        ([OUTPUT_LIMIT - 1, 1], OUTPUT_LIMIT, False),
        ([OUTPUT_LIMIT - 1, 2], OUTPUT_LIMIT, True),
        ([OUTPUT_LIMIT, 1], OUTPUT_LIMIT, True),
        ([OUTPUT_LIMIT + 1, 1, OUTPUT_LIMIT], OUTPUT_LIMIT, True),
    ],
)
def test_output_is_kept_up_to_the_limit_and_says_once_that_it_was_cut(
    sizes: list[int], kept: int, is_cut: bool
) -> None:
    output = Output("id")

    for size in sizes:
        output.write("x" * size)

    assert output.text() == "x" * kept + CUT * is_cut


def test_writing_nothing_keeps_nothing() -> None:
    output = Output("id")

    for _ in range(3):
        output.write("")

    assert output._parts == []


@pytest.fixture
def output() -> Output:
    """An output that is not the current one yet."""
    return Output("8dfd2e43")


def within(output: Output, *lines: str) -> None:
    """Print lines as an invocation would."""
    token = CURRENT.set(output)
    try:
        for line in lines:
            print(line)
    finally:
        CURRENT.reset(token)


def test_text_goes_to_the_current_invocation(output: Output) -> None:
    with captured_streams():
        within(output, "one", "two")

    assert output.text() == "one\ntwo\n"


def test_standard_error_goes_to_the_same_output(output: Output) -> None:
    with captured_streams():
        token = CURRENT.set(output)
        print("out")
        print("error", file=sys.stderr)
        CURRENT.reset(token)

    assert output.text() == "out\nerror\n"


def test_text_outside_an_invocation_goes_where_it_always_went(
    output: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    with captured_streams():
        within(output, "inside")
        print("outside")
        print("outside too", file=sys.stderr)

    assert capsys.readouterr() == ("outside\n", "outside too\n")


def test_thread_that_a_handler_starts_prints_where_it_always_went(
    output: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    with captured_streams():
        token = CURRENT.set(output)
        thread = threading.Thread(target=print, args=["from a thread"])
        thread.start()
        thread.join()
        CURRENT.reset(token)

    assert capsys.readouterr().out == "from a thread\n"
    assert output.text() == ""


def test_thread_that_carries_the_context_prints_for_the_invocation(output: Output) -> None:
    with captured_streams():
        token = CURRENT.set(output)
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=[print, "from a thread"])
        thread.start()
        thread.join()
        CURRENT.reset(token)

    assert output.text() == "from a thread\n"


def test_streams_are_back_after_a_failure() -> None:
    before = sys.stdout, sys.stderr

    with pytest.raises(ValueError, match="mine"), captured_streams():
        raise ValueError("mine")

    assert (sys.stdout, sys.stderr) == before


def test_router_is_a_stream_like_the_one_behind_it(output: Output) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    router = Router(stream)

    counts = [router.write("caf\u00e9")]
    token = CURRENT.set(output)
    counts.append(router.write("four"))
    router.writelines(["a", "b"])
    CURRENT.reset(token)
    router.flush()

    assert counts == [4, 4]
    assert output.text() == "fourab"
    assert (router.encoding, stream.buffer.getvalue()) == ("latin-1", b"caf\xe9")


def test_request_id_is_that_of_the_invocation_that_runs_here(output: Output) -> None:
    before = current_request_id()
    token = CURRENT.set(output)
    during = current_request_id()
    CURRENT.reset(token)

    assert (before, during) == ("", "8dfd2e43")
