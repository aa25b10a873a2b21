"""What a runtime posts, told by a test that plays one, and what comes of it."""

import base64
from pathlib import Path

import pytest

from gateway.core.function_errors import MAX_RESPONSE_BYTES
from gateway.runtime.answers import decoded
from tests.runtime.api_client import NEXT, chunked, connected, post
from tests.runtime.environments import (
    PuppetLauncher,
    begin,
    error_type,
    listening,
    said,
    world,
)


@pytest.mark.parametrize("mode", ["buffered", "Streaming"])
async def test_an_unknown_response_mode_resets_the_environment(tmp_path: Path, mode: str) -> None:
    async with world(PuppetLauncher(), tmp_path) as it:
        future = it.start()
        async with connected(await listening(it)) as client:
            await begin(it, client)
            header = f"Lambda-Runtime-Function-Response-Mode: {mode}"
            await client.send(post(f"invocation/{it.request_id}/response", b"1", header))
            result = await future

        assert (result.payload, result.function_error) == (b"", "Unhandled")
        assert it.reports()[0].error_type == "Runtime.InvalidResponseModeHeader"
        assert it.launcher.children[0].exited.result() == -9


async def test_a_streamed_response_is_buffered(tmp_path: Path) -> None:
    body = b'{"statusCode":200}' + bytes(8) + b"text"
    async with world(PuppetLauncher(), tmp_path) as it:
        future = it.start()
        async with connected(await listening(it)) as client:
            await begin(it, client)
            header = "Lambda-Runtime-Function-Response-Mode: streaming"
            await client.ask(post(f"invocation/{it.request_id}/response", body, header))

            assert (await future).payload == body


@pytest.mark.parametrize(
    ("text", "payload"),
    [(base64.b64encode(b'{"errorType":"X"}').decode(), b'{"errorType":"X"}'), ("?", b"?")],
)
async def test_a_stream_that_fails_in_the_middle_is_an_error(
    tmp_path: Path, text: str, payload: bytes
) -> None:
    name = "Lambda-Runtime-Function-Error"
    trailers = f"{name}-Type: Runtime.X\r\n{name}-Body: {text}\r\n"
    if text == "?":
        payload = base64.b64decode("?")  # Python passes over what is not of the alphabet
    async with world(PuppetLauncher(), tmp_path) as it:
        future = it.start()
        async with connected(await listening(it)) as client:
            await begin(it, client)
            path = f"invocation/{it.request_id}/response"
            answer = await client.ask(chunked(path, b"half", trailers=trailers))
            result = await future

        assert answer.status == 202
        assert (result.payload, result.function_error) == (payload, "Unhandled")


async def test_a_trailer_that_is_not_base64_leaves_no_caller_waiting(tmp_path: Path) -> None:
    name = "Lambda-Runtime-Function-Error"
    trailers = f"{name}-Type: Runtime.X\r\n{name}-Body: abcde\r\n"
    async with world(PuppetLauncher(), tmp_path) as it:
        future = it.start()
        async with connected(await listening(it)) as client:
            await begin(it, client)
            path = f"invocation/{it.request_id}/response"
            await client.ask(chunked(path, b"half", trailers=trailers))

            assert (await future).payload == b"abcde"


async def test_a_response_that_is_too_large_leaves_the_process_alive(tmp_path: Path) -> None:
    async with world(PuppetLauncher(), tmp_path) as it:
        future = it.start()
        async with connected(await listening(it)) as client:
            await begin(it, client)
            body = bytes(MAX_RESPONSE_BYTES + 1)
            answer = await client.ask(post(f"invocation/{it.request_id}/response", body))
            result = await future
            await client.send(NEXT)
            await it.free()
            second = it.start()
            await client.answer()
            body = bytes(MAX_RESPONSE_BYTES)
            await client.ask(post(f"invocation/{it.request_id}/response", body))

            assert len((await second).payload) == MAX_RESPONSE_BYTES
        assert said(answer) == (413, "RequestEntityTooLarge")
        assert error_type(result.payload) == "Function.ResponseSizeTooLarge"
        assert len(it.launcher.children) == 1


async def test_a_response_cut_off_resets_the_environment(tmp_path: Path) -> None:
    async with world(PuppetLauncher(), tmp_path) as it:
        future = it.start()
        async with connected(await listening(it)) as client:
            await begin(it, client)
            await client.send(post(f"invocation/{it.request_id}/response", b"12345")[:-2])
            client.writer.write_eof()
            result = await future

        assert error_type(result.payload) == "Runtime.TruncatedResponse"
        assert it.launcher.children[0].exited.done()


async def test_an_error_that_is_not_json_reaches_the_caller_as_it_is(tmp_path: Path) -> None:
    async with world(PuppetLauncher(), tmp_path) as it:
        future = it.start()
        async with connected(await listening(it)) as client:
            await begin(it, client)
            kind = "Lambda-Runtime-Function-Error-Type: Mine"
            cause = "Lambda-Runtime-Function-XRay-Error-Cause: {}"
            await client.ask(post(f"invocation/{it.request_id}/error", b"oh", kind, cause))
            result = await future
            await client.send(NEXT)
            await it.free()

        assert (result.payload, result.function_error) == (b"oh", "Unhandled")
        assert it.reports()[0].error_type == "Runtime.Unknown"


def test_trailer_that_is_not_base64_is_taken_as_it_is() -> None:
    assert (decoded("e30="), decoded("abcde")) == (b"{}", b"abcde")
