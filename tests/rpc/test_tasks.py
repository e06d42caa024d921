"""Tasks under their names, and how a body fills their parameters."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from threading import Barrier, Thread
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twbridge import rpc
from twbridge.errors import BadTask, DuplicateTask
from twbridge.rpc.tasks import Misfit, Registry, Task, TaskOptions, registry, task


def add(a: int, b: int) -> int:
    return a + b


async def wait(seconds: float) -> float:
    return seconds


class Counter:
    """Counts its calls."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.calls = 0

    def __call__(self, step: int) -> int:
        self.calls += step
        return self.calls


class Waiter:
    async def __call__(self) -> str:
        return "waited"


class RegistryTestCase(SynchronousTestCase):
    """A registry of its own, so that the process's stays as it is."""

    def setUp(self) -> None:
        self.registry = Registry()

    def made(self, target: Any, **options: Any) -> Task:
        self.registry.task("t", **options)(target)
        return self.registry.tasks.pop("t")


class DecoratorTests(RegistryTestCase):
    """What ``@task`` takes and refuses."""

    def test_what_is_decorated_stays_what_it_is(self) -> None:
        self.assertIs(self.registry.task("add")(add), add)
        self.assertIs(self.registry.task("count")(Counter), Counter)
        self.assertEqual([*self.registry.tasks], ["add", "count"])

    def test_the_plain_decorator_registers_in_the_process(self) -> None:
        self.addCleanup(registry.tasks.pop, "tests.rpc.add")
        task("tests.rpc.add")(add)
        self.assertIs(registry.tasks["tests.rpc.add"].target, add)

    def test_what_is_not_said_has_a_default(self) -> None:
        self.assertEqual(self.made(add).options, TaskOptions("t"))
        self.assertEqual(
            TaskOptions("t"),
            TaskOptions("t", "process", "at-most-once", 3, None, None, None, False, False),
        )

    def test_options_travel_as_messagepack(self) -> None:
        said = self.made(
            add,
            run_in="thread",
            guarantee="at-least-once",
            redelivery_limit=0,
            queue="classic",
            concurrency=7,
            timeout=3,
            pickle=True,
            traceback=True,
        ).options
        expected = TaskOptions("t", "thread", "at-least-once", 0, "classic", 7, 3.0, True, True)
        self.assertEqual(said, expected)
        data = msgspec.msgpack.encode([said])
        self.assertEqual(msgspec.msgpack.decode(data, type=list[TaskOptions]), [said])

    def test_functions_run_in_a_process_and_coroutines_in_the_reactor(self) -> None:
        for target, where in (
            (add, "process"),
            (wait, "reactor"),
            (Counter, "process"),
            (Waiter, "reactor"),
            (partial(add, 1), "process"),
            (partial(wait, 1.0), "reactor"),
            (Counter(), "process"),
            (Waiter(), "reactor"),
            (Waiter().__call__, "reactor"),
            (len, "process"),
        ):
            self.assertEqual(self.made(target).options.run_in, where, target)
        self.assertEqual(self.made(add, run_in="thread").options.run_in, "thread")
        self.assertEqual(self.made(wait, run_in="reactor").options.run_in, "reactor")

    def test_only_coroutines_run_in_the_reactor_and_only_there(self) -> None:
        for target, where in (
            (add, "reactor"),
            (Counter, "reactor"),
            (wait, "process"),
            (wait, "thread"),
            (Waiter, "thread"),
        ):
            with self.assertRaisesRegex(BadTask, "'t': .*runs in the reactor"):
                self.made(target, run_in=where)

    def test_a_name_is_taken_once(self) -> None:
        self.registry.task("add")(add)
        with self.assertRaisesRegex(
            DuplicateTask, r"'add': tests\.rpc\.test_tasks\.add and .*\.Counter"
        ):
            self.registry.task("add")(Counter)
        self.assertIs(self.registry.tasks["add"].target, add)

    def test_a_bad_name_is_refused(self) -> None:
        names: tuple[Any, ...] = ("", "a" * 201, "a\n", None, add)
        for name in names:
            self.assertRaises(BadTask, self.registry.task, name)

    def test_options_out_of_range_are_refused_and_named(self) -> None:
        for name, value in (
            ("run_in", "fork"),
            ("guarantee", "exactly-once"),
            ("guarantee", None),
            ("redelivery_limit", -1),
            ("redelivery_limit", 1001),
            ("redelivery_limit", True),
            ("redelivery_limit", None),
            ("queue", "quorum"),
            ("concurrency", 0),
            ("concurrency", 1001),
            ("concurrency", 1.5),
            ("timeout", 0),
            ("timeout", -1),
            ("timeout", float("nan")),
            ("timeout", "3"),
        ):
            with self.assertRaisesRegex(BadTask, f"'t': .*{name}"):
                self.made(add, **{name: value})
        self.assertEqual(self.registry.tasks, {})

    def test_an_option_that_is_none_is_told_those_that_are(self) -> None:
        with self.assertRaisesRegex(BadTask, "'t': there is no option 'retries'; .* guarantee, "):
            self.made(add, retries=3)
        for option in TaskOptions.__struct_fields__[1:]:
            self.assertIn(option, inspect.signature(self.registry.task).parameters)

    def test_a_task_without_a_name_is_told_how_it_is_given(self) -> None:
        with self.assertRaisesRegex(BadTask, r'@task\("add"\)'):
            self.registry.task(add)  # type: ignore[arg-type]

    def test_what_can_not_be_called_with_a_body_is_refused(self) -> None:
        def counting() -> Iterator[int]:
            yield 1

        async def waiting() -> AsyncIterator[int]:
            yield 1

        class Silent:
            pass

        class Needy:
            def __init__(self, database: object) -> None:
                pass

            def __call__(self) -> None:
                pass

        class Generating:
            def __call__(self) -> Iterator[int]:
                yield 1

        for target in (counting, waiting, Silent, Needy, Generating, 1, None, "add", Silent()):
            with self.assertRaisesRegex(BadTask, "'t'"):
                self.made(target)

    def test_a_module_of_tasks_imports_no_reactor_and_no_link(self) -> None:
        program = (
            "import sys\n"
            "from twbridge.rpc import task, context, Body, PublicError\n"
            "heavy = ('twisted', 'autobahn', 'txamqp', 'pamqp', 'twbridge.wire')\n"
            "print([each for each in sys.modules if each.startswith(heavy)])\n"
        )
        found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
        self.assertEqual(found.stdout.strip(), b"[]")

    def test_the_facade_has_all_that_it_names(self) -> None:
        for name in rpc.__all__:
            self.assertTrue(hasattr(rpc, name), name)
            self.assertIn(name, dir(rpc))
        self.assertIs(rpc.TimeoutError, rpc.CallTimeout)
        self.assertFalse(hasattr(rpc, "Celery"))


class ParametersTests(RegistryTestCase):
    """How the body fills the parameters."""

    def run_with(self, target: Any, body: Any) -> Any:
        return self.made(target).run(body)

    def test_one_parameter_gets_the_body_whole(self) -> None:
        def echo(value: Any) -> Any:
            return value

        def echo_named(*, value: Any = 7) -> Any:
            return value

        for body in (None, 0, [1, 2], {"value": 1}, "a", b"a"):
            self.assertEqual(self.run_with(echo, body), body)
            self.assertEqual(self.run_with(echo_named, body), body)

    def test_several_get_an_array_by_position_or_an_object_by_name(self) -> None:
        for body in ([1, 2], (1, 2), {"a": 1, "b": 2}, {"b": 2, "a": 1}):
            self.assertEqual(self.run_with(add, body), 3)

    def test_defaults_are_kept(self) -> None:
        def area(width: int = 2, height: int = 3) -> int:
            return width * height

        for body, result in ((None, 6), ([], 6), ({}, 6), ([5], 15), ({"height": 5}, 10)):
            self.assertEqual(self.run_with(area, body), result)

    def test_no_parameter_takes_null(self) -> None:
        def seven() -> int:
            return 7

        self.assertEqual(self.run_with(seven, None), 7)
        bodies: tuple[Any, ...] = (0, [], {}, "", False)
        for body in bodies:
            with self.assertRaisesRegex(Misfit, "takes nothing: the body must be null"):
                self.run_with(seven, body)

    def test_variadic_parameters_count_as_several(self) -> None:
        def total(*numbers: int) -> int:
            return sum(numbers)

        def keys(**named: int) -> list[str]:
            return [*named]

        self.assertEqual(self.run_with(total, [1, 2, 3]), 6)
        self.assertEqual(self.run_with(total, None), 0)
        self.assertEqual(self.run_with(keys, {"x": 1, "y": 2}), ["x", "y"])
        for target, body in ((total, 1), (total, {"a": 1}), (keys, [1]), (keys, "a")):
            self.assertRaises(Misfit, self.run_with, target, body)

    def test_what_does_not_fit_is_a_type_error_with_a_sentence(self) -> None:
        for body, sentence in (
            ([1], "missing a required argument: 'b'"),
            ([1, 2, 3], "too many positional"),
            ({"a": 1}, "missing a required argument: 'b'"),
            ({"a": 1, "b": 2, "c": 3}, "unexpected keyword argument 'c'"),
            (None, "missing a required argument"),
            (1, "an array or an object"),
            ("ab", "an array or an object"),
            (b"ab", "an array or an object"),
            ({1: 2}, "an array or an object"),
        ):
            error = self.assertRaises(Misfit, self.run_with, add, body)
            self.assertIsInstance(error, TypeError)
            self.assertIn(sentence, str(error))
            self.assertIn("'t'", str(error))

    def test_a_type_error_of_the_task_is_its_own(self) -> None:
        error = self.assertRaises(TypeError, self.run_with, add, [1, "2"])
        self.assertNotIsInstance(error, Misfit)

    def test_what_has_no_readable_parameters_is_refused(self) -> None:
        self.assertRaises(BadTask, self.made, vars)

    def test_partials_methods_and_builtins_have_parameters_too(self) -> None:
        self.assertEqual(self.run_with(partial(add, 1), 2), 3)
        self.assertEqual(self.run_with("a-b".split, ["-", 1]), ["a", "b"])
        self.assertEqual(self.run_with(len, [1, 2]), 2)

    def test_coroutines_are_given_to_who_runs_them(self) -> None:
        coroutine = self.run_with(wait, 1.5)
        with self.assertRaises(StopIteration) as stopped:
            coroutine.send(None)
        self.assertEqual(stopped.exception.value, 1.5)

    @given(
        st.recursive(
            st.none() | st.integers() | st.text(max_size=3) | st.binary(max_size=3),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3) | st.none(), inner),
            max_leaves=5,
        )
    )
    def test_any_body_fits_or_is_a_misfit(self, body: Any) -> None:
        def none() -> None: ...
        def one(a: Any) -> None: ...
        def some(a: Any, b: Any = 1, *, c: Any = 2) -> None: ...
        def positional(a: Any = 1, /, b: Any = 2) -> None: ...
        def anything(*args: Any, **named: Any) -> None: ...

        for target in (none, one, some, positional, anything):
            try:
                self.assertIsNone(Task(TaskOptions("t"), target).run(body))
            except Misfit as error:
                self.assertTrue(str(error))


class ClassesTests(RegistryTestCase):
    """Of a class there is one instance, made by the first call."""

    def setUp(self) -> None:
        super().setUp()
        Counter.made = 0

    def test_the_instance_is_made_by_the_first_call_and_kept(self) -> None:
        counter = self.made(Counter)
        self.assertEqual(Counter.made, 0)
        self.assertEqual([counter.run(2), counter.run(3)], [2, 5])
        self.assertEqual(Counter.made, 1)

    def test_call_is_what_the_body_fills_however_it_is_defined(self) -> None:
        class Static:
            @staticmethod
            def __call__(a: int, b: int) -> int:
                return a + b

        class OfTheClass:
            @classmethod
            def __call__(cls, a: int, b: int) -> int:
                return a + b

        class Inherited(Counter):
            pass

        for target, body, result in (
            (Static, [1, 2], 3),
            (OfTheClass, [1, 2], 3),
            (Inherited, 4, 4),
        ):
            self.assertEqual(self.made(target).run(body), result)

    def test_a_misfit_makes_no_instance(self) -> None:
        class Pair(Counter):
            def __call__(self, a: int, b: int = 0) -> int:
                return a + b

        self.assertRaises(Misfit, self.made(Pair).run, 5)
        self.assertEqual(Pair.made, 0)

    def test_an_instance_that_could_not_be_made_is_tried_again(self) -> None:
        tries: list[int] = []

        class Shy:
            def __init__(self) -> None:
                tries.append(1)
                if len(tries) == 1:
                    raise OSError("not yet")

            def __call__(self) -> str:
                return "there"

        shy = self.made(Shy)
        self.assertRaises(OSError, shy.run, None)
        self.assertEqual(shy.run(None), "there")

    def test_threads_share_the_one_instance(self) -> None:
        counter, together = self.made(Counter, run_in="thread"), Barrier(4)

        def run() -> None:
            together.wait()
            counter.run(1)

        threads = [Thread(target=run) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        self.assertEqual(Counter.made, 1)
