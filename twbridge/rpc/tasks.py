"""Tasks: functions and classes under a name, with what they promise (sans-I/O).

::

    @task("add")
    def add(a, b):
        return a + b

How the body of a call fills the parameters:

============== ===========================================================================
parameters     body
============== ===========================================================================
none           null
one            the body whole, whatever it is
several        an array by position, or an object by name; null where all have defaults
============== ===========================================================================

``*args`` and ``**kwargs`` count as several. What does not fit is a :class:`Misfit`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, Literal, Never, TypeAlias, TypeVar, cast, get_args

from msgspec import Struct

from twbridge.errors import BadTask, DuplicateTask, EncodeError
from twbridge.rpc.names import check_task_name, check_timeout

__all__ = [
    "CONCURRENCY",
    "DRAIN",
    "MAX_CONCURRENCY",
    "MAX_REDELIVERIES",
    "Misfit",
    "Registry",
    "Task",
    "TaskOptions",
    "registry",
    "task",
]

#: Calls of each task that run at once in one worker, where neither says otherwise.
CONCURRENCY = 10
#: Calls of one task that a worker may run at once.
MAX_CONCURRENCY = 1_000
#: Seconds that the calls that run have to end, when a worker is stopped.
DRAIN = 30.0
#: The most times that a call may be delivered again.
MAX_REDELIVERIES = 1_000

RunIn: TypeAlias = Literal["process", "thread", "reactor"]
Guarantee: TypeAlias = Literal["at-most-once", "at-least-once"]

_Target = TypeVar("_Target", bound=Callable[..., Any])
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Misfit(TypeError):
    """The body of the call does not fill the parameters of the task; the text says why."""


class TaskOptions(Struct, frozen=True):
    """What a task promises, as ``@task`` was told; goes between processes as MessagePack.

    Attributes:
        name: by which it is called.
        run_in: ``process``: one call at a time in a process that can be killed; ``thread``:
            several at once, for what waits; ``reactor``: coroutines beside each other.
        guarantee: ``at-most-once`` or ``at-least-once``.
        redelivery_limit: how often a call of an at-least-once task that failed is tried again.
        queue: ``classic`` makes an at-least-once task's queue a classic one, not a quorum queue.
        concurrency: how many calls of it run at once in a worker; None as the worker says.
        timeout: the longest that a call may run, in seconds, whatever its caller allows.
        pickle: whether it takes and gives pickle, where its callers do too.
        traceback: whether callers get the traceback of what it raises.
    """

    name: str
    run_in: RunIn = "process"
    guarantee: Guarantee = "at-most-once"
    redelivery_limit: int = 3
    queue: Literal["classic"] | None = None
    concurrency: int | None = None
    timeout: float | None = None
    pickle: bool = False
    traceback: bool = False


class Task:
    """A task: its options, and what is run.

    Args:
        options: what it promises.
        target: a function, a coroutine function or a class. Of a class there is one instance in
            each process, made by the first call, and the instance is called.

    Raises:
        BadTask: the target can't be run as one.
    """

    def __init__(self, options: TaskOptions, target: Callable[..., Any]) -> None:
        self.options = options
        self.target = target
        self._signature = _signature(options.name, target)
        self._function = None if isinstance(target, type) else target
        self._making = Lock()

    def arguments(self, value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and the named arguments that a body becomes.

        Raises:
            Misfit: it does not fill the parameters.
        """
        parameters = self._signature.parameters.values()
        name = self.options.name
        if not parameters:
            if value is not None:
                raise Misfit(f"the task {name!r} takes nothing: the body must be null")
            return (), {}
        first = next(iter(parameters))
        if len(parameters) == 1 and first.kind not in _VARIADIC:
            return ((), {first.name: value}) if first.kind is first.KEYWORD_ONLY else ((value,), {})
        args, named = _spread(name, value)
        try:
            self._signature.bind(*args, **named)
        except TypeError as error:
            raise Misfit(f"the body does not fit the task {name!r}: {error}") from None
        return args, named

    def run(self, value: Any) -> Any:
        """Call it with what the body says; a coroutine, where it is one of those.

        Raises:
            Misfit: before it ran.
            Exception: whatever it raises.
        """
        args, named = self.arguments(value)
        return self.function(*args, **named)

    @property
    def function(self) -> Callable[..., Any]:
        """What is called; of a class its instance, made when it is first asked for."""
        if self._function is None:
            with self._making:
                if self._function is None:
                    self._function = self.target()
        return self._function


class Registry:
    """Tasks by name.

    Attributes:
        tasks: all of them, in the order of their registration.
    """

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}

    def add(self, new: Task) -> None:
        """Take a task in.

        Raises:
            DuplicateTask: there is one with this name.
        """
        name = new.options.name
        old = self.tasks.get(name)
        if old is not None:
            raise DuplicateTask(
                f"there are two tasks named {name!r}: {_place(old.target)} and {_place(new.target)}"
            )
        self.tasks[name] = new

    def task(
        self,
        name: str,
        *,
        run_in: RunIn | None = None,
        guarantee: Guarantee = "at-most-once",
        redelivery_limit: int = 3,
        queue: Literal["classic"] | None = None,
        concurrency: int | None = None,
        timeout: float | None = None,
        pickle: bool = False,
        traceback: bool = False,
        **unknown: Never,
    ) -> Callable[[_Target], _Target]:
        """Register a function, a coroutine function or a class; it stays what it is.

        Args:
            name: 1 to 200 bytes without control characters.
            run_in: ``process`` (default for ``def``), ``thread`` or ``reactor`` (``async def``,
                and only that).
            guarantee: ``at-most-once``, or ``at-least-once``, which tries a call again.
            redelivery_limit: how often, 0 to 1,000; then it goes to the dead letters.
            queue: ``classic`` for an at-least-once task on a broker without quorum queues.
            concurrency: how many calls of it run at once in a worker, 1 to 1,000.
            timeout: the longest that a call may run, in seconds.
            pickle: take and give pickle, where the caller opts in too. Who may send to the
                task's queue can then run any code in the worker.
            traceback: send callers the traceback of what it raises.

        Raises:
            BadTask: an option that can't be, or is none.
            DuplicateTask: the name is taken.
        """
        _check_options(name, unknown)
        _check(name, guarantee, redelivery_limit, queue, concurrency, timeout)

        def register(target: _Target) -> _Target:
            options = TaskOptions(
                name,
                _where(name, target, run_in),
                guarantee,
                redelivery_limit,
                queue,
                concurrency,
                None if timeout is None else float(timeout),
                bool(pickle),
                bool(traceback),
            )
            self.add(Task(options, target))
            return target

        return register


#: The tasks of this process.
registry = Registry()
task = registry.task


def _check_options(name: object, unknown: Mapping[str, object]) -> None:
    if callable(name):
        raise BadTask('a task is given its name: @task("add")')
    if unknown:
        there_are = ", ".join(TaskOptions.__struct_fields__[1:])
        raise BadTask(
            f"task {name!r}: there is no option {next(iter(unknown))!r}; there are {there_are}"
        )


def _check(
    name: str,
    guarantee: str,
    redelivery_limit: int,
    queue: str | None,
    concurrency: int | None,
    timeout: float | None,
) -> None:
    check_task_name(name)
    if guarantee not in get_args(Guarantee):
        raise BadTask(f"task {name!r}: guarantee is at-most-once or at-least-once")
    if not _is_whole(redelivery_limit, 0, MAX_REDELIVERIES):
        raise BadTask(f"task {name!r}: redelivery_limit is 0 to {MAX_REDELIVERIES}")
    if queue not in (None, "classic"):
        raise BadTask(f"task {name!r}: queue is None or classic")
    if concurrency is not None and not _is_whole(concurrency, 1, MAX_CONCURRENCY):
        raise BadTask(f"task {name!r}: concurrency is 1 to {MAX_CONCURRENCY}")
    if timeout is not None:
        try:
            check_timeout(timeout)
        except EncodeError as error:
            raise BadTask(f"task {name!r}: {error}") from None


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _where(name: str, target: Callable[..., Any], run_in: str | None) -> RunIn:
    called = _called(target)
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        raise BadTask(f"task {name!r}: a generator is no task; return a list, or send progress")
    is_async = inspect.iscoroutinefunction(called)
    if run_in is None:
        return "reactor" if is_async else "process"
    if run_in not in get_args(RunIn):
        raise BadTask(f"task {name!r}: run_in is process, thread or reactor")
    if is_async != (run_in == "reactor"):
        word = "an async def runs" if is_async else "only an async def runs"
        raise BadTask(f"task {name!r}: {word} in the reactor")
    return cast(RunIn, run_in)


def _called(target: Any) -> Any:
    """The function that a call runs."""
    if isinstance(target, type):
        return getattr(target, "__call__", None)  # noqa: B004 - the function, not the question
    if inspect.isroutine(target) or not hasattr(type(target), "__call__"):  # noqa: B004
        return target
    return target if hasattr(target, "func") else type(target).__call__


def _signature(name: str, target: Callable[..., Any]) -> inspect.Signature:
    if not callable(target):
        raise BadTask(f"task {name!r}: only functions and classes can be tasks")
    if not isinstance(target, type):
        return _read(name, target)
    called = next(
        (vars(each)["__call__"] for each in target.__mro__ if "__call__" in vars(each)), None
    )
    if called is None:
        raise BadTask(f"task {name!r}: the class needs a method __call__")
    try:
        inspect.signature(target).bind()
    except (TypeError, ValueError):
        raise BadTask(f"task {name!r}: the class is made without arguments") from None
    signature = _read(name, _called(target))
    if not inspect.isfunction(called):
        return signature
    return signature.replace(parameters=[*signature.parameters.values()][1:])


def _read(name: str, function: Any) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        raise BadTask(f"task {name!r}: its parameters can't be read") from None


def _spread(name: str, value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if value is None:
        return (), {}
    if isinstance(value, list | tuple):
        return tuple(value), {}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return (), value
    raise Misfit(f"the task {name!r} takes several things: the body must be an array or an object")


def _place(target: Any) -> str:
    where = getattr(target, "__module__", None)
    what = getattr(target, "__qualname__", repr(target))
    return f"{where}.{what}" if where else str(what)
