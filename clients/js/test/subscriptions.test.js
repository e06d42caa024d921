// Subscribing: what is asked, what is handed over, what is resumed.

import assert from "node:assert/strict";
import test from "node:test";
import { scripted, settle } from "./fake.js";

const NEWS = "/topic/news.#";
const CHAT = "/stream/chat";
const WORK = "/queue/work";

/** A greeted bridge. */
function ready(options) {
  const made = scripted(options);
  made.socket.greet();
  return made;
}

/** Collects what callbacks throw or reject with. */
function uncaught(t) {
  const errors = [];
  const listener = (error) => errors.push(error.message);
  const listeners = process.listeners("unhandledRejection");
  process.removeAllListeners("unhandledRejection");
  process.on("unhandledRejection", listener);
  t.after(() => {
    process.off("unhandledRejection", listener);
    for (const each of listeners) process.on("unhandledRejection", each);
  });
  return errors;
}

/** What a subscription tells. */
function events(subscription) {
  const told = [];
  for (const name of ["subscribed", "gap", "dropped", "ended"]) {
    subscription.on(name, (detail) => told.push([name, detail?.code ?? detail]));
  }
  return told;
}

test("it asks for what it is told to, and for nothing else", () => {
  const { bridge, socket } = ready();
  const moment = new Date(1_700_000_000_999);
  for (const [destination, options, fields] of [
    ["/topic/a", undefined, {}],
    ["/topic/b", { overflow: "latest" }, { overflow: "latest" }],
    ["/queue/a", { ack: "client", prefetch: 5 }, { ack: "client", prefetch: 5 }],
    ["/queue/b", { ack: "manual" }, { ack: "client" }],
    ["/queue/c", { ack: "auto" }, {}],
    ["/stream/a", { from: "first" }, { from: "first" }],
    ["/stream/b", { from: 0 }, { from: "offset=0" }],
    ["/stream/c", { from: moment }, { from: "timestamp=1700000000" }],
    ["/stream/d", { from: "offset=7" }, { from: "offset=7" }],
  ]) {
    bridge.subscribe(destination, options);
    const { id, ...frame } = socket.take("subscribe");
    assert.deepEqual(frame, { op: "subscribe", destination, ...fields });
  }
});

test("a misspelt option is an error that names it, and nothing is subscribed", () => {
  const { bridge, socket } = ready();
  for (const [options, name] of [
    [{ ack: "clinet" }, "clinet"],
    [{ ack: true }, "true"],
    [{ form: "first" }, "form"],
    ["first", "0"],
  ]) {
    const named = { name: "TypeError", message: new RegExp(`^${name} is none of: `) };
    assert.throws(() => bridge.subscribe(WORK, () => {}, options), named);
    assert.throws(() => bridge.subscribe(WORK, options), named);
  }
  assert.deepEqual(socket.sent, []);
  const options = { ack: undefined, prefetch: undefined, from: undefined, overflow: undefined };
  bridge.subscribe(WORK, options);
  assert.equal(socket.accept().ack, undefined);
  assert.throws(() => bridge.subscribe("/topic/b").on("end", () => {}), TypeError);
});

test("options behind an empty callback are heard", () => {
  const { bridge, socket } = ready();
  bridge.subscribe(WORK, undefined, { ack: "client" });
  assert.equal(socket.accept().ack, "client");
});

test("a callback gets the messages of its destination, at once and in order", () => {
  const { bridge, socket } = ready();
  const got = [];
  bridge.subscribe(NEWS, (message, ...rest) => {
    assert.deepEqual(rest, [], "console.log would show it");
    got.push(["news", message.body]);
  });
  bridge.subscribe("/topic/#", ({ body }) => got.push(["all", body]));
  socket.accept();
  socket.accept();
  socket.deliver(NEWS, 1);
  socket.deliver("/topic/#", 1);
  socket.deliver(NEWS, 2);
  assert.deepEqual(got, [["news", 1], ["all", 1], ["news", 2]]);
});

test("a message is what the frame said", () => {
  const { bridge, socket } = ready();
  const got = [];
  bridge.subscribe(CHAT, (message) => got.push(message));
  socket.accept();
  socket.say({
    op: "message",
    destination: CHAT,
    routing_key: "chat.a",
    headers: { h: 1 },
    properties: { content_type: "application/json", timestamp: 7 },
    body: { a: [1] },
    offset: 0,
    redelivered: true,
  });
  socket.deliver(CHAT, "text");
  const [json, text] = got;
  assert.deepEqual({ ...json }, {
    destination: CHAT,
    routingKey: "chat.a",
    headers: { h: 1 },
    properties: { content_type: "application/json", timestamp: 7 },
    body: { a: [1] },
    offset: 0,
    redelivered: true,
  });
  assert.ok(!("offset" in text));
  assert.equal(text.redelivered, false);
});

test("a body can be had as JSON and as bytes, whatever it is", () => {
  const { bridge, socket } = ready();
  const got = [];
  bridge.subscribe(NEWS, (message) => got.push(message));
  socket.accept();
  const bytes = (text) => new TextEncoder().encode(text);
  const type = (content_type) => ({ properties: { content_type } });
  for (const [frame, body, json, raw] of [
    [{ body: { a: 1 }, ...type("application/json") }, { a: 1 }, { a: 1 }, bytes('{"a":1}')],
    [{ body: "é", ...type("application/json") }, "é", "é", bytes("é")],
    [{ body: "é", ...type("application/hal+json") }, "é", "é", bytes("é")],
    [{ body: '{"a":1}', ...type("text/plain") }, '{"a":1}', { a: 1 }, bytes('{"a":1}')],
    [{ body: "[7]" }, "[7]", [7], bytes("[7]")],
    [{ base64: "WzFd" }, bytes("[1]"), [1], bytes("[1]")],
    [{ body: null, ...type("application/json") }, null, null, bytes("null")],
    [{ base64: "", ...type("application/octet-stream") }, bytes(""), SyntaxError, bytes("")],
    [{ body: "no", ...type("text/plain") }, "no", SyntaxError, bytes("no")],
  ]) {
    socket.deliver(NEWS, undefined, frame);
    const message = got.pop();
    assert.deepEqual(message.body, body);
    assert.deepEqual(message.bytes, raw);
    if (json === SyntaxError) assert.throws(() => message.json, SyntaxError);
    else assert.deepEqual(message.json, json);
  }
});

test("a loop gets the messages, and leaving it unsubscribes", async () => {
  const { bridge, socket } = ready();
  const got = [];
  const subscription = bridge.subscribe(NEWS);
  const loop = (async () => {
    for await (const { body } of subscription) {
      got.push(body);
      if (body === 3) break;
    }
  })();
  socket.accept();
  socket.deliver(NEWS, 1);
  await settle();
  socket.deliver(NEWS, 2);
  socket.deliver(NEWS, 3);
  socket.deliver(NEWS, 4);
  await loop;
  assert.deepEqual(got, [1, 2, 3]);
  assert.equal(socket.take("unsubscribe").destination, NEWS);
  assert.equal(subscription.ended, true);
  socket.deliver(NEWS, 5);
});

test("an error in a loop unsubscribes too", async () => {
  const { bridge, socket } = ready();
  const loop = (async () => {
    for await (const _ of bridge.subscribe(NEWS)) throw new Error("mine");
  })();
  socket.accept();
  socket.deliver(NEWS, 1);
  await assert.rejects(loop, /mine/);
  socket.take("unsubscribe");
});

test("what comes before the loop begins, or while it works, waits", async () => {
  const { bridge, socket } = ready();
  const subscription = bridge.subscribe(NEWS);
  socket.accept();
  const many = 5000;
  for (let each = 0; each < many; each++) socket.deliver(NEWS, each);
  let next = 0;
  for await (const { body } of subscription) {
    assert.equal(body, next++);
    if (body % 1000 === 0) await settle();
    if (next === many) break;
  }
});

test("unsubscribing ends a loop, at once", async () => {
  const { bridge, socket } = ready();
  const subscription = bridge.subscribe(NEWS);
  const told = events(subscription);
  const got = [];
  const loop = (async () => {
    for await (const { body } of subscription) {
      got.push(body);
      subscription.unsubscribe();
    }
  })();
  socket.accept();
  socket.deliver(NEWS, 1);
  socket.deliver(NEWS, 2);
  await loop;
  assert.deepEqual(got, [1]);
  assert.deepEqual(socket.all("unsubscribe").length, 1);
  assert.deepEqual(told, [["subscribed", undefined], ["ended", undefined]]);

  const idle = bridge.subscribe("/topic/idle");
  const waiting = (async () => {
    for await (const _ of idle);
  })();
  await settle();
  idle.unsubscribe();
  await waiting;
});

test("it may be subscribed again at once, and gets nothing that was for the former", () => {
  const { bridge, socket } = ready();
  const got = [];
  const first = bridge.subscribe(NEWS, ({ body }) => got.push(["first", body]));
  const asked = socket.accept();
  first.unsubscribe();
  first.unsubscribe();
  const second = bridge.subscribe(NEWS, ({ body }) => got.push(["second", body]));
  assert.deepEqual(socket.sent.map(({ op }) => op), ["unsubscribe", "subscribe"]);
  socket.deliver(NEWS, 1);
  socket.say({ op: "unsubscribed", id: socket.take("unsubscribe").id, destination: NEWS });
  socket.say({ op: "error", id: asked.id, code: "internal", message: "late" });
  socket.accept();
  socket.deliver(NEWS, 2);
  assert.deepEqual(got, [["second", 2]]);
  assert.equal(second.active, true);
});

test("one that was not answered yet can be given up", () => {
  const { bridge, socket, told } = ready();
  const subscription = bridge.subscribe(NEWS);
  const { id } = socket.take("subscribe");
  subscription.unsubscribe();
  socket.take("unsubscribe");
  socket.say({ op: "subscribed", id, destination: NEWS });
  assert.equal(subscription.active, false);
  assert.deepEqual(told("error"), []);
});

test("one that was never sent is given up in silence", async () => {
  const { bridge, socket } = scripted();
  bridge.subscribe(NEWS).unsubscribe();
  socket.greet();
  assert.deepEqual(socket.sent, []);
});

test("a second one to the same destination is a conflict", () => {
  const { bridge } = ready();
  bridge.subscribe(NEWS);
  assert.throws(() => bridge.subscribe(NEWS), { code: "conflict" });
});

test("ready comes true when the server has it, and false when it never will", async () => {
  const { bridge, socket } = ready();
  const good = bridge.subscribe(NEWS);
  const bad = bridge.subscribe("/topic/secret");
  const gone = bridge.subscribe("/topic/gone");
  socket.accept();
  socket.refuse("subscribe", "forbidden");
  gone.unsubscribe();
  assert.equal(await good.ready, good);
  await assert.rejects(bad.ready, { code: "forbidden" });
  await assert.rejects(gone.ready, { code: "closed" });
});

test("a refusal that somebody waits for is told to nobody else", async () => {
  const { bridge, socket, told } = ready();
  const { ready: waited } = bridge.subscribe("/topic/secret", () => {});
  socket.refuse("subscribe", "forbidden");
  await assert.rejects(waited, { code: "forbidden" });
  assert.deepEqual(told("error"), []);
  // Who waited for the beginning has not heard of the end.
  const later = bridge.subscribe(WORK, () => {});
  const begun = later.ready;
  socket.accept();
  await begun;
  socket.say({ op: "unsubscribed", destination: WORK, reason: "The queue was deleted." });
  assert.deepEqual(told("error").map(({ code }) => code), ["ended"]);
});

test("the server may call the destination by another name", () => {
  const { bridge, socket } = ready();
  const got = [];
  bridge.subscribe("/topic/a%2Eb", ({ body }) => got.push(body));
  socket.accept({ destination: "/topic/a.b" });
  socket.deliver("/topic/a.b", 1);
  assert.deepEqual(got, [1]);
});

// -- refused and ended

test("a refusal for good ends it, and is told to whoever listens", async () => {
  const { bridge, socket, told, clock } = ready();
  const silent = bridge.subscribe("/topic/a", () => {});
  socket.refuse("subscribe", "forbidden");
  assert.equal(silent.ended, true);
  assert.deepEqual(told("error").map(({ code }) => code), ["forbidden"]);

  const heard = bridge.subscribe("/topic/b", () => {});
  const codes = [];
  heard.on("ended", (error) => codes.push(error.code));
  socket.refuse("subscribe", "not_found");
  assert.deepEqual(codes, ["not_found"]);

  const loop = (async () => {
    for await (const _ of bridge.subscribe("/topic/c"));
  })();
  socket.refuse("subscribe", "conflict");
  await assert.rejects(loop, { code: "conflict" });
  assert.equal(told("error").length, 1);
  await clock.advance(20_000);
  assert.deepEqual(socket.all("subscribe"), []);
});

test("what is refused for now is asked again within 5 s, or when the broker is back", async () => {
  const { bridge, socket, clock } = ready({ random: () => 1 });
  const subscription = bridge.subscribe(NEWS);
  const told = events(subscription);
  for (const code of ["not_ready", "timeout", "unknown", "internal", "rate_limited"]) {
    socket.refuse("subscribe", code);
    await clock.advance(4999);
    assert.deepEqual(socket.all("subscribe"), []);
    await clock.advance(1);
    assert.equal(socket.sent.length, 1);
  }
  socket.refuse("subscribe", "not_ready");
  socket.say({ op: "link", state: "down" });
  assert.equal(socket.sent.length, 1, "asked again at any news of the link");
  socket.refuse("subscribe", "not_ready");
  socket.say({ op: "link", state: "up" });
  socket.accept();
  assert.deepEqual(told, [["subscribed", undefined]], "nothing was missed");
  await clock.advance(10_000);
  assert.deepEqual(socket.all("subscribe"), []);
});

test("one that was refused for now is not asked for after the connection is lost", async () => {
  const { bridge, socket, sockets, clock } = ready();
  bridge.subscribe(NEWS);
  socket.refuse("subscribe", "not_ready");
  socket.end();
  await clock.advance(750);
  sockets[1].greet();
  sockets[1].accept();
  await clock.advance(10_000);
  assert.deepEqual(sockets[1].all("subscribe"), []);
});

test("one that the server ends has ended, after what it had sent", async () => {
  const { bridge, socket } = ready();
  const subscription = bridge.subscribe(WORK);
  socket.accept();
  socket.deliver(WORK, 1);
  socket.say({ op: "unsubscribed", destination: WORK, reason: "The queue was deleted." });
  const got = [];
  await assert.rejects(
    async () => {
      for await (const { body } of subscription) got.push(body);
    },
    { code: "ended", message: "The queue was deleted." },
  );
  assert.deepEqual(got, [1]);
  assert.deepEqual(socket.sent, [], "there is nothing to unsubscribe");
  bridge.subscribe(WORK);
  socket.accept();
});

test("what is to be acknowledged is back in the queue when the server ends it", async () => {
  const { bridge, socket } = ready();
  const subscription = bridge.subscribe(WORK, { ack: "client" });
  socket.accept();
  socket.deliver(WORK, 1, { delivery_tag: 1 });
  socket.say({ op: "unsubscribed", destination: WORK, reason: "The queue was deleted." });
  await assert.rejects(
    async () => {
      for await (const _ of subscription) assert.fail("it is somebody else's");
    },
    { code: "ended" },
  );
});

// -- callbacks that take their time, or fail

test("a callback's promise is waited for", async () => {
  const { bridge, socket } = ready();
  const begun = [];
  let finish;
  bridge.subscribe(NEWS, ({ body }) => {
    begun.push(body);
    return new Promise((resolve) => (finish = resolve));
  });
  socket.accept();
  for (const body of [1, 2, 3]) socket.deliver(NEWS, body);
  await settle();
  assert.deepEqual(begun, [1]);
  finish();
  await settle();
  assert.deepEqual(begun, [1, 2]);
  finish();
  await settle();
  assert.deepEqual(begun, [1, 2, 3]);
});

test("a callback that fails is reported, and the next message comes", async (t) => {
  const errors = uncaught(t);
  const { bridge, socket } = ready();
  const got = [];
  bridge.subscribe(NEWS, ({ body }) => {
    got.push(body);
    if (body === 1) throw new Error("thrown");
    if (body === 2) return Promise.reject(new Error("rejected"));
  });
  socket.accept();
  for (const body of [1, 2, 3]) socket.deliver(NEWS, body);
  await settle();
  assert.deepEqual(got, [1, 2, 3]);
  assert.deepEqual(errors, ["thrown", "rejected"]);
});

// -- acknowledging

test("with ack: client a message is acknowledged when its callback is done", async (t) => {
  const errors = uncaught(t);
  const { bridge, socket } = ready();
  let finish;
  bridge.subscribe(
    WORK,
    ({ body }) => {
      if (body === "later") return new Promise((resolve) => (finish = resolve));
      if (body === "bad") throw new Error("mine");
    },
    { ack: "client" },
  );
  socket.accept();
  socket.deliver(WORK, "now", { delivery_tag: 1 });
  const { id, ...frame } = socket.take("ack");
  assert.deepEqual(frame, { op: "ack", destination: WORK, delivery_tag: 1 });
  socket.deliver(WORK, "bad", { delivery_tag: 2 });
  socket.deliver(WORK, "later", { delivery_tag: 3 });
  await settle();
  assert.deepEqual(socket.sent, []);
  finish();
  await settle();
  assert.deepEqual(socket.all("ack").map((ack) => ack.delivery_tag), [3]);
  assert.deepEqual(errors, ["mine"]);
});

test("with ack: client a loop acknowledges when it asks for the next", async () => {
  const { bridge, socket } = ready();
  const subscription = bridge.subscribe(WORK, { ack: "client" });
  socket.accept();
  for (const tag of [1, 2, 3]) socket.deliver(WORK, tag, { delivery_tag: tag });
  for await (const message of subscription) {
    if (message.body === 2) message.ack();
    if (message.body === 3) break;
  }
  assert.deepEqual(socket.all("ack").map((ack) => ack.delivery_tag), [1, 2]);
  socket.take("unsubscribe");
  assert.deepEqual(socket.sent, []);
});

test("with ack: manual nothing is acknowledged for you, and several are in work", async () => {
  const { bridge, socket } = ready();
  const got = [];
  bridge.subscribe(WORK, async (message) => void got.push(message), { ack: "manual" });
  socket.accept();
  for (const tag of [1, 2, 3]) socket.deliver(WORK, tag, { delivery_tag: tag });
  assert.equal(got.length, 3);
  await settle();
  assert.deepEqual(socket.sent, []);
  assert.equal(got[2].ack(), true);
  assert.equal(got[1].nack(), true);
  assert.equal(got[0].nack({ requeue: false }), true);
  assert.equal(got[0].ack(), false, "only once");
  assert.deepEqual(
    socket.sent.map(({ op, delivery_tag, requeue }) => [op, delivery_tag, requeue]),
    [["ack", 3, undefined], ["nack", 2, true], ["nack", 1, false]],
  );
});

test("without an ack option there is nothing to acknowledge", () => {
  const { bridge, socket } = ready();
  const got = [];
  bridge.subscribe(WORK, (message) => got.push(message.ack(), message.nack()));
  socket.accept();
  socket.deliver(WORK, 1);
  assert.deepEqual(got, [false, false]);
  assert.deepEqual(socket.sent, []);
});

test("what came on a lost connection is not acknowledged on the next", async () => {
  const { bridge, sockets, again } = ready();
  const got = [];
  bridge.subscribe(WORK, (message) => got.push(message), { ack: "manual" });
  sockets[0].accept();
  sockets[0].deliver(WORK, 1, { delivery_tag: 1 });
  await again();
  assert.equal(got[0].ack(), false);
  sockets[1].accept();
  sockets[1].deliver(WORK, 1, { delivery_tag: 1, redelivered: true });
  assert.equal(got[0].nack(), false);
  assert.equal(got[1].redelivered, true);
  assert.equal(got[1].ack(), true);
  assert.equal(sockets[1].all("ack").length, 1);
});

test("what waited for its turn on a lost connection comes once, by the next", async () => {
  const { bridge, sockets, again } = ready();
  const got = [];
  let finish;
  bridge.subscribe(
    WORK,
    ({ body }) => {
      got.push(body);
      return new Promise((resolve) => (finish = resolve));
    },
    { ack: "client" },
  );
  sockets[0].accept();
  for (const tag of [1, 2]) sockets[0].deliver(WORK, tag, { delivery_tag: tag });
  await again();
  finish();
  await settle();
  assert.deepEqual(got, [1]);
  assert.deepEqual(sockets[1].all("ack"), []);
  sockets[1].accept();
  sockets[1].deliver(WORK, 2, { delivery_tag: 1, redelivered: true });
  assert.deepEqual(got, [1, 2]);
});

test("a tag that the server has forgotten is nobody's error", () => {
  const { bridge, socket, told } = ready();
  bridge.subscribe(WORK, () => {}, { ack: "client" });
  socket.accept();
  socket.deliver(WORK, 1, { delivery_tag: 1 });
  socket.refuse("ack", "not_found");
  assert.deepEqual(told("error"), []);
});

test("a callback that fails leaves its message unacknowledged, and says so", async (t) => {
  const errors = uncaught(t);
  const { bridge, socket, told } = ready();
  const work = bridge.subscribe(
    WORK,
    async (message) => {
      if (message.body === "settled") message.nack({ requeue: false });
      await settle();
      throw new Error(message.body);
    },
    { ack: "client" },
  );
  socket.accept();
  for (const [tag, body] of [[1, "settled"], [2, "bad"]]) {
    socket.deliver(WORK, body, { delivery_tag: tag });
  }
  for (let turn = 0; turn < 5; turn++) await settle();
  assert.deepEqual(errors, ["settled", "bad"]);
  assert.deepEqual(socket.sent.map(({ op, delivery_tag }) => [op, delivery_tag]), [["nack", 1]]);
  assert.deepEqual(
    told("error").map(({ code, message }) => [code, message]),
    [["unacknowledged", `A callback failed: ${WORK} waits for an ack.`]],
  );
  // The subscription's own listener is told first, and then only it.
  const own = [];
  work.on("error", ({ code }) => own.push(code));
  socket.deliver(WORK, "worse", { delivery_tag: 3 });
  for (let turn = 0; turn < 5; turn++) await settle();
  assert.deepEqual([own, told("error").length], [["unacknowledged"], 1]);
});

test("a callback that fails after the connection was lost has lost nothing", async (t) => {
  uncaught(t);
  const { bridge, sockets, again, told } = ready();
  let fail;
  bridge.subscribe(WORK, () => new Promise((_, reject) => (fail = reject)), { ack: "client" });
  sockets[0].accept();
  sockets[0].deliver(WORK, 1, { delivery_tag: 1 });
  await again();
  sockets[1].accept();
  fail(new Error("mine"));
  await settle();
  assert.deepEqual(told("error"), []);
});

// -- after a loss

test("everything is subscribed again with what it was subscribed with", async () => {
  const { bridge, sockets, again } = ready();
  const work = bridge.subscribe(WORK, { ack: "client", prefetch: 3, overflow: "block" });
  bridge.subscribe(NEWS);
  bridge.subscribe("/topic/left").unsubscribe();
  const first = sockets[0].all("subscribe").slice(0, 2);
  assert.equal(work.active, false);
  await again();
  const second = sockets[1].sent;
  assert.deepEqual(
    second.map(({ id, ...frame }) => frame),
    first.map(({ id, ...frame }) => frame),
  );
});

test("live messages may be missing after a loss, those of a queue not", async () => {
  const { bridge, sockets, again, told } = ready();
  const news = bridge.subscribe(NEWS);
  const work = bridge.subscribe(WORK);
  const upstream = bridge.subscribe("/amq/queue/upstream");
  const never = bridge.subscribe("/exchange/e/k");
  const seen = [news, work, upstream, never].map(events);
  for (let each = 0; each < 3; each++) sockets[0].accept();
  await again();
  for (let each = 0; each < 4; each++) sockets[1].accept();
  const back = ["subscribed", undefined];
  const gap = { destination: NEWS };
  assert.deepEqual(seen, [[back, back, ["gap", gap]], [back, back], [back, back], [back]]);
  assert.deepEqual(told("gap"), [gap]);
});

test("live messages may be missing after the broker was away", () => {
  const { bridge, socket } = ready();
  const news = bridge.subscribe(NEWS);
  const work = bridge.subscribe(WORK);
  const chat = bridge.subscribe(CHAT);
  for (let each = 0; each < 3; each++) socket.accept();
  const seen = [news, work, chat].map(events);
  socket.say({ op: "link", state: "down" });
  assert.deepEqual(seen, [[], [], []]);
  socket.say({ op: "link", state: "up" });
  assert.deepEqual(seen, [[["gap", { destination: NEWS }]], [], []]);
});

test("a stream goes on behind the last message", async () => {
  const { bridge, sockets, again, told } = ready();
  const got = [];
  const chat = bridge.subscribe(CHAT, ({ body }) => got.push(body), { from: "first" });
  sockets[0].accept();
  sockets[0].deliver(CHAT, "a", { offset: 0 });
  sockets[0].deliver(CHAT, "b", { offset: 41 });
  assert.equal(chat.position, 41);
  await again();
  assert.equal(sockets[1].accept().from, "offset=42");
  sockets[1].deliver(CHAT, "c", { offset: 42 });
  assert.deepEqual(got, ["a", "b", "c"]);
  assert.deepEqual(told("gap"), []);
});

test("what waits for a slow callback is not asked for again", async () => {
  const { bridge, sockets, again } = ready();
  const got = [];
  const finish = [];
  const chat = bridge.subscribe(CHAT, ({ body }) => {
    got.push(body);
    return new Promise((resolve) => finish.push(resolve));
  });
  sockets[0].accept();
  sockets[0].deliver(CHAT, "a", { offset: 5 });
  sockets[0].deliver(CHAT, "b", { offset: 6 });
  assert.equal(chat.position, undefined);
  await again();
  assert.equal(sockets[1].accept().from, "offset=7");
  finish[0]();
  await settle();
  assert.equal(chat.position, 5);
  assert.deepEqual(got, ["a", "b"]);
});

test("a stream of which nothing has come begins where it was to begin, or says so", async () => {
  for (const [from, again, honest] of [
    ["first", "first", []],
    [7, "offset=7", []],
    [new Date(5000), "timestamp=5", []],
    ["next", "next", [{ destination: CHAT }]],
    ["last", "last", [{ destination: CHAT }]],
    [undefined, undefined, [{ destination: CHAT }]],
  ]) {
    const made = ready();
    made.bridge.subscribe(CHAT, { from });
    made.sockets[0].accept();
    await made.again();
    assert.equal(made.sockets[1].accept().from, again);
    assert.deepEqual(made.told("gap"), honest, `from ${from}`);
  }
});

test("gaps and drops are told to the subscription and to the bridge", () => {
  const { bridge, socket, told } = ready();
  const seen = events(bridge.subscribe(CHAT));
  socket.accept();
  const gap = { destination: CHAT, from: 5, to: 9 };
  const dropped = { destination: CHAT, count: 3 };
  socket.say({ op: "gap", ...gap });
  socket.say({ op: "dropped", ...dropped });
  assert.deepEqual(seen.slice(1), [["gap", gap], ["dropped", dropped]]);
  assert.deepEqual([told("gap"), told("dropped")], [[gap], [dropped]]);
});

test("a stream that was made anew is followed from its own beginning", async () => {
  const { bridge, sockets, again } = ready();
  bridge.subscribe(CHAT, { from: 100 });
  sockets[0].accept();
  sockets[0].deliver(CHAT, "a", { offset: 100 });
  await again();
  assert.equal(sockets[1].accept().from, "offset=101");
  sockets[1].say({ op: "gap", destination: CHAT, from: 101, to: 0 });
  await again();
  assert.equal(sockets[2].accept().from, "offset=0");
});

// -- over a reload of the page

class Storage {
  items = new Map();
  getItem = (key) => this.items.get(key) ?? null;
  setItem = (key, value) => void this.items.set(key, String(value));
}

test("with resume a new page goes on behind the last message that was dealt with", async () => {
  const storage = new Storage();
  const options = { from: "first", resume: "page", storage };
  const one = ready();
  const finish = [];
  const chat = one.bridge.subscribe(CHAT, () => new Promise((done) => finish.push(done)), options);
  assert.equal(one.socket.accept().from, "first");
  one.socket.deliver(CHAT, "a", { offset: 7 });
  one.socket.deliver(CHAT, "b", { offset: 8 });
  assert.equal(storage.items.size, 0, "the callback has not returned");
  finish[0]();
  await settle();
  assert.deepEqual([...storage.items], [["twbridge:page:/stream/chat", "7"]]);
  assert.equal(chat.position, 7);

  const two = ready();
  const resumed = two.bridge.subscribe(CHAT, options);
  assert.equal(resumed.position, 7);
  assert.equal(two.socket.accept().from, "offset=8");

  const other = ready();
  other.bridge.subscribe(CHAT, { ...options, resume: "other" });
  assert.equal(other.socket.accept().from, "first");
});

test("a loop is done with a message when it asks for the next", async () => {
  const storage = new Storage();
  const { bridge, socket } = ready();
  const subscription = bridge.subscribe(CHAT, { resume: "page", storage });
  socket.accept();
  socket.deliver(CHAT, "a", { offset: 0 });
  socket.deliver(CHAT, "b", { offset: 1 });
  for await (const { body } of subscription) if (body === "b") break;
  assert.deepEqual([...storage.items.values()], ["0"]);
});

test("offset 0 is a position", () => {
  const storage = new Storage();
  storage.setItem("twbridge:page:/stream/chat", 0);
  const { bridge, socket } = ready();
  bridge.subscribe(CHAT, { resume: "page", storage });
  assert.equal(socket.accept().from, "offset=1");
});

test("the tab's own storage is the default, and one that fails is done without", (t) => {
  const before = Object.getOwnPropertyDescriptor(globalThis, "sessionStorage");
  const storage = new Storage();
  const give = (get) => Object.defineProperty(globalThis, "sessionStorage", { get, configurable: true });
  t.after(() => {
    if (before) Object.defineProperty(globalThis, "sessionStorage", before);
    else delete globalThis.sessionStorage;
  });
  const read = () => {
    const { bridge, socket } = ready();
    const subscription = bridge.subscribe(CHAT, () => {}, { resume: "page" });
    const { from } = socket.accept();
    socket.deliver(CHAT, "a", { offset: 3 });
    assert.equal(subscription.position, 3);
    return from;
  };
  give(() => storage);
  assert.deepEqual([read(), read()], [undefined, "offset=4"]);
  give(() => {
    throw new Error("forbidden");
  });
  assert.equal(read(), undefined);
  give(() => ({
    getItem: () => null,
    setItem: () => {
      throw new Error("full");
    },
  }));
  assert.equal(read(), undefined);
});
