"""What the kernel is told about each system call, run by an interpreter of the test's own."""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.runtime.call_filter import CLONE3, MACHINES, REFUSED, program

ALLOWED, EPERM, ENOSYS, EAFNOSUPPORT = "allowed", 1, 38, 97
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
I386, ARM = 0x40000003, 0x40000028
SIGCHLD = 17
THREAD = 0x3D0F00  # CLONE_VM to CLONE_CHILD_CLEARTID, as pthread_create has it

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


def judge(machine: str, number: int, argument: int = 0, architecture: int = 0) -> object:
    """Run the program on one call, as the kernel's interpreter does."""
    architecture = architecture or ARCHITECTURES[machine]
    data = struct.pack("=IIQQ", number & 0xFFFFFFFF, architecture, 0, argument)
    steps = list(struct.iter_unpack("=HBBI", program(machine)))
    at = value = 0
    while True:
        code, if_true, if_false, operand = steps[at]
        at += 1
        match code:
            case 0x20:
                (value,) = struct.unpack_from("=I", data, operand)
            case 0x15 | 0x35 | 0x45:
                is_met = {0x15: value == operand, 0x35: value >= operand, 0x45: value & operand}
                at += if_true if is_met[code] else if_false
            case 0x06:
                return ALLOWED if operand == 0x7FFF0000 else operand - 0x00050000
            case _:
                raise AssertionError(f"operation {code:#x}")


def numbers(machine: str) -> Iterator[tuple[str, int]]:
    for name, columns in REFUSED.items():
        number = columns[MACHINES[machine].column]
        if number is not None:
            yield name, number


@pytest.mark.parametrize("machine", MACHINES)
def test_refused_calls_and_no_others_are_refused(machine: str) -> None:
    refused = {number for _, number in numbers(machine)}

    for number in range(470):
        expected = ENOSYS if number == CLONE3 else EPERM if number in refused else ALLOWED
        assert judge(machine, number) == expected, number


@pytest.mark.parametrize("machine", MACHINES)
def test_numbers_are_those_of_the_kernels_own_headers(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip(f"{HEADERS[machine]} is not here: package linux-libc-dev")
    defined = re.findall(
        r"#define __NR(?:3264)?_(\w+)\s+(\d+)$", HEADERS[machine].read_text(), re.MULTILINE
    )
    theirs = {name: int(number) for name, number in defined}
    known = MACHINES[machine]
    ours = {**dict(numbers(machine)), "clone": known.clone}
    ours |= {"kill": known.kill, "socket": known.socket}

    newer = ours.keys() - theirs.keys()
    assert {name: theirs[name] for name in ours.keys() - newer} == {
        name: number for name, number in ours.items() if name not in newer
    }
    assert newer <= {"open_tree_attr", "lsm_set_self_attr"}
    assert theirs["clone3"] == CLONE3
    missing = {name for name, columns in REFUSED.items() if columns[known.column] is None}
    assert not missing & theirs.keys()


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("bit", [17, 25, 26, 27, 28, 29, 30])
def test_clone_makes_no_namespaces(machine: str, bit: int) -> None:
    number = MACHINES[machine].clone

    assert judge(machine, number, SIGCHLD | 1 << bit) == EPERM
    assert judge(machine, number, SIGCHLD | 1 << bit | 1 << 40) == EPERM


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("flags", [SIGCHLD, THREAD, 0x4111, 1 << 32 | SIGCHLD])
def test_clone_makes_processes_and_threads(machine: str, flags: int) -> None:
    assert judge(machine, MACHINES[machine].clone, flags) == ALLOWED


@pytest.mark.parametrize("machine", MACHINES)
def test_sockets_to_the_host_of_a_virtual_machine_are_refused(machine: str) -> None:
    number = MACHINES[machine].socket

    assert judge(machine, number, 40) == EAFNOSUPPORT
    assert [judge(machine, number, family) for family in (1, 2, 10, 16)] == [ALLOWED] * 4


@pytest.mark.parametrize("machine", MACHINES)
def test_signals_to_all_processes_and_to_the_first_are_refused(machine: str) -> None:
    number = MACHINES[machine].kill

    assert [judge(machine, number, pid & 0xFFFFFFFF) for pid in (1, -1)] == [EPERM] * 2
    assert [judge(machine, number, pid & 0xFFFFFFFF) for pid in (0, 2, 77, -2)] == [ALLOWED] * 4


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("number", [470, 512, 547, 0x3FFFFFFF])
def test_calls_newer_than_the_list_answer_as_an_older_kernel_does(
    machine: str, number: int
) -> None:
    assert judge(machine, number) == ENOSYS


@pytest.mark.parametrize("number", [0, 56, 272, 0x3FFFFFFF, 0xBFFFFFFF])
def test_x32_is_refused(number: int) -> None:
    assert judge("x86_64", 0x40000000 + number) == EPERM


@pytest.mark.parametrize("architecture", [I386, ARM, 0xC00000B7, 0xC000003E, 1])
@pytest.mark.parametrize("machine", MACHINES)
def test_calls_of_other_architectures_are_refused(machine: str, architecture: int) -> None:
    if architecture == ARCHITECTURES[machine]:
        architecture ^= 0x80000000
    for number in (0, 1, 20, 220, 310):
        assert judge(machine, number, architecture=architecture) == EPERM


def test_machines_with_unknown_numbers_have_no_program() -> None:
    assert program("riscv64") == b""


def test_other_systems_and_32_bit_interpreters_have_no_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("sys.maxsize", 2**31 - 1)
        assert program() == b""
    monkeypatch.setattr("sys.platform", "darwin")
    assert program() == b""
