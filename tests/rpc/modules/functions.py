"""Tasks in processes: some do as they are told, some do harm."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from twbridge.rpc import PublicError, context, task


@task("add")
def add(a: int, b: int = 0) -> int:
    return a + b


@task("pid")
def pid() -> int:
    return os.getpid()


@task("echo")
def echo(value: Any) -> Any:
    return value


@task("count")
class Count:
    """How often it was called in this process."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        return self.calls


@task("setting")
def setting(key: str) -> Any:
    """What it is, and one more for the next."""
    value = context.settings.get(key)
    context.settings[key] = (value or 0) + 1
    return value


@task("about")
def about() -> dict[str, Any]:
    context.reply_headers["seen"] = context.headers.get("asked")
    return {
        "worker": context.worker,
        "task": context.task,
        "call": context.call_id,
        "redelivered": context.redelivered,
        "remaining": context.remaining,
        "cancelled": context.cancelled,
        "main": threading.current_thread() is threading.main_thread(),
    }


@task("progress")
def progress(number: int) -> str:
    for each in range(1, number + 1):
        context.progress(each)
    return "done"


@task("flood")
def flood(path: str, size: int, number: int) -> int:
    """Send much progress; the file grows by a byte with each."""
    with open(path, "ab", buffering=0) as told:
        for _ in range(number):
            context.progress(b"x" * size)
            told.write(b".")
    return number


@task("publish")
def publish(channel: str) -> None:
    context.pubsub.publish(channel, {"from": context.task})


# -- tasks that fail


@task("raise", traceback=True)
def raising(text: str) -> NoReturn:
    raise RuntimeError(text)


@task("raise-public")
def raising_publicly(text: str) -> NoReturn:
    raise PublicError(text)


@task("raise-surrogate")
def raising_a_surrogate() -> NoReturn:
    raise RuntimeError("half \ud800")


@task("raise-odd")
def raising_oddly() -> NoReturn:
    class Odd(BaseException):
        def __str__(self) -> str:
            raise ValueError("no text")

    raise Odd


@task("large")
def large(size: int) -> bytes:
    return bytes(size)


@task("unsendable")
def unsendable(what: str) -> object:
    if what == "result":
        return threading.Lock()
    context.reply_headers["lock"] = threading.Lock() if what == "header" else "x" * 100_000
    return None


# -- tasks that do harm


@task("exit")
def leave(how: str, code: int) -> NoReturn:
    if how == "sys":
        sys.exit(code)
    os._exit(code)


@task("crash")
def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@task("fork")
def fork() -> int:
    """Both processes return."""
    os.fork()
    return os.getpid()


@task("leave-a-child")
def leave_a_child() -> int:
    """What it forks lives on for a long time."""
    child = os.fork()
    if not child:
        time.sleep(600)
        os._exit(0)
    return child


@task("close")
def close(fds: list[int]) -> str:
    for each in fds:
        os.close(each)
    return "closed"


@task("print")
def say(text: str) -> None:
    print(text, flush=True)
    os.write(1, text.encode())
    os.write(2, text.encode())


@task("scribble")
def scribble() -> None:
    """Writes to the pipe of its process."""
    os.write(3, b"\xff" * 100)
    time.sleep(600)


@task("loop")
def loop(path: str) -> None:
    """Begins, and never ends."""
    Path(path).touch()
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass


@task("block")
def block(path: str) -> None:
    Path(path).touch()
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))
    time.sleep(600)


@task("regex")
def regex(path: str) -> None:
    """Holds the interpreter's lock for longer than anybody waits."""
    Path(path).touch()
    re.match("(a+)+$", "a" * 64 + "b")


@task("until-cancelled")
def until_cancelled(path: str) -> str:
    Path(path).touch()
    while not context.cancelled:
        time.sleep(0.005)
    return "stopped"


@task("impatient", timeout=0.2)
def impatient(path: str) -> None:
    loop(path)
