"""What a child that parses an untrusted file may not do: reach the network, start a process, run a program.

Convention: two walls. The kernel refuses the system calls (a seccomp filter, on Linux for x86-64 and ARM64), also to
native code that a hostile file has taken over; and Python's audit events refuse them by name, which works anywhere and
tells the reason. Both stay for the life of the process.

Trap: without the kernel's wall (:func:`forbid` answers False: another system, or a container that grants no filter)
native code that was taken over is held by the limits on time, memory and files alone.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys

__all__ = ["forbid"]

_CALLS = {
    "x86_64": {
        "arch": 0xC000003E, "socket": 41, "connect": 42, "sendto": 44, "bind": 49, "socketpair": 53, "fork": 57,
        "vfork": 58, "execve": 59, "ptrace": 101, "execveat": 322, "io_uring_setup": 425, "clone": 56, "clone3": 435,
    },
    "aarch64": {
        "arch": 0xC00000B7, "socket": 198, "connect": 203, "sendto": 206, "bind": 200, "socketpair": 199,
        "execve": 221, "ptrace": 117, "execveat": 281, "io_uring_setup": 425, "clone": 220, "clone3": 435,
    },
}  # fmt: skip
"""Numbers of system calls, from the kernel's tables."""
_CLONE_THREAD = 0x00010000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_X32 = 0x40000000
"""From here on x86-64 numbers the same calls a second time (the x32 interface)."""
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_REFUSED = frozenset(
    {"socket.__new__", "socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo"}
    | {"socket.gethostbyname", "subprocess.Popen", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn"}
    | {"os.system", "pty.spawn"}
)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def forbid() -> bool:
    """Put both walls up. Returns whether the kernel's stands."""
    sys.addaudithook(_refuse)
    return _filter_calls()


def _refuse(event: str, arguments: object) -> None:
    if event in _REFUSED:
        raise PermissionError(errno.EPERM, f"a parser may not use {event}")


def _filter_calls() -> bool:
    if sys.platform != "linux" or platform.machine() not in _CALLS or struct.calcsize("P") != 8:
        return False
    rules = _rules(_CALLS[platform.machine()])
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *rule) for rule in rules))
    program = _Program(len(rules), ctypes.cast(code, ctypes.c_void_p).value)
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(library.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0)


def _rules(calls: dict[str, int]) -> list[tuple[int, int, int, int]]:
    """The filter in classic BPF: (code, jump if true, jump if false, operand), over `struct seccomp_data`."""
    refused = [number for name, number in calls.items() if name not in ("arch", "clone", "clone3")]
    rules = [
        (_LOAD, 0, 0, 4),  # architecture
        (_EQUAL, 1, 0, calls["arch"]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # number of the call
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
    ]
    for number in refused:
        rules += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
    # The C library asks clone3 first and falls back to clone, whose flags can be looked at.
    rules += [(_EQUAL, 0, 1, calls["clone3"]), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    rules += [
        (_EQUAL, 0, 3, calls["clone"]),
        (_LOAD, 0, 0, 16),  # lower half of the first argument
        (_ANY_BIT, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return rules
