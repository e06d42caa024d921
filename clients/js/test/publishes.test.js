// Publishing: confirmed, refused, waiting, sent again.

import assert from "node:assert/strict";
import test from "node:test";
import { BridgeError } from "../twbridge.js";
import { scripted, settle } from "./fake.js";

/** What becomes of a promise: "waiting", "done" or the code of its error. */
function outcome(promise) {
  const seen = { now: "waiting" };
  promise.then(
    () => (seen.now = "done"),
    (error) => (seen.now = error.code ?? error),
  );
  return seen;
}

test("it settles with the broker's confirm", async () => {
  const { bridge, socket } = scripted();
  socket.greet();
  const publish = outcome(bridge.publish("/topic/news.eu", { hello: "you" }));
  await settle();
  assert.equal(publish.now, "waiting");
  const { id, ...frame } = socket.take("publish");
  assert.deepEqual(frame, { op: "publish", destination: "/topic/news.eu", body: { hello: "you" } });
  socket.say({ op: "published", id });
  await settle();
  assert.equal(publish.now, "done");
});

test("headers, properties and mandatory go along", async () => {
  const { bridge, socket } = scripted();
  socket.greet();
  const options = { headers: { a: 1 }, properties: { priority: 3 }, mandatory: false };
  const publish = bridge.publish("/queue/q", "x", options);
  const { id, ...frame } = socket.confirm();
  await publish;
  assert.deepEqual(frame, { op: "publish", destination: "/queue/q", body: "x", ...options });
});

test("bytes of every kind go as base64", async () => {
  const { bridge, socket } = scripted();
  socket.greet();
  const whole = new Uint8Array([0, 255, 128, 10]);
  for (const [body, expected] of [
    [whole, "AP+ACg=="],
    [whole.buffer, "AP+ACg=="],
    [whole.subarray(1, 3), "/4A="],
    [new DataView(whole.buffer, 2), "gAo="],
    [new Uint16Array([0x0102]), "AgE="],
    [new Uint8Array(), ""],
    [new Uint8Array(100_000), Buffer.alloc(100_000).toString("base64")],
  ]) {
    const publish = bridge.publish("/topic/a", body);
    const frame = socket.confirm();
    await publish;
    assert.equal(frame.base64, expected);
    assert.ok(!("body" in frame));
  }
});

test("any JSON goes as it is, and half a character as a replacement", async () => {
  const { bridge, socket } = scripted();
  socket.greet();
  for (const [body, expected = body] of [
    [null],
    [false],
    [0],
    [""],
    [[1, [2]]],
    ["\\ud800 \n \" \\\\u0041 👋"],
    ["x\ud800y", "x\ufffdy"],
    [{ "\udfff": ["\\\ud800"] }, { "\ufffd": ["\\\ufffd"] }],
  ]) {
    const publish = bridge.publish("/topic/a", body);
    assert.deepEqual(socket.confirm().body, expected);
    await publish;
  }
});

test("what is no JSON is refused, and leaves nothing behind", async () => {
  const { bridge, socket } = scripted({ pending: 1 });
  socket.greet();
  const circle = {};
  circle.circle = circle;
  const odd = [new Map([[1, 2]]), new Set([1]), new Blob(["x"]), Promise.resolve(1)];
  for (const body of [circle, 1n, undefined, () => 1, Symbol("x"), NaN, Infinity, ...odd]) {
    await assert.rejects(bridge.publish("/topic/a", body), TypeError);
  }
  await assert.rejects(bridge.publish("/topic/a"), TypeError);
  for (const body of [{}, Object.create(null), [], new Date(0), { toJSON: () => "text" }]) {
    const publish = bridge.publish("/topic/a", body);
    socket.confirm();
    await publish;
  }
  const publish = bridge.publish("/topic/a", 1);
  socket.confirm();
  await publish;
});

test("a refusal is an error with its code, and no one else's", async () => {
  const { bridge, socket, told } = scripted();
  socket.greet();
  const one = bridge.publish("/queue/none", 1);
  const two = outcome(bridge.publish("/topic/a", 2));
  socket.refuse("publish", "unroutable", "No queue took the message.");
  await assert.rejects(one, (error) => {
    assert.ok(error instanceof BridgeError && error instanceof Error);
    assert.deepEqual([error.code, error.message], ["unroutable", "No queue took the message."]);
    return true;
  });
  assert.equal(two.now, "waiting");
  assert.deepEqual(told("error"), []);
});

test("what is published before the greeting, or while the server is away, waits", async () => {
  const { bridge, sockets, again } = scripted();
  const one = outcome(bridge.publish("/topic/a", 1));
  sockets[0].greet();
  assert.equal(sockets[0].confirm().body, 1);
  await settle();
  assert.equal(one.now, "done");
  sockets[0].end();
  const two = outcome(bridge.publish("/topic/a", 2));
  const three = outcome(bridge.publish("/topic/a", 3));
  await settle();
  assert.equal(two.now, "waiting");
  await again();
  assert.deepEqual([sockets[1].confirm().body, sockets[1].confirm().body], [2, 3]);
  await settle();
  assert.deepEqual([two.now, three.now], ["done", "done"]);
});

test("what was not confirmed is sent again with the same id, in order, and nothing else", async () => {
  const { bridge, sockets, again } = scripted();
  sockets[0].greet();
  const outcomes = [1, 2, 3, 4].map((body) => outcome(bridge.publish("/topic/a", body)));
  const first = [...sockets[0].sent];
  sockets[0].say({ op: "published", id: first[1].id });
  sockets[0].say({ op: "error", id: first[2].id, code: "nacked", message: "Full." });
  await settle();
  await again();
  assert.deepEqual(sockets[1].sent, [first[0], first[3]]);
  await again();
  assert.deepEqual(sockets[2].sent, [first[0], first[3]]);
  sockets[2].confirm();
  sockets[2].confirm();
  await settle();
  assert.deepEqual(outcomes.map(({ now }) => now), ["done", "done", "nacked", "done"]);
});

test("a connection lost while the broker is away changes nothing", async () => {
  const { bridge, sockets, again } = scripted();
  sockets[0].greet();
  sockets[0].say({ op: "link", state: "down" });
  const publish = outcome(bridge.publish("/topic/a", 1));
  await again(1011);
  sockets[1].say({ op: "link", state: "down" });
  sockets[1].refuse("publish", "not_ready");
  await settle();
  assert.equal(publish.now, "not_ready");
});

test("ids differ, from those of another page of the same client too", () => {
  const client = "0b8f7e34-7f57-4b7c-9a43-3c6f4f3a2b10";
  const ids = new Set();
  for (let page = 0; page < 3; page++) {
    const { bridge, socket } = scripted({ client });
    socket.greet();
    for (let each = 0; each < 3; each++) {
      bridge.publish("/topic/a", 1);
      ids.add(socket.take("publish").id);
    }
  }
  assert.equal(ids.size, 9);
});

test("an id of one's own is taken, once at a time", async () => {
  const { bridge, socket } = scripted();
  socket.greet();
  const first = bridge.publish("/topic/a", 1, { id: "order 7" });
  await assert.rejects(bridge.publish("/topic/a", 1, { id: "order 7" }), { code: "conflict" });
  assert.equal(socket.confirm().id, "order 7");
  await first;
  assert.equal(socket.sent.length, 0);
  const again = bridge.publish("/topic/a", 1, { id: "order 7" });
  socket.confirm();
  await again;
});

test("a bounded number waits", async () => {
  const { bridge, socket } = scripted({ pending: 2 });
  const first = outcome(bridge.publish("/topic/a", 1));
  const second = outcome(bridge.publish("/topic/a", 2));
  await assert.rejects(bridge.publish("/topic/a", 3), { code: "too_many" });
  socket.greet();
  socket.confirm();
  await settle();
  const fourth = outcome(bridge.publish("/topic/a", 4));
  socket.confirm();
  socket.confirm();
  await settle();
  assert.deepEqual([first.now, second.now, fourth.now], ["done", "done", "done"]);
});

test("1000 may wait by default", async () => {
  const { bridge } = scripted();
  const outcomes = [];
  for (let each = 0; each < 1001; each++) outcomes.push(outcome(bridge.publish("/topic/a", each)));
  await settle();
  assert.deepEqual([outcomes[999].now, outcomes[1000].now], ["waiting", "too_many"]);
});

test("a timeout says whether it may have been published", async () => {
  const { bridge, sockets, clock, again, told } = scripted({ timeout: 5000 });
  const never = outcome(bridge.publish("/topic/a", 1));
  await clock.advance(4999);
  assert.equal(never.now, "waiting");
  await clock.advance(1);
  assert.equal(never.now, "not_ready");
  sockets[0].greet();
  assert.deepEqual(sockets[0].sent, []);
  const unconfirmed = outcome(bridge.publish("/topic/a", 2, { timeout: 1000 }));
  const { id } = sockets[0].take("publish");
  await clock.advance(1000);
  assert.equal(unconfirmed.now, "timeout");
  // Its answer comes too late for anybody.
  sockets[0].say({ op: "error", id, code: "nacked", message: "Full." });
  assert.deepEqual(told("error"), []);
  await again();
  assert.deepEqual(sockets[1].sent, []);
});

test("a timeout leaves no timer behind", async () => {
  const { bridge, socket, clock } = scripted({ timeout: 5000 });
  socket.greet();
  const before = clock.pending.length;
  const publish = bridge.publish("/topic/a", 1);
  assert.equal(clock.pending.length, before + 1);
  socket.confirm();
  await publish;
  assert.equal(clock.pending.length, before);
});

test("one that is too large for the server is not sent for ever", async () => {
  const { bridge, sockets, again } = scripted();
  sockets[0].greet();
  const small = outcome(bridge.publish("/topic/a", "x"));
  const large = outcome(bridge.publish("/topic/a", "x".repeat(2000)));
  const medium = outcome(bridge.publish("/topic/a", "x".repeat(500)));
  sockets[0].end(1009);
  await settle();
  assert.deepEqual([small.now, large.now, medium.now], ["waiting", "too_large", "waiting"]);
  const later = outcome(bridge.publish("/topic/a", "x".repeat(3000)));
  await again(1009); // `end` is for nothing: that socket is gone
  assert.deepEqual(sockets[1].all("publish").map(({ body }) => body.length), [1, 500, 3000]);
  assert.equal(later.now, "waiting");
});

test("a server that closes with 1009 before anything was sent takes nothing along", async () => {
  const { bridge, socket } = scripted();
  const publish = outcome(bridge.publish("/topic/a", "x"));
  socket.end(1009);
  await settle();
  assert.equal(publish.now, "waiting");
});

test("nothing is sent twice on one connection", () => {
  const { bridge, socket } = scripted();
  socket.greet();
  bridge.publish("/topic/a", 1);
  socket.say({ op: "link", state: "down" });
  socket.say({ op: "link", state: "up" });
  assert.equal(socket.sent.length, 1);
});

test("a misspelt option is an error that names it", async () => {
  const { bridge, socket } = scripted();
  socket.greet();
  await assert.rejects(bridge.publish("/topic/a", 1, { header: {} }), {
    name: "TypeError",
    message: /^header is none of: headers /,
  });
  assert.deepEqual(socket.sent, []);
});

test("what is larger than the server's limit is refused before it is sent", async () => {
  const { bridge, sockets, again } = scripted({ client: "0b8f7e34-7f57-4b7c-9a43-3c6f4f3a2b10" });
  const early = outcome(bridge.publish("/topic/a", "x".repeat(300)));
  sockets[0].greet({ limit: 200 });
  const wide = outcome(bridge.publish("/topic/a", "é".repeat(100)));
  const narrow = outcome(bridge.publish("/topic/a", "e".repeat(100)));
  await settle();
  assert.deepEqual([early.now, wide.now, narrow.now], ["too_large", "too_large", "waiting"]);
  assert.equal(sockets[0].confirm().body.length, 100);
  assert.deepEqual(sockets[0].sent, []);
  // The limit is that of the server that there is.
  await again();
  const later = outcome(bridge.publish("/topic/a", "x".repeat(300)));
  sockets[1].confirm();
  await settle();
  assert.equal(later.now, "done");
});
