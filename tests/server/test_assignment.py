"""What a parent sends its workers; whole workers are in tests/e2e/test_workers.py."""

import io
import marshal
import pickle
import sys
from dataclasses import fields

from gateway.config.command_line import document
from gateway.config.function import Function
from gateway.config.process import Process
from gateway.server.assignment import LENGTH_BYTES, Assignment, made_again, message


def test_message_has_its_length_then_the_search_path_then_the_assignment() -> None:
    described = document(Function("app.handler", name="shop"), port=0)
    assignment = Assignment(described, (7, 8), is_successor=True)

    sent = message(assignment)
    content = io.BytesIO(sent[LENGTH_BYTES:])

    assert int.from_bytes(sent[:LENGTH_BYTES]) == len(sent) - LENGTH_BYTES
    assert marshal.load(content) == sys.path
    assert pickle.load(content) == assignment


def test_dataclass_of_another_version_has_its_own_defaults() -> None:
    given = {one.name: one.name for one in fields(Process) if one.name != "user"}

    found = made_again(Process, {**given, "removed": True})

    assert isinstance(found, Process)
    assert (found.user, found.access_log, found.server) == ("", "access_log", "server")
