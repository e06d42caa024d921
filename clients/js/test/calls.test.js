// Calls of tasks: results, progress, cancelling, and what becomes of them over a loss.

import assert from "node:assert/strict";
import test from "node:test";
import { BridgeError } from "../twbridge.js";
import { scripted, settle } from "./fake.js";

/** What becomes of a promise: "waiting", its value, or the code of its error. */
function outcome(promise) {
  const seen = { now: "waiting" };
  promise.then(
    (value) => (seen.now = value),
    (error) => (seen.now = error.code ?? error),
  );
  return seen;
}

/** A bridge whose server has greeted. */
function greeted(options) {
  const script = scripted(options);
  script.socket.greet();
  return script;
}

test("a call sends the task and its body, and resolves with the result", async () => {
  const { bridge, socket } = greeted();
  const call = outcome(bridge.call("add", [1, 2]));
  const { id, ...frame } = socket.take("call");
  assert.deepEqual(frame, { op: "call", task: "add", timeout: 30, body: [1, 2] });
  await settle();
  assert.equal(call.now, "waiting");
  socket.say({ op: "result", id, body: 3 });
  await settle();
  assert.equal(call.now, 3);
  assert.deepEqual(socket.sent, []);
});

test("headers and the deadline go along; no body is null", async () => {
  const { bridge, socket } = greeted();
  bridge.call("t", undefined, { headers: { a: 1 }, timeout: 2500 });
  const { id, ...frame } = socket.take("call");
  assert.deepEqual(frame, { op: "call", task: "t", body: null, headers: { a: 1 }, timeout: 2.5 });
});

test("bodies and results are any JSON, text or bytes", async () => {
  const { bridge, socket } = greeted();
  for (const [body, sent, result, expected = result] of [
    ["text", { body: "text" }, { body: "é👋" }, "é👋"],
    [false, { body: false }, { body: null }, null],
    [{ a: [1] }, { body: { a: [1] } }, { body: { b: 0 } }, { b: 0 }],
    [new Uint8Array([0, 255]), { base64: "AP8=" }, { base64: "AAEC" }, new Uint8Array([0, 1, 2])],
    [new ArrayBuffer(0), { base64: "" }, { base64: "" }, new Uint8Array()],
  ]) {
    const call = bridge.call("t", body);
    const { id, op, task, timeout, ...content } = socket.take("call");
    assert.deepEqual(content, sent);
    socket.say({ op: "result", id, ...result, headers: { h: 1 } });
    assert.deepEqual(await call, expected);
  }
});

test("what is no JSON, and an option that is misspelt, is a TypeError", async () => {
  const { bridge, socket } = greeted({ pending: 1 });
  for (const body of [NaN, new Map(), () => 1]) {
    await assert.rejects(bridge.call("t", body), TypeError);
  }
  await assert.rejects(bridge.call("t", 1, { onprogress() {} }), TypeError);
  await assert.rejects(bridge.call("t", 1, { id: "x" }), TypeError);
  const call = bridge.call("t");
  await assert.rejects(bridge.call("t"), { code: "too_many" });
  await assert.rejects(bridge.publish("/topic/a", 1), { code: "too_many" });
  socket.say({ op: "result", id: socket.take("call").id, body: 1 });
  assert.equal(await call, 1);
});

test("progress is told in order, before the result, and of its own call only", async () => {
  const { bridge, socket } = greeted();
  const told = [];
  const one = bridge.call("t", 1, { onProgress: (value) => told.push(["one", value]) });
  one.then((value) => told.push(["one", value]));
  bridge.call("t", 2, { onProgress: (value) => told.push(["two", value]) });
  const silent = outcome(bridge.call("t", 3));
  const [first, second, third] = socket.all("call").map(({ id }) => id);
  socket.say({ op: "progress", id: second, body: 0.5 });
  socket.say({ op: "progress", id: first, base64: "AQ==" });
  socket.say({ op: "progress", id: first, body: { done: 2 } });
  socket.say({ op: "progress", id: third, body: 1 });
  socket.say({ op: "result", id: first, body: "end" });
  await settle();
  socket.say({ op: "progress", id: first, body: "late" });
  await settle();
  assert.deepEqual(told, [
    ["two", 0.5],
    ["one", new Uint8Array([1])],
    ["one", { done: 2 }],
    ["one", "end"],
  ]);
  assert.equal(silent.now, "waiting");
});

test("a callback for progress that fails is reported, and the call goes on", async () => {
  const { bridge, socket } = greeted();
  const uncaught = [];
  const listeners = process.listeners("unhandledRejection");
  process.removeAllListeners("unhandledRejection");
  process.on("unhandledRejection", (error) => uncaught.push(error.message));
  try {
    const call = bridge.call("t", 1, {
      onProgress() {
        throw new Error("oops");
      },
    });
    const { id } = socket.take("call");
    socket.say({ op: "progress", id, body: 1 });
    socket.say({ op: "result", id, body: 2 });
    assert.equal(await call, 2);
    await settle();
    assert.deepEqual(uncaught, ["oops"]);
  } finally {
    process.removeAllListeners("unhandledRejection");
    for (const listener of listeners) process.on("unhandledRejection", listener);
  }
});

test("a refusal is an error with its code, and no one else's", async () => {
  const { bridge, socket, told } = greeted();
  for (const code of ["not_found", "worker_error", "call_expired", "timeout", "forbidden"]) {
    const call = bridge.call("t", 1);
    socket.refuse("call", code, "The task failed.");
    await assert.rejects(call, (error) => {
      assert.ok(error instanceof BridgeError);
      assert.deepEqual([error.code, error.message], [code, "The task failed."]);
      return true;
    });
  }
  assert.deepEqual(told("error"), []);
});

test("an abort rejects at once and tells the server, once", async () => {
  const { bridge, socket, told } = greeted();
  const controller = new AbortController();
  const call = bridge.call("t", 1, { signal: controller.signal });
  const { id } = socket.take("call");
  controller.abort();
  await assert.rejects(call, { name: "BridgeError", code: "cancelled" });
  assert.deepEqual(socket.take("cancel"), { op: "cancel", id });
  socket.say({ op: "error", id, code: "cancelled", message: "It was cancelled." });
  assert.deepEqual([socket.sent, told("error")], [[], []]);
});

test("one that was aborted before is not sent; one that waits to be sent is forgotten", async () => {
  const { bridge, socket } = scripted();
  const signal = AbortSignal.abort();
  await assert.rejects(bridge.call("t", 1, { signal }), { code: "cancelled" });
  const controller = new AbortController();
  const waits = bridge.call("t", 1, { signal: controller.signal });
  controller.abort();
  await assert.rejects(waits, { code: "cancelled" });
  socket.greet();
  assert.deepEqual(socket.sent, []);
});

test("an abort after the result does nothing, and nothing listens to the signal", async () => {
  const { bridge, socket } = greeted();
  const controller = new AbortController();
  const { signal } = controller;
  let listening = 0;
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...parameters) => {
    listening++;
    addEventListener.apply(signal, parameters);
  };
  signal.removeEventListener = (...parameters) => {
    listening--;
    removeEventListener.apply(signal, parameters);
  };
  const call = bridge.call("t", 1, { signal });
  assert.equal(listening, 1);
  socket.say({ op: "result", id: socket.take("call").id, body: 1 });
  await call;
  await settle();
  assert.equal(listening, 0);
  controller.abort();
  assert.deepEqual(socket.sent, []);
});

test("a lost connection makes it unknown, and it is not sent again", async () => {
  const { bridge, sockets, again } = greeted();
  const call = outcome(bridge.call("t", 1));
  const publish = outcome(bridge.publish("/topic/a", 1));
  sockets[0].end(1006, "gone");
  await settle();
  assert.equal(call.now, "unknown");
  const waits = outcome(bridge.call("t", 2));
  await again();
  assert.deepEqual(sockets[1].all("call").map(({ body }) => body), [2]);
  assert.equal(sockets[1].all("publish").length, 1);
  assert.deepEqual([publish.now, waits.now], ["waiting", "waiting"]);
});

test("what can't be sent within its deadline is refused as not ready", async () => {
  const { bridge, clock, sockets } = scripted();
  const call = outcome(bridge.call("t", 1, { timeout: 3000 }));
  const usual = outcome(bridge.call("t", 1));
  await clock.advance(2999);
  assert.equal(call.now, "waiting");
  await clock.advance(1);
  assert.deepEqual([call.now, usual.now], ["not_ready", "waiting"]);
  await clock.advance(27_000);
  assert.equal(usual.now, "not_ready");
  sockets.at(-1).greet();
  assert.deepEqual(sockets.at(-1).all("call"), []);
});

test("the server keeps the deadline of what was sent", async () => {
  const { bridge, clock, socket } = greeted();
  const call = outcome(bridge.call("t", 1, { timeout: 3000 }));
  await clock.advance(3100);
  assert.equal(call.now, "waiting");
  socket.refuse("call", "call_expired");
  await settle();
  assert.equal(call.now, "call_expired");
});

test("a call that is too large for the server is refused", async () => {
  const { bridge, socket } = scripted();
  socket.greet({ limit: 100 });
  await assert.rejects(bridge.call("t", "x".repeat(100)), { code: "too_large" });
  assert.deepEqual(socket.sent, []);
});

test("a bridge that is closed, by us or by the server, calls nothing any more", async () => {
  const { bridge, socket } = greeted();
  const sent = outcome(bridge.call("t", 1));
  bridge.close();
  await settle();
  assert.equal(sent.now, "closed");
  assert.equal(socket.closed, 1000);
  await assert.rejects(bridge.call("t", 1), { code: "closed" });

  const refused = greeted();
  const call = outcome(refused.bridge.call("t", 1));
  refused.socket.end(4503, "no");
  await settle();
  assert.equal(call.now, "unknown");
});
