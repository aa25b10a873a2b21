"""Makes a forked interpreter look as if it had just been executed.

It imports nothing of ours, like fork_server.py, which loads it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import io
import locale
import os
import signal
import sys
import time
from types import ModuleType
from typing import Any

_STREAMS = ("stdin", "stdout", "stderr")


def renew(main: ModuleType) -> None:
    """Make the interpreter look as if it had been executed with this main module and the variables
    that are set now."""
    time.tzset()
    errors = "surrogateescape" if is_plain_locale() else "strict"
    for number, mode in enumerate("rww"):
        stream = _stream(number, mode, "backslashreplace" if number == 2 else errors)
        setattr(sys, _STREAMS[number], stream)
        setattr(sys, f"__{_STREAMS[number]}__", stream)
    file = main.__file__ or ""
    sys.argv = [file]
    sys.orig_argv = [sys.executable, file]
    sys.modules["__main__"] = main
    gc.enable()


def main_module(file: str) -> ModuleType:
    """Execute a file that is a main module, without what it does only as that one."""
    spec = importlib.util.spec_from_file_location("awslambdaric.__main__", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {file}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module).update(__name__="__main__", __spec__=None, __package__=None, __cached__=None)
    return module


def is_plain_locale() -> bool:
    """Set the locale for characters, and say whether it is one that PEP 538 replaces."""
    name = "C"
    with contextlib.suppress(locale.Error):
        name = locale.setlocale(locale.LC_CTYPE, "")
    if name in {"C", "POSIX"} and not os.environ.get("LC_ALL"):
        with contextlib.suppress(locale.Error):
            locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
            os.environ["LC_CTYPE"] = "C.UTF-8"
    return name in {"C", "POSIX", "C.UTF-8", "C.utf8"}


def restore_signals() -> None:
    """Give every signal the disposition that it has in a fresh interpreter, and block none."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) not in {signal.SIG_DFL, None}:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _stream(descriptor: int, mode: str, errors: str) -> io.TextIOWrapper:
    binary: Any = open(descriptor, f"{mode}b", closefd=False)  # noqa: SIM115 - stays open
    binary.raw.name = f"<{_STREAMS[descriptor]}>"
    stream = io.TextIOWrapper(binary, "utf-8", errors, "\n", line_buffering=descriptor == 2)
    stream.mode = mode  # type: ignore[misc]
    return stream
