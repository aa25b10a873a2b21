"""Builds the program by which the kernel judges every system call of a function: seccomp(2).

What a function could regain rights with is refused, and what leaves a trace outside its room. All
that an environment does itself with these calls is done before the program is in force. A binary
tree of comparisons finds the answer to a call by its number in eight steps; calls that are always
allowed cost less, as the kernel keeps a map of them (Linux 5.11).

It is built here once, and a child receives it as a part of its plan: to install it takes the child
two calls and no import.
"""

import os
import struct
import sys
from dataclasses import dataclass

_Instruction = tuple[int, int, int, int]
"""struct sock_filter: operation, steps to skip if true and if false, operand."""

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

# struct seccomp_data, on a little-endian machine: number, architecture, then the arguments.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16

_ALLOWED, _FAILED = 0x7FFF0000, 0x00050000  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97

# CLONE_NEWNS, -NEWCGROUP, -NEWUTS, -NEWIPC, -NEWUSER, -NEWPID, -NEWNET. CLONE_NEWTIME is a signal's
# number here: only unshare and clone3 take it.
_NEW_NAMESPACES = 0x7E020000
_AF_VSOCK = 40

_X32 = 0x40000000

# Linux 6.18 ends at 469. What comes later answers as an older kernel does, and libc falls back.
_UNKNOWN = 470


@dataclass(frozen=True, slots=True)
class _Machine:
    audit_architecture: int
    """AUDIT_ARCH_X86_64 or AUDIT_ARCH_AARCH64."""
    column: int
    """Its numbers in `REFUSED`."""
    clone: int
    kill: int
    socket: int


MACHINES = {
    "x86_64": _Machine(0xC000003E, 0, clone=56, kill=62, socket=41),
    "aarch64": _Machine(0xC00000B7, 1, clone=220, kill=129, socket=198),
}

CLONE3 = 435
"""Its flags are behind a pointer. ENOSYS makes libc fall back to clone; EPERM ends threads of
Python, Node and Java."""

REFUSED: dict[str, tuple[int | None, int | None]] = {
    # Namespaces and mounts.
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    # Files past the mounts, and what is seen of other processes' files.
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    # Other processes.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "process_madvise": (440, 440),
    # Keys live in the kernel, beyond the process, and have no namespace of the room's.
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    # Parts of the kernel that had most of its holes; Lambda has them neither.
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # The machine itself. All want a capability: this is the second lock.
    "acct": (163, 89),
    "clock_settime": (227, 112),
    "create_module": (174, None),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "init_module": (175, 105),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "lookup_dcookie": (212, 18),
    "lsm_set_self_attr": (460, 460),
    "nfsservctl": (180, 42),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "uselib": (134, None),
    "vhangup": (153, 58),
}
"""Calls that answer EPERM, with their numbers on x86_64 and aarch64."""


def _fail(error: int) -> list[_Instruction]:
    return [(_RETURN, 0, 0, _FAILED | error)]


_ALLOW: list[_Instruction] = [(_RETURN, 0, 0, _ALLOWED)]

_JUDGE_CLONE: list[_Instruction] = [
    (_LOAD, 0, 0, _FIRST_ARGUMENT),
    (_JUMP_ANY_BIT, 0, 1, _NEW_NAMESPACES),
    *_fail(_EPERM),
    *_ALLOW,
]

# All processes of the user, the gateway among them, and what keeps the machine or container going:
# a slip must not end those. There are other ways: docs/threat-model.md.
_JUDGE_KILL: list[_Instruction] = [
    (_LOAD, 0, 0, _FIRST_ARGUMENT),
    (_JUMP_EQUAL, 1, 0, 1),
    (_JUMP_EQUAL, 0, 1, 0xFFFFFFFF),
    *_fail(_EPERM),
    *_ALLOW,
]

# A virtual machine's way to its host, which no rule for the network reaches.
_JUDGE_SOCKET: list[_Instruction] = [
    (_LOAD, 0, 0, _FIRST_ARGUMENT),
    (_JUMP_EQUAL, 0, 1, _AF_VSOCK),
    *_fail(_EAFNOSUPPORT),
    *_ALLOW,
]


def program(machine: str = "") -> bytes:
    """Return the program for a machine as `uname` calls it, this one unless told otherwise; empty
    for one whose numbers are not known here."""
    known = MACHINES.get(machine or _own_machine())
    if known is None:
        return b""
    instructions = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, known.audit_architecture),
        *_fail(_EPERM),
        (_LOAD, 0, 0, _NUMBER),
        *_tree(_spans(_answers(known))),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def _own_machine() -> str:
    is_64_bit = sys.maxsize > 1 << 32
    return os.uname().machine if is_64_bit and sys.platform == "linux" else ""


def _answers(machine: _Machine) -> dict[int, list[_Instruction]]:
    """Return what is to be done at each number that is not simply allowed."""
    numbers = (numbers[machine.column] for numbers in REFUSED.values())
    answers = {number: _fail(_EPERM) for number in numbers if number is not None}
    judged = {
        machine.clone: _JUDGE_CLONE,
        machine.kill: _JUDGE_KILL,
        machine.socket: _JUDGE_SOCKET,
        CLONE3: _fail(_ENOSYS),
    }
    return {**answers, **judged}


_Span = tuple[int, list[_Instruction]]


def _spans(answers: dict[int, list[_Instruction]]) -> list[_Span]:
    """Return the first number of each run of numbers with one answer, and the answer."""
    spans: list[_Span] = []
    for number in range(_UNKNOWN):
        answer = answers.get(number, _ALLOW)
        if not spans or spans[-1][1] != answer:
            spans.append((number, answer))
    return [*spans, (_UNKNOWN, _fail(_ENOSYS)), (_X32, _fail(_EPERM))]


def _tree(spans: list[_Span]) -> list[_Instruction]:
    """Return the instructions that find a number's span, by halves."""
    if len(spans) == 1:
        return spans[0][1]
    middle = len(spans) // 2
    below, above = _tree(spans[:middle]), _tree(spans[middle:])
    return [(_JUMP_AT_LEAST, len(below), 0, spans[middle][0]), *below, *above]
