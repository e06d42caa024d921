"""Workers of applications come, die and go, and so do clients and brokers."""

from __future__ import annotations

import time
from collections import Counter

from twisted.internet.defer import Deferred

from tests.integration.rabbitmq import in_thread
from tests.integration.wsgi_cases import ONE, PLAIN, WsgiCase, children, kill, lives, parent
from tests.integration.wsgi_client import Answer, Http, head

MIB = 1 << 20
#: Seconds that the queue of a mount outlives its workers, and somebody to notice.
GONE = 12.0
#: Seconds of an answer that nothing is waited for, on a busy machine.
AT_ONCE = 3.0
#: Seconds in which all are back after the broker is.
BACK = 15.0
MOUNTS = dict.fromkeys(("named", "two", "shared"), "")
SERVED = (("two", PLAIN, "--processes", "2"),)
RULE = '[[allow]]\noperation = "subscribe"\ndestination = "/topic/news"\n'


class Life(WsgiCase):
    """What clients get, and what runs, when somebody dies."""

    async def test_workers_end_die_and_share_and_without_one_it_is_503(self) -> None:
        """Before the first has come, and soon after the last one has gone."""
        hello = self.path("named", "/hello")
        begin = time.monotonic()
        self.assertEqual((await self.ask("GET", hello)).status, 503)
        self.assertLess(time.monotonic() - begin, AT_ONCE)

        await self.drained()
        begin, ends = time.monotonic(), []

        def told(answer: Answer) -> Answer:
            ends.append(time.monotonic())
            return answer

        late = self.ask("POST", self.path("named", "/sleep?name=late")).addCallback(told)
        await self.shared_and_killed()
        self.assertEqual((await late).status, 503)
        self.assertLess(ends[0] - begin, GONE)
        await self.worker("named", *ONE)
        self.assertEqual(await self.texts([self.ask("GET", hello)]), ["Hello"])
        self.assertEqual(self.notes("sleep", "late"), [])

    async def drained(self) -> None:
        """One is told to end: what runs ends, and what waits is for another, which ends then."""
        first = await self.worker("named", *ONE)
        runs = self.ask("GET", self.path("named", "/sleep?name=runs&seconds=2"))
        await self.noted("sleep", "runs")
        waits = [
            self.ask("POST", self.path("named", f"/sleep?name=waits{number}"))
            for number in range(4)
        ]
        last = self.begun("named", PLAIN, *ONE)
        self.addCleanup(in_thread, last.close)
        ended = in_thread(first.stop)
        self.assertEqual(await self.texts([runs, *waits]), ["slept"] * 5)
        self.assertEqual(await ended, 0)
        pids = {words[3] for words in self.notes("sleep") if words[1] != "runs"}
        self.assertEqual(pids, {str(pid) for pid in children(last.process.pid)})

        self.assertEqual(await in_thread(last.stop), 0)

    async def shared_and_killed(self) -> None:
        """Three share the load. What another one may run again it runs when one is killed; of all
        else the client is told.
        """
        workers = [self.begun("shared", PLAIN, *ONE) for _ in range(3)]
        for worker in workers:
            self.addCleanup(in_thread, worker.close)
        for worker in workers:
            await in_thread(worker.serves)
        pids = await self.texts(
            self.ask("GET", self.path("shared", "/pid?seconds=0.3")) for _ in range(12)
        )
        self.assertEqual(len(Counter(pids)), 3, pids)
        self.assertGreater(min(Counter(pids).values()), 1, pids)

        post = self.ask("POST", self.path("shared", "/sleep?name=post&seconds=20"))
        ((_, _, _, pid),) = await self.noted("sleep", "post")
        kill(parent(int(pid)))
        answer = await post
        self.assertEqual(answer.status, 502)
        self.assertIn("may have run", answer.text)
        await self.until(lambda: not lives(int(pid)))

        get = self.ask("GET", self.path("shared", "/sleep?name=get&seconds=1.5"))
        ((_, _, _, pid),) = await self.noted("sleep", "get")
        kill(parent(int(pid)))
        self.assertEqual(await self.texts([get]), ["slept"])
        pids = [words[3] for words in self.notes("sleep", "get")]
        self.assertEqual(len(set(pids)), 2, pids)
        self.assertEqual(len(self.notes("sleep", "post")), 1)

    async def test_a_child_that_is_killed_is_replaced_and_its_client_told(self) -> None:
        """But what does no harm twice is run again."""
        post = self.ask("POST", self.path("two", "/sleep?name=post&seconds=20"))
        ((_, _, _, pid),) = await self.noted("sleep", "post")
        before = children(self.workers[0].process.pid)
        kill(int(pid))
        answer = await post
        self.assertEqual(answer.status, 502)
        self.assertIn("may have run", answer.text)
        await self.until(lambda: len(children(self.workers[0].process.pid) - before) == 1)
        self.assertEqual(len(self.notes("sleep", "post")), 1)

        get = self.ask("GET", self.path("two", "/deadly?name=again"))
        self.assertEqual(await self.texts([get]), ["alive"])
        pids = {words[2] for words in self.notes("deadly", "again")}
        self.assertEqual(len(pids), 2)
        post = self.ask("POST", self.path("two", "/deadly?name=once"))
        self.assertEqual((await post).status, 502)
        self.assertEqual(len(self.notes("deadly", "once")), 1)
        await self.both_serve()

    async def both_serve(self) -> None:
        """Wait until both processes of the application do."""
        pids: set[str] = set()
        while len(pids) < 2:
            asked = [self.ask("GET", self.path("two", "/pid?seconds=0.1")) for _ in range(4)]
            pids = set(await self.texts(asked))

    async def test_a_client_that_leaves_ends_what_is_made_for_it(self) -> None:
        target = self.path("two", "/slowly?count=100000&pause=0.01&name=left")

        def leaves() -> None:
            with Http(self.bridge.port) as http:
                http.request("GET", target)
                assert next(http.pieces(http.head())) == b"0\n"

        def leaves_uploading() -> None:
            with Http(self.bridge.port) as http:
                http.send(head("POST", self.path("two", "/digest"), {"Content-Length": MIB}))
                http.send(bytes(MIB // 2))

        await in_thread(leaves)
        ((_, _, given),) = await self.noted("left", "closed")
        self.assertLess(int(given), 10_000)
        await in_thread(leaves_uploading)
        ((_, _, read),) = await self.noted("digest", "aborted")
        self.assertLessEqual(int(read), MIB // 2)
        await self.both_serve()

    async def test_without_rules_and_mounts_a_worker_names_its_own_and_else_none_does(
        self,
    ) -> None:
        starting = [
            Deferred.fromCoroutine(self.another("--amqp-url", self.node.url(), toml=toml))
            for toml in ("", RULE)
        ]
        opened, ruled = [await each for each in starting]
        two, nobody = self.path("two", "/hello"), self.path("nobody")
        self.assertEqual(await in_thread(opened.get, two), (200, "Hello"))
        answer = await in_thread(opened.get, f"{nobody}/hello")
        self.assertEqual(answer.status, 404)
        self.assertIn(f"no worker serves {nobody}.", answer.body)
        answer = await in_thread(ruled.get, two)
        self.assertEqual(answer.status, 404)

    def restart(self) -> None:
        """Kill the broker, and have it back."""
        self.node.kill()
        self.node.start()

    async def test_a_broker_that_was_restarted(self) -> None:
        lost = self.ask("GET", self.path("two", "/sleep?name=lost&seconds=5"))
        await self.noted("sleep", "lost")
        ended = in_thread(self.restart)
        lost.addErrback(lambda _: None)
        answer = await lost
        self.assertTrue(answer is None or answer.status == 502, answer)
        await ended
        deadline = time.monotonic() + BACK
        for mount, *_ in self.served:
            target, statuses = self.path(mount, "/hello"), [0]
            while statuses[-1] != 200 and time.monotonic() < deadline:
                statuses.append((await self.ask("GET", target)).status)
            self.assertLessEqual(set(statuses[1:]), {200, 502, 503})
            self.assertEqual(statuses[-1], 200)
            hello = [self.ask("GET", target) for _ in range(10)]
            self.assertEqual(await self.texts(hello), ["Hello"] * 10)
