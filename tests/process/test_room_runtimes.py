"""What runtimes do goes on working where system calls are filtered: threads and processes of
Python, Node, Java and Go."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.compiled import go_program, java_classes, needed
from tests.process.rooms import Attacked
from tests.runtime.launching import abilities, room_plan, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="rooms need Linux"),
]

PYTHON = """
import asyncio, concurrent.futures, multiprocessing, os, subprocess, threading
threads = [threading.Thread(target=print, args=("thread",)) for _ in range(4)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
print(subprocess.run(["sh", "-c", "echo shell"], capture_output=True, text=True).stdout.strip())
print(os.waitstatus_to_exitcode(os.system("true")), os.posix_spawn("/bin/true", ["true"], {}) > 0)
async def child():
    process = await asyncio.create_subprocess_exec("echo", "asyncio", stdout=-1)
    return (await process.communicate())[0].decode().strip()
print(asyncio.run(child()))
process = multiprocessing.get_context("fork").Process(target=print, args=("forked",))
process.start(); process.join(); print(process.exitcode)
"""


def test_python_starts_threads_and_processes(room: Attacked) -> None:
    expected = "thread\n" * 4 + "shell\n0 True\nasyncio\n0"

    assert room.probe(PYTHON) == expected


NODE = """
const { Worker } = require("worker_threads"), { execFile } = require("child_process");
require("fs").readFile("/etc/passwd", error => console.log("read", error));
require("dns").lookup("localhost", error => console.log("looked up", error));
new Worker("console.log('worker')", { eval: true });
execFile("echo", ["child"], (error, text) => console.log(text.trim(), error));
"""

JAVA = """
import java.util.concurrent.*;
public class Main {
    public static void main(String[] arguments) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(8);
        System.out.println("thread " + threads.submit(() -> 42).get());
        threads.shutdown();
        Process child = new ProcessBuilder("echo", "child").start();
        System.out.println(new String(child.getInputStream().readAllBytes()).trim());
        System.out.println(child.waitFor());
    }
}
"""

GO = """
package main

import (
    "fmt"
    "os/exec"
    "runtime"
    "sync"
)

func main() {
    var group sync.WaitGroup
    for i := 0; i < 8; i++ {
        group.Add(1)
        go func() { runtime.LockOSThread(); group.Done() }()
    }
    group.Wait()
    text, err := exec.Command("echo", "child").Output()
    fmt.Print(string(text), err)
}
"""


async def run_filtered(task: Path, *words: str) -> tuple[int, list[str]]:
    plan = replace(
        room_plan("", task),
        command=words,
        environ={"PATH": os.environ["PATH"]},
        call_filter=abilities().call_filter,
    )
    status, text = await run(plan)
    return status, sorted(text.split("\n"))


async def test_node_starts_threads_and_processes(tmp_path: Path) -> None:
    found = await run_filtered(tmp_path, needed("node"), "-e", NODE)

    assert found == (0, ["child null", "looked up null", "read null", "worker"])


async def test_java_starts_threads_and_processes() -> None:
    classes = java_classes(JAVA, "Main")
    found = await run_filtered(classes, needed("java"), "-cp", "/var/task", "Main")

    assert found == (0, ["0", "child", "thread 42"])


async def test_go_starts_threads_and_processes() -> None:
    program = go_program(GO, "main")
    found = await run_filtered(program.parent, "/var/task/main")

    assert found == (0, ["<nil>", "child"])
