"""A worker: one request after the other, and what becomes of each when something goes wrong."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from tests.wsgi.worker_case import OK, FakeBridge, FakeCrew, WsgiWorkerCase, request
from twbridge.amqp import Queue
from twbridge.errors import LoadError, Unroutable
from twbridge.rpc.lifetime import StartError
from twbridge.wsgi.messages import Accepted, Cancel, Credit, Failed, Part, Start, Upload


class WorkerTests(WsgiWorkerCase):
    """What it does with requests."""

    def test_a_request_runs_and_its_answer_goes_back(self) -> None:
        _, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1"))
        self.assertEqual(crew.all[0].heard, [request()])
        crew.all[0].end()
        self.network.pump()
        self.assertEqual(bridge.got, {"1": [OK]})

    def test_one_that_runs_leaves_the_others_to_other_workers(self) -> None:
        _, crew = self.served(lanes=2)
        bridge = self.bridge()
        for id in "123":
            self.result(bridge.ask(id))
        self.assertEqual(len(crew.busy), 2)
        self.assertEqual(self.waiting(), 1)
        crew.all[0].end()
        self.network.pump()
        self.assertEqual((len(crew.busy), self.waiting()), (2, 0))

    def test_it_says_that_it_has_it_where_the_answer_takes_a_while(self) -> None:
        _, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1"))
        self.assertEqual(bridge.got, {})
        self.pass_time(0.15)
        self.assertEqual(bridge.got, {"1": [Accepted("w1")]})
        self.pass_time(0.5)
        crew.all[0].end()
        self.network.pump()
        self.assertEqual(bridge.got, {"1": [Accepted("w1"), OK]})

    def test_what_may_not_run_twice_is_told_before_it_runs(self) -> None:
        _, crew = self.served()
        bridge = self.bridge()
        for number, method in enumerate(("GET", "HEAD", "OPTIONS", "POST", "PATCH", "GETX")):
            self.result(bridge.ask(method, request(method=method)))
            told = [Accepted("w1")] if number > 2 else None
            self.assertEqual(bridge.got.get(method), told, method)
            crew.all[0].end()
            self.network.pump()

    def test_pieces_go_both_ways(self) -> None:
        _, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1", request(method="POST", more=True, length=None)))
        lane = crew.all[0]
        lane.say(Start(200, "OK", [], b"a", True))
        self.network.pump()
        self.result(bridge.tell("1", Upload(1, b"b", False)))
        self.result(bridge.tell("1", Credit(5)))
        self.assertEqual(lane.heard[1:], [Upload(1, b"b", False), Credit(5)])
        lane.end(Part(1, b"c", False))
        self.network.pump()
        self.assertEqual(bridge.got["1"][2:], [Part(1, b"c", False)])
        self.result(bridge.tell("1", Credit(5)))

    def test_what_is_no_request_is_dropped(self) -> None:
        _, crew = self.served()
        link = self.link()
        self.result(link.publish("", "twbridge.wsgi.app", b"nonsense"))
        self.pass_time(0.1)
        self.assertEqual((crew.busy, self.waiting()), ([], 0))

    def test_a_look_whether_it_is_there_is_no_request(self) -> None:
        _, crew = self.served()
        self.result(self.link().publish("", "twbridge.wsgi.app", b"", mandatory=True))
        self.pass_time(0.1)
        self.assertEqual((crew.busy, self.waiting()), ([], 0))

    def test_a_word_for_an_unknown_request_is_ignored(self) -> None:
        _, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1"))
        self.pass_time(0.15)
        bridge.control["2"] = bridge.control["1"]
        self.result(bridge.tell("2", Cancel("gone")))
        self.assertEqual(crew.all[0].heard, [request()])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_nor_does_the_application_hear_what_is_none(self) -> None:
        _, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1"))
        self.pass_time(0.15)
        self.result(bridge.tell("1", request(path="/other")))
        self.result(bridge.link.publish("", bridge.control["1"], b"x", {"correlation_id": "1"}))
        self.network.pump()
        self.assertEqual(crew.all[0].heard, [request()])

    def test_it_stops_looking_when_there_is_nothing_to_look_at(self) -> None:
        worker, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1"))
        crew.all[0].end()
        self.pass_time(1.5)
        self.assertFalse(worker._running._sweeps.running)
        self.result(bridge.ask("2"))
        self.pass_time(0.15)
        self.assertEqual(bridge.got["2"], [Accepted("w1")])


class FetchingTests(WsgiWorkerCase):
    """How many requests it has at a time."""

    def warm(self, lanes: int = 1) -> None:
        """The application has been fast."""
        _, self.crew = self.served(lanes)
        self.requests = self.bridge()
        for number in range(12):
            self.result(self.requests.ask(f"warm-{number}"))
            self.crew.busy[0].end()
            self.network.pump()
        self.pass_time(0.1)

    def test_while_the_application_is_fast_the_next_request_is_there_already(self) -> None:
        self.warm()
        for id in "123":
            self.result(self.requests.ask(id))
        self.assertEqual(self.waiting(), 1)
        self.crew.all[0].end()
        self.assertEqual(self.requests.got.get("2"), None)
        self.assertEqual(len(self.crew.busy), 1)

    def test_one_that_waits_in_vain_is_given_back_once(self) -> None:
        self.warm()
        self.result(self.requests.ask("1"))
        self.result(self.requests.ask("2"))
        self.assertEqual(self.waiting(), 0)
        self.pass_time(0.2)
        self.assertEqual(self.waiting(), 1)
        _, other = self.served()
        self.assertEqual(len(other.busy), 1)
        other.all[0].end()
        self.network.pump()
        self.assertEqual(self.requests.got["2"], [OK])
        self.crew.all[0].end()
        self.network.pump()
        self.assertEqual(self.requests.got["1"][-1], OK)

    def test_one_that_was_given_back_has_less_time(self) -> None:
        self.warm()
        self.result(self.requests.ask("1"))
        self.result(self.requests.ask("2", request(timeout=1.0)))
        self.pass_time(1.2)
        self.assertEqual(self.waiting(), 0)

    def test_it_goes_on_fetching_after_it_has_given_back(self) -> None:
        self.warm(lanes=2)
        for number in range(8):
            self.result(self.requests.ask(f"{number}"))
        self.pass_time(0.3)
        self.assertEqual(self.waiting(), 6)
        for _ in range(8):
            self.until(lambda: self.crew.busy)
            self.crew.busy[0].end()
        self.network.pump()
        self.assertEqual([self.requests.got[f"{number}"][-1] for number in range(8)], [OK] * 8)
        self.assertEqual(self.waiting(), 0)

    def test_when_it_is_fast_again_it_fetches_more_again(self) -> None:
        self.test_one_that_waits_in_vain_is_given_back_once()
        self.die(self._workers[-1])
        self.pass_time(1.1)
        for number in range(20):
            self.result(self.requests.ask(f"again-{number}"))
            self.until(lambda: self.crew.busy)
            self.crew.busy[0].end()
        self.pass_time(0.1)
        for id in "abc":
            self.result(self.requests.ask(id))
        self.assertEqual(self.waiting(), 1)

    def test_a_queue_whose_worker_is_busy_for_long_stays(self) -> None:
        self.warm()
        self.result(self.requests.ask("1"))
        self.result(self.requests.ask("2"))
        self.network.advance(12)
        self.assertEqual(self.waiting(), 1)

    def test_without_a_process_all_wait_in_the_queue(self) -> None:
        _, crew = self.served(lanes=2)
        bridge = self.bridge()
        self.kill_all(crew)
        for id in "123":
            self.result(bridge.ask(id))
        self.pass_time(0.3)
        self.assertEqual(self.waiting(), 3)
        for _ in range(2):
            crew.revive()
        for _ in range(3):
            self.until(lambda: crew.busy)
            crew.busy[0].end()
        self.network.pump()
        self.assertEqual([bridge.got[id][-1] for id in "123"], [OK] * 3)

    def test_or_go_to_a_worker_that_has_one(self) -> None:
        _, crew = self.served()
        bridge = self.bridge()
        self.kill_all(crew)
        self.result(bridge.ask("1"))
        _, other = self.served()
        self.until(lambda: other.busy, 0.2)

    def test_where_no_worker_has_one_the_queue_goes_until_one_has(self) -> None:
        _, crew = self.served()
        bridge = self.bridge()
        self.kill_all(crew)
        self.result(bridge.ask("1"))
        self.network.advance(8)
        self.error(bridge.ask("2"), Unroutable)
        crew.revive()
        self.network.advance(1)
        self.result(bridge.ask("3"))
        self.assertEqual([each.work and each.work.id for each in crew.busy], ["3"])

    def kill_all(self, crew: FakeCrew) -> None:
        """All processes end, and none can be started."""
        for lane in list(crew.all):
            if lane.work is None:
                crew.free.remove(lane)
            crew.die(lane)


class CancelTests(WsgiWorkerCase):
    """Nobody waits any more."""

    def test_past_its_deadline_it_is_ended_at_once(self) -> None:
        _, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1"))
        self.result(bridge.ask("2"))
        self.pass_time(0.15)
        self.result(bridge.tell("1", Cancel("deadline")))
        self.assertEqual([each.id for each in crew.ended], ["1"])
        self.assertEqual(len(crew.busy), 1)
        self.assertEqual(self.waiting(), 0)

    def test_when_the_client_has_left_the_application_is_told_and_may_end(self) -> None:
        _, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1", request(timeout=2.0)))
        self.pass_time(0.15)
        self.result(bridge.tell("1", Cancel("gone")))
        self.assertEqual(crew.all[0].heard[1:], [Cancel("gone")])
        self.pass_time(1.8)
        self.assertEqual(crew.ended, [])
        crew.all[0].end()
        self.network.pump()
        self.assertEqual(bridge.got["1"], [Accepted("w1")])
        self.assertEqual(self.waiting(), 0)

    def test_but_not_for_ever(self) -> None:
        _, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1", request(timeout=2.0)))
        self.pass_time(0.15)
        self.result(bridge.tell("1", Cancel("gone")))
        self.pass_time(2.1)
        self.assertEqual([each.id for each in crew.ended], ["1"])

    def test_one_that_waits_here_is_dropped(self) -> None:
        _, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1"))
        self.pass_time(0.2)
        crew.die(crew.all[0])
        self.result(bridge.tell("1", Cancel("gone")))
        crew.revive()
        self.assertEqual((crew.busy, self.waiting()), ([], 0))

    def test_when_the_bridge_is_gone_what_it_asked_for_ends(self) -> None:
        _, crew = self.served(lanes=2)
        bridge = self.bridge()
        for id in "12":
            self.result(bridge.ask(id, request(timeout=2.0)))
        crew.all[0].say(Start(200, "OK", [], b"a", True))
        self.network.pump()
        stopped = bridge.link.stop()
        self.network.advance(0.5)
        self.successResultOf(stopped)
        crew.all[0].say(Part(1, b"b", True))
        self.network.pump()
        self.assertEqual(crew.all[0].heard[1:], [Cancel("gone")])
        crew.all[0].say(Part(2, b"c", True))
        self.pass_time(2.1)
        self.assertEqual([each.id for each in crew.ended], ["1", "2"])

    def test_also_where_the_application_waits_and_says_nothing(self) -> None:
        _, crew = self.served(lanes=2)
        bridge = self.bridge()
        self.result(bridge.ask("1", request(method="POST", more=True, length=None)))
        self.result(bridge.ask("2"))
        crew.all[1].say(Start(200, "OK", [], b"a", True))
        self.pass_time(0.2)
        stopped = bridge.link.stop()
        self.network.advance(8)
        self.successResultOf(stopped)
        self.assertEqual([each.heard[1:] for each in crew.all], [[], []])
        self.network.advance(3)
        self.assertEqual([each.heard[1:] for each in crew.all], [[Cancel("gone")]] * 2)

    def test_a_bridge_that_is_there_is_told_seldom_that_it_runs(self) -> None:
        _, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1", request(timeout=60.0)))
        self.pass_time(9.9)
        self.assertEqual(bridge.got["1"], [Accepted("w1")])
        self.network.advance(26)
        self.assertEqual(bridge.got["1"], [Accepted("w1")] * 4)
        self.assertEqual(crew.all[0].heard[1:], [])
        crew.all[0].say(Start(200, "OK", [], b"a", True))
        self.network.advance(9)
        self.assertEqual(len(bridge.got["1"]), 5)

    def test_one_of_which_nobody_has_heard_for_long_is_ended(self) -> None:
        _, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1", request(timeout=2.0)))
        self.network.advance(90)
        self.assertEqual(crew.ended, [])
        self.network.advance(3)
        self.assertEqual([each.id for each in crew.ended], ["1"])
        self.assertEqual(bridge.got["1"][-1], Failed("deadline", "nothing was heard of it"))

    def test_what_it_has_waited_in_the_queue_is_not_taken_from_its_time_to_run(self) -> None:
        _, crew = self.served(lanes=2)
        bridge = self.bridge()
        for id in "12":
            self.result(bridge.ask(id, request(timeout=20.0), expiration="1000"))
        self.pass_time(0.15)
        self.result(bridge.tell("2", Cancel("gone")))
        self.network.advance(19)
        self.assertEqual(crew.ended, [])
        self.network.advance(2)
        self.assertEqual([each.id for each in crew.ended], ["2"])
        self.network.advance(85)
        self.assertEqual(len(crew.ended), 1)
        self.network.advance(10)
        self.assertEqual([each.id for each in crew.ended], ["2", "1"])


class LossTests(WsgiWorkerCase):
    """A process, a worker or a connection is gone."""

    def test_with_its_process_a_request_is_lost(self) -> None:
        _, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1", request(method="POST")))
        crew.die(crew.all[0], "it was killed by SIGKILL")
        self.network.pump()
        lost = Failed("lost", "it was killed by SIGKILL")
        self.assertEqual(bridge.got["1"], [Accepted("w1"), lost])
        self.assertEqual(self.waiting(), 0)

    def test_what_only_reads_is_run_once_more(self) -> None:
        _, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1"))
        crew.die(crew.all[0])
        self.network.pump()
        crew.revive()
        self.network.pump()
        self.assertEqual(len(crew.busy), 1)
        crew.die(crew.all[0], "again")
        self.network.pump()
        self.assertEqual(bridge.got["1"], [Failed("lost", "again")])

    def runs_again(self, crew: FakeCrew, bridge: FakeBridge) -> None:
        """It runs in the next process, and is done with."""
        crew.revive()
        self.until(lambda: crew.busy)
        crew.all[0].end()
        self.network.pump()
        self.assertEqual(bridge.got["1"][-1], OK)
        self.assertEqual(self.waiting(), 0)

    def test_what_its_process_has_not_read_is_given_back(self) -> None:
        _, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1", request(method="POST")))
        crew.die(crew.all[0], is_untouched=True)
        self.pass_time(0.1)
        self.assertEqual(bridge.got["1"], [Accepted("w1")])
        self.runs_again(crew, bridge)

    def test_also_what_the_broker_has_taken_back_meanwhile(self) -> None:
        worker, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1", request(method="POST")))
        self.cut_off([worker._link._publishing, *worker._link._consuming])
        crew.die(crew.all[0], is_untouched=True)
        self.network.advance(5)
        self.runs_again(crew, bridge)

    def test_but_nothing_that_nobody_waits_for(self) -> None:
        _, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1", request(method="POST")))
        self.result(bridge.tell("1", Cancel("gone")))
        crew.die(crew.all[0], is_untouched=True)
        self.pass_time(0.1)
        self.assertEqual(self.waiting(), 0)

    def test_what_has_begun_to_answer_is_not(self) -> None:
        _, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1"))
        crew.all[0].say(Start(200, "OK", [], b"", True))
        crew.die(crew.all[0], "gone")
        self.network.pump()
        self.assertEqual(bridge.got["1"][1:], [Failed("lost", "gone")])

    def test_when_a_worker_dies_what_only_reads_is_run_by_another(self) -> None:
        first, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1"))
        self.assertEqual(len(crew.busy), 1)
        _, other = self.served()
        self.die(first)
        self.assertEqual(len(other.busy), 1)
        other.all[0].end()
        self.network.pump()
        self.assertEqual(bridge.got["1"][-1], OK)
        self.assertEqual(self.waiting(), 0)

    def test_and_everything_else_is_lost(self) -> None:
        first, _ = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1", request(method="POST")))
        _, other = self.served()
        self.die(first)
        self.assertEqual(other.busy, [])
        self.assertEqual(bridge.got["1"][-1], Failed("lost", "the worker that had it has died"))

    def test_a_request_kills_two_workers_at_most(self) -> None:
        workers = [self.served()[0] for _ in range(3)]
        bridge = self.bridge()
        self.result(bridge.ask("1"))
        died = 0
        while any(len(each._running) for each in workers) and died < 3:
            died += 1
            dying = next(each for each in workers if len(each._running))
            workers.remove(dying)
            self.die(dying)
        self.assertEqual(died, 2)
        self.assertEqual(bridge.got["1"][-1], Failed("lost", "the worker that had it has died"))

    def test_a_lost_connection_loses_no_answer(self) -> None:
        worker, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1", request(method="POST")))
        self.lose(worker)
        crew.all[0].end()
        self.network.advance(5)
        self.assertEqual(bridge.got["1"], [Accepted("w1"), OK])
        self.assertEqual((crew.busy, self.waiting()), ([], 0))

    def test_nor_does_what_runs_run_twice(self) -> None:
        worker, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1", request(method="POST")))
        self.lose(worker)
        self.network.advance(5)
        self.assertEqual(len(crew.busy), 1)
        crew.all[0].end()
        self.network.pump()
        self.assertEqual(bridge.got["1"][-1], OK)
        self.result(bridge.ask("2"))
        self.until(lambda: crew.busy)
        self.assertEqual(self.waiting(), 0)

    def test_what_may_have_been_lost_with_it_ends(self) -> None:
        worker, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1"))
        crew.all[0].end()
        self.network.pump()
        self.result(bridge.ask("2"))
        crew.all[0].say(Start(200, "OK", [], b"a", True))
        self.network.pump()
        self.lose(worker)
        self.network.advance(5)
        lost = Failed("lost", "the connection of its worker to the broker was lost")
        self.assertEqual(bridge.got["1"], [OK, lost])
        self.assertEqual(bridge.got["2"][1:], [lost])
        self.assertEqual(crew.all[0].heard[1:], [Cancel("gone")])
        crew.all[0].end()
        self.network.pump()
        self.assertEqual(bridge.got["2"][1:], [lost])
        self.result(bridge.ask("3"))
        self.until(lambda: crew.busy)

    def test_also_with_one_that_is_lost_after_the_other(self) -> None:
        worker, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1", request(method="POST")))
        self.cut_off(worker._link._consuming)
        self.network.pump()
        self.assertEqual(worker._link.state, "connecting")
        crew.all[0].end()
        self.cut_off([worker._link._publishing])
        self.network.advance(5)
        lost = Failed("lost", "the connection of its worker to the broker was lost")
        self.assertEqual(bridge.got["1"], [Accepted("w1"), OK, lost])

    def test_bridges_hear_of_the_new_control_queue(self) -> None:
        worker, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1"))
        self.pass_time(0.15)
        before = bridge.control["1"]
        self.lose(worker)
        self.network.advance(5)
        self.assertNotIn(bridge.control["1"], (before, ""))
        self.result(bridge.tell("1", Credit(1)))
        self.assertEqual(crew.all[0].heard[1:], [Credit(1)])


class LifeTests(WsgiWorkerCase):
    """Its beginning and its end."""

    def test_it_begins_when_the_application_is_there(self) -> None:
        worker, crew = self.served(serves=False)
        crew.starting = Deferred()
        started = worker.start()
        self.network.advance(1)
        self.assertNoResult(started)
        crew.starting.errback(LoadError("it has a mistake"))
        self.assertEqual(str(self.failureResultOf(started, LoadError).value), "it has a mistake")

    def test_it_says_that_the_broker_refuses_the_queue(self) -> None:
        self.result(
            self.link().consume(
                Queue("twbridge.wsgi.app", exclusive=True, auto_delete=False), print, no_ack=True
            )
        )
        worker, _ = self.served(serves=False)
        started = worker.start()
        self.network.pump()
        error = self.failureResultOf(started, StartError).value
        self.assertIn("the broker refuses the queue twbridge.wsgi.app: ", str(error))

    def test_it_ends_when_what_runs_has_ended(self) -> None:
        worker, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1"))
        self.result(bridge.ask("2"))
        stopped = worker.stop()
        self.network.advance(2)
        self.assertNoResult(stopped)
        self.assertEqual(self.waiting(), 1)
        crew.all[0].end()
        self.network.advance(2)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertTrue(crew.stopped)
        self.assertEqual(bridge.got["1"][-1], OK)

    def test_what_waits_is_given_back(self) -> None:
        worker, crew = self.served()
        bridge = self.bridge()
        (lane,) = crew.all
        crew.free.remove(lane)
        crew.die(lane)
        self.result(bridge.ask("1", request(method="POST")))
        stopped = worker.stop()
        self.network.advance(2)
        self.assertIsNone(self.successResultOf(stopped))
        _, other = self.served()
        self.assertEqual(len(other.busy), 1)

    def test_what_does_not_end_is_lost(self) -> None:
        worker, crew = self.served(drain=3.0)
        bridge = self.bridge()
        self.result(bridge.ask("1"))
        stopped = worker.stop()
        self.network.advance(2)
        self.assertNoResult(stopped)
        self.network.advance(4)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(bridge.got["1"][-1], Failed("lost", "its worker was told to end"))
        self.assertTrue(crew.stopped)

    def test_in_the_drain_no_process_is_replaced(self) -> None:
        worker, crew = self.served()
        bridge = self.bridge()
        self.result(bridge.ask("1"))
        stopped = worker.stop()
        self.network.pump()
        self.assertTrue(crew.is_draining)
        self.assertFalse(crew.stopped)
        crew.all[0].end()
        self.network.advance(2)
        self.successResultOf(stopped)

    def test_processes_that_end_in_order_are_waited_for_unless_there_is_a_hurry(self) -> None:
        worker, crew = self.served()
        crew.stopping = Deferred()
        stopped = worker.stop()
        self.network.advance(2)
        self.assertTrue(crew.stopped)
        self.assertFalse(crew.killed)
        self.assertNoResult(stopped)
        worker.hurry()
        self.assertTrue(crew.killed)
        self.network.advance(2)
        self.successResultOf(stopped)

    def test_the_queue_goes_with_the_last_worker(self) -> None:
        worker, _ = self.served()
        bridge = self.bridge()
        self.result(worker.stop())
        self.network.advance(6)
        self.error(bridge.ask("1"), Unroutable)

    def test_it_can_be_stopped_before_the_broker_is_there(self) -> None:
        worker, _ = self.served(serves=False)
        worker.start()
        stopped = worker.stop()
        self.network.advance(15)
        self.assertIsNone(self.successResultOf(stopped))
