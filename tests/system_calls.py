"""The engine's system calls, intercepted so that a test can count, record or break them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from metrics_appender.fs import calls as fs_calls
from metrics_appender.fs import lock as fs_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Fault = Callable[["Call"], Any]

_OF_A_PATH = ("open", "lstat", "stat", "mkdir", "listdir", "rename", "unlink")
_OF_A_DESCRIPTOR = ("close", "write", "pwrite", "pread", "fsync", "fdatasync", "ftruncate", "fstat")


@dataclass(frozen=True)
class Call:
    """One call of the engine: the function, its arguments, and the file it concerns."""

    name: str
    arguments: tuple[Any, ...]
    path: str
    real: Callable[..., Any]

    def perform(self) -> Any:
        """Do what the engine asks for."""
        return self.real(*self.arguments)

    def fail(self, number: int) -> OSError:
        """Return the error that Python would raise.

        A close that fails has closed the descriptor all the same (close(2)).
        """
        if self.name == "close":
            self.perform()
        return OSError(
            number, os.strerror(number), *((self.path,) if self.name in _OF_A_PATH else ())
        )

    def __str__(self) -> str:
        """Name the call and the file."""
        return f"{self.name} {os.path.basename(self.path)}"


class Disk(Protocol):
    """What answers the engine's system calls."""

    def __call__(self, call: Call, /) -> Any:
        """Answer a call: by `call.perform()`, or otherwise."""


def perform_unsynced(call: Call) -> Any:
    """Answer calls as a healthy disk does, without the time that syncs take."""
    return None if call.name == "fsync" else call.perform()


class _Interception:
    """Turns each call of a real function into a `Call`; otherwise looks like the module `os`."""

    def __init__(self, answer: Disk) -> None:
        self._answer = answer
        self._paths: dict[int, str] = {}
        self._stand_ins = {
            name: self._stand_in(name, getattr(os, name))
            for name in (*_OF_A_PATH, *_OF_A_DESCRIPTOR)
        }
        self.flock = self._stand_in("flock", fcntl.flock)

    def __getattr__(self, name: str) -> Any:
        return self._stand_ins.get(name) or getattr(os, name)

    def _stand_in(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            path = (
                os.fspath(arguments[0])
                if name in _OF_A_PATH
                else self._paths.get(arguments[0], "?")
            )
            result = self._answer(Call(name, arguments, path, real))
            if name == "open":
                self._paths[result] = path
            return result

        return call

    def of(self, value: Any) -> Any:
        """Return the replacement of a value of an engine's module, `None` where it may stay."""
        if value is os:
            return self
        if value is fcntl.flock:
            return self.flock
        return next(
            (stand_in for name, stand_in in self._stand_ins.items() if value is getattr(os, name)),
            None,
        )


@contextlib.contextmanager
def intercepted(answer: Disk) -> Iterator[None]:
    """Have every system call of the engine answered by `answer`; logs have to be made within.

    It finds `os.write`, `write_line = os.write` and the result of `load_flock` in the package `fs`.
    """
    interception = _Interception(answer)
    with pytest.MonkeyPatch.context() as patched:
        for module in (fs_calls, fs_lock):
            for name, value in list(vars(module).items()):
                stand_in = interception.of(value)
                if stand_in is not None:
                    patched.setattr(module, name, stand_in)
        assert fs_lock.load_flock() is fcntl.flock
        patched.setattr(fs_lock, "load_flock", lambda: interception.flock)
        yield


def die(call: Call) -> Any:
    """End as a process does that is killed."""
    os.kill(os.getpid(), signal.SIGKILL)


def fail_with(number: int) -> Fault:
    """Return the fault of a call that fails with this errno."""

    def fail(call: Call) -> Any:
        raise call.fail(number)

    return fail


def write_part(length: int) -> Fault:
    """Return the fault of a write that takes so many bytes only, all but so many if negative."""

    def write(call: Call) -> Any:
        fd, data, *place = call.arguments
        return call.real(fd, data[:length], *place) if length else 0

    return write


def die_after_part(length: int) -> Fault:
    """Return the fault of a process that is killed in the middle of a write."""

    def write(call: Call) -> Any:
        write_part(length)(call)
        die(call)

    return write


class OneFault:
    """A disk on which the call of one number fails, once it is armed."""

    def __init__(self, number: int, fault: Fault, trouble: Disk) -> None:
        """Take which call (from 1) fails, how, and what else is wrong with the disk."""
        self.number = number
        self.is_armed = False
        self.calls: list[Call] = []
        self._fault = fault
        self._trouble = trouble

    def __call__(self, call: Call) -> Any:
        """Answer a call."""
        if not self.is_armed:
            return perform_unsynced(call)
        self.calls.append(call)
        return self._fault(call) if len(self.calls) == self.number else self._trouble(call)
