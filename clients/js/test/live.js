// A run against a real bridge: node test/live.js URL STREAM QUEUE
//
// Prints a line when the bridge is to be killed and started again, and "done" at the end. Whatever
// is not as it should be ends it with exit code 1.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import WebSocket from "ws";
import { connect } from "../twbridge.js";

const [url, stream, queue] = process.argv.slice(2);
const bridge = connect(url, { WebSocket, timeout: 30_000 });
const told = [];
for (const event of ["gap", "dropped", "error"]) {
  bridge.on(event, (detail) => told.push([event, detail]));
}

/** Waits until something holds. */
async function until(holds, seconds = 20) {
  for (let end = Date.now() + 1000 * seconds; !holds(); await sleep(10)) {
    assert.ok(Date.now() < end, `it did not come true: ${holds}; ${bridge.state}`);
  }
}

// Live: what is published after `ready` arrives, as it was.
const key = `live.${bridge.client}`;
const live = bridge.subscribe(`/topic/${key}`);
await live.ready;
const bodies = ["text", { any: [1, null, "JSON"] }, new Uint8Array([0, 255])];
for (const body of bodies) await bridge.publish(`/topic/${key}`, body, { headers: { h: 1 } });
for await (const message of live) {
  assert.deepEqual(message.body, bodies.shift());
  assert.equal(message.routingKey, key);
  assert.equal(message.headers.h, 1);
  assert.ok(message.properties.message_id.startsWith(`${bridge.client}/`));
  if (!bodies.length) break;
}

// Refusals have their codes.
await assert.rejects(bridge.publish(`/queue/none.${bridge.client}`, 1), { code: "unroutable" });
await assert.rejects(bridge.publish("/nonsense", 1), { code: "bad_destination" });
await assert.rejects(bridge.subscribe(`/amq/queue/none.${bridge.client}`).ready, {
  code: "not_found",
});
await bridge.publish(`/topic/${key}`, "half a pair: \ud83d");
const leave = bridge.on("away", () => assert.fail("the connection was lost"));
await assert.rejects(bridge.publish(`/topic/${key}`, "x".repeat(1_100_000)), { code: "too_large" });
await bridge.publish(`/topic/${key}`, "x".repeat(bridge.welcome.limit - 200));
leave();

// Who can't connect hears why.
for (const [path, client, status] of [
  ["/nothing", undefined, 404],
  ["/ws", "nobody", 400],
]) {
  const lost = connect(new URL(path, url), { WebSocket, client });
  const error = await new Promise((resolve) => lost.on("error", resolve));
  assert.equal(error.code, "not_ready");
  assert.match(error.message, new RegExp(`Unexpected server response: ${status}$`));
  lost.close();
}

// A queue: what is refused comes again, what is acknowledged does not.
const work = `/queue/${queue}`;
const arrived = [];
const first = bridge.subscribe(work, (message) => arrived.push(message), { ack: "manual" });
await first.ready;
for (const body of ["a", "b", "c"]) await bridge.publish(work, body);
await until(() => arrived.length === 3);
assert.deepEqual(arrived.map(({ body, redelivered }) => [body, redelivered]), [
  ["a", false],
  ["b", false],
  ["c", false],
]);
arrived[0].nack();
await until(() => arrived.length === 4);
assert.deepEqual([arrived[3].body, arrived[3].redelivered], ["a", true]);
arrived[3].ack();
arrived[1].ack();
first.unsubscribe();
for await (const message of bridge.subscribe(work, { ack: "client" })) {
  assert.deepEqual([message.body, message.redelivered], ["c", true]);
  message.ack();
  break;
}

// A stream, and a message of the queue in somebody's hands, over the end of the bridge.
const log = `/stream/${stream}`;
const numbers = [];
const reading = (async () => {
  for await (const { json, offset } of bridge.subscribe(log, { from: "first" })) {
    numbers.push([json, offset]);
    if (json === 9) break;
  }
})();
for (const number of [0, 1, 2, 3, 4]) await bridge.publish(log, number);
await until(() => numbers.length === 5);
arrived.length = 0;
const second = bridge.subscribe(work, (message) => arrived.push(message), { ack: "manual" });
await second.ready;
await bridge.publish(work, "held");
await until(() => arrived.length === 1);

console.log("kill");
await until(() => bridge.state === "server-away");
const waiting = [5, 6, 7, 8, 9].map((number) => bridge.publish(log, number));
console.log("start");
await Promise.all(waiting);
await reading;
const order = (a, b) => a[0] - b[0];
assert.deepEqual(numbers.slice(0, 5), [0, 1, 2, 3, 4].map((number) => [number, number]));
assert.deepEqual(numbers.slice(5).map(([, offset]) => offset), [5, 6, 7, 8, 9]);
assert.deepEqual([...numbers].sort(order).map(([number]) => number), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
await until(() => arrived.length === 2);
assert.deepEqual([arrived[1].body, arrived[1].redelivered], ["held", true]);
assert.equal(arrived[0].ack(), false);
assert.equal(arrived[1].ack(), true);
second.unsubscribe();
assert.deepEqual(told, []);
bridge.close();
console.log("done");
