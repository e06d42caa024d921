// The connection: how it is made, watched, lost and made again.

import assert from "node:assert/strict";
import test from "node:test";
import { BridgeError, connect } from "../twbridge.js";
import { Clock, scripted, settle } from "./fake.js";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** Sets properties of the global object for the time of a test. */
function globals(t, values) {
  for (const [name, value] of Object.entries(values)) {
    const before = Object.getOwnPropertyDescriptor(globalThis, name);
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
    t.after(() => {
      if (before) Object.defineProperty(globalThis, name, before);
      else delete globalThis[name];
    });
  }
}

test("it speaks the JSON dialect and names itself with a UUID", () => {
  const { bridge, socket } = scripted();
  assert.match(bridge.client, UUID);
  assert.equal(socket.protocol, "v1.twbridge.json");
  assert.equal(socket.url.href, `ws://bridge.example/ws?client=${bridge.client}`);
});

test("a client id of one's own is taken, and the query of the URL is kept", () => {
  const client = "0b8f7e34-7f57-4b7c-9a43-3c6f4f3a2b10";
  const { bridge, socket } = scripted({ client }, "wss://bridge.example/feed?a=1#part");
  assert.equal(bridge.client, client);
  assert.equal(socket.url.href, `wss://bridge.example/feed?a=1&client=${client}`);
});

test("without a crypto there is a UUID all the same", (t) => {
  globals(t, { crypto: undefined });
  assert.match(scripted().bridge.client, UUID);
});

test("a relative URL is one of the page, and /ws is the default", (t) => {
  globals(t, { location: new URL("https://app.example/chat/page?x=1") });
  assert.match(scripted({}, "/ws").socket.url.href, /^wss:\/\/app\.example\/ws\?client=/);
  assert.match(scripted({}, "feed").socket.url.href, /^wss:\/\/app\.example\/chat\/feed\?client=/);
  const made = [];
  class WebSocket {
    constructor(url) {
      made.push(url);
    }
    close() {}
  }
  const clock = new Clock();
  connect({ WebSocket, clock }).close();
  connect(undefined, { WebSocket, clock }).close();
  connect(new URL("http://other.example:8080/"), { WebSocket, clock }).close();
  assert.match(made[0], /^wss:\/\/app\.example\/ws\?client=/);
  assert.match(made[1], /^wss:\/\/app\.example\/ws\?client=/);
  assert.match(made[2], /^ws:\/\/other\.example:8080\/\?client=/);
});

test("what can't work is said at once", (t) => {
  globals(t, { WebSocket: undefined });
  assert.throws(() => connect("ws://a/ws"), /WebSocket/);
  const WebSocket = class {
    constructor() {
      assert.fail("it was tried");
    }
  };
  assert.throws(() => connect("/ws", { WebSocket }), TypeError);
  for (const url of ["localhost:18081/ws", "ftp://a/ws", new URL("file:///ws")]) {
    assert.throws(() => connect(url, { WebSocket }), { name: "TypeError", message: /is no URL of a/ });
  }
});

test("a misspelt option or event is an error that names it", () => {
  const named = (name) => ({ name: "TypeError", message: new RegExp(`^${name} is none of: `) });
  class WebSocket {
    close() {}
  }
  assert.throws(() => connect("ws://a/ws", { WebSocket, tokens: () => "t" }), named("tokens"));
  assert.throws(() => connect({ url: "ws://a/ws", WebSocket }), named("url"));
  const { bridge } = scripted();
  assert.throws(() => bridge.on("stat", () => {}), named("stat"));
  assert.throws(() => bridge.on("constructor", () => {}), named("constructor"));
});

test("each loss and each failed attempt is told, and when the next one is", async () => {
  const { bridge, clock, sockets, told } = scripted();
  sockets[0].greet();
  sockets[0].end(1012, "Restarting.");
  await clock.advance(750);
  sockets[1].refuseHandshake("Unexpected server response: 503");
  await clock.advance(1250);
  sockets[2].refuseHandshake();
  await clock.advance(2250);
  await clock.advance(10_000); // no greeting
  assert.deepEqual(told("away"), [
    { code: 1012, reason: "Restarting.", retryIn: 750 },
    { code: 1006, reason: "Unexpected server response: 503", retryIn: 1250 },
    { code: 1006, reason: "Closed with 1006.", retryIn: 2250 },
    { code: 1006, reason: "There was no answer.", retryIn: 4250 },
  ]);
  assert.deepEqual(told("error"), [], "it has worked before");
  assert.equal(bridge.state, "server-away");
});

test("a first attempt that fails is an error with what is known", async () => {
  for (const [message, known] of [
    ["Unexpected server response: 404", "Unexpected server response: 404"],
    [undefined, "Closed with 1006."],
  ]) {
    const { clock, sockets, told } = scripted({}, "ws://bridge.example:81/wsx");
    sockets[0].refuseHandshake(message);
    await clock.advance(750);
    sockets[1].refuseHandshake(message);
    assert.equal(told("away").length, 2);
    assert.deepEqual(
      told("error").map(({ code, message }) => [code, message]),
      [["not_ready", `No bridge at bridge.example:81/wsx yet: ${known}`]],
    );
  }
});

test("it is connecting until it is greeted, then ready", () => {
  const { bridge, socket, told } = scripted();
  assert.equal(bridge.state, "connecting");
  socket.greet({ instance: "east" });
  assert.equal(bridge.state, "ready");
  assert.equal(bridge.welcome.instance, "east");
  assert.deepEqual(told("state"), ["ready"]);
});

test("it tells of the broker behind the server", () => {
  const { bridge, socket, told } = scripted();
  socket.greet();
  socket.say({ op: "link", state: "down" });
  assert.equal(bridge.state, "broker-away");
  socket.say({ op: "link", state: "up" });
  assert.equal(bridge.state, "ready");
  assert.deepEqual(told("link"), ["down", "up"]);
  assert.deepEqual(told("state"), ["ready", "broker-away", "ready"]);
});

test("a lost connection is made again after 0.5 s to a bound that doubles up to 30 s", async () => {
  for (const [random, bounds] of [
    [0, [500, 500, 500, 500, 500, 500, 500, 500]],
    [1, [1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]],
    [0.5, [750, 1250, 2250, 4250, 8250, 15250, 15250, 15250]],
  ]) {
    const { bridge, clock, sockets } = scripted({ random: () => random });
    for (const [index, delay] of bounds.entries()) {
      sockets.at(-1).end();
      assert.equal(bridge.state, "server-away");
      assert.deepEqual(clock.pending, [delay]);
      await clock.advance(delay - 1);
      assert.equal(sockets.length, index + 1);
      await clock.advance(1);
      assert.equal(sockets.length, index + 2);
    }
  }
});

test("the same client comes back", async () => {
  const { bridge, sockets, again, told } = scripted();
  sockets[0].greet();
  await again();
  assert.equal(sockets[1].url.href, sockets[0].url.href);
  assert.equal(bridge.state, "ready");
  assert.deepEqual(told("state"), ["ready", "server-away", "ready"]);
});

test("the delay is short again after a connection that lived, and only then", async () => {
  const { clock, sockets } = scripted({ random: () => 1 });
  sockets[0].end();
  await clock.advance(1000);
  sockets[1].greet();
  sockets[1].end();
  assert.deepEqual(clock.pending, [2000]);
  await clock.advance(2000);
  sockets[2].greet();
  await clock.advance(25_000);
  sockets[2].end();
  assert.deepEqual(clock.pending, [1000]);
});

test("it comes back after every close code but 4500 to 4999", async () => {
  for (const code of [1000, 1001, 1006, 1008, 1011, 1012, 1013, 1015, 3000, 4000, 4499, 5000]) {
    const { bridge, clock, sockets } = scripted();
    sockets[0].greet();
    sockets[0].end(code);
    assert.equal(bridge.state, "server-away");
    await clock.advance(1000);
    assert.equal(sockets.length, 2, `${code}`);
  }
});

test("after 4500 to 4999 it stays away and says why", async () => {
  for (const [code, reason, word, text] of [
    [4500, "", "refused", "Closed with 4500."],
    [4501, "Who are you?", "unauthenticated", "Who are you?"],
    [4503, "You may not.", "forbidden", "You may not."],
    [4999, "", "refused", "Closed with 4999."],
  ]) {
    const { bridge, clock, socket, sockets, told } = scripted();
    socket.greet();
    const ended = [];
    bridge.subscribe("/topic/a").on("ended", (error) => ended.push(error.code));
    const publish = assert.rejects(bridge.publish("/topic/a", 1), { code: word });
    socket.end(code, reason);
    assert.equal(bridge.state, "closed");
    await publish;
    assert.deepEqual(ended, [word]);
    const [error] = told("error");
    assert.ok(error instanceof BridgeError);
    assert.deepEqual([error.name, error.code, error.message], ["BridgeError", word, text]);
    assert.deepEqual(clock.pending, []);
    await clock.advance(100_000);
    assert.equal(sockets.length, 1);
  }
});

test("an error that nobody listens for is logged", (t) => {
  const logged = t.mock.method(console, "error", () => {});
  const sockets = [];
  class WebSocket {
    constructor() {
      sockets.push(this);
    }
    close() {}
  }
  connect("ws://a/ws", { WebSocket, clock: new Clock() });
  sockets[0].onclose({ code: 4503, reason: "No." });
  assert.equal(logged.mock.calls[0].arguments[0].code, "forbidden");
});

test("a server that drains is left for as long as it says", async () => {
  const { clock, sockets, told, bridge } = scripted();
  sockets[0].greet();
  sockets[0].say({ op: "drain", reconnect_after: 2.7 });
  assert.deepEqual(told("drain"), [{ reconnect_after: 2.7 }]);
  assert.equal(bridge.state, "ready");
  sockets[0].end(1012);
  assert.deepEqual(clock.pending, [2700]);
  await clock.advance(2700);
  assert.equal(sockets.length, 2);
  sockets[1].end();
  assert.deepEqual(clock.pending, [1250], "the next delay is an ordinary one");
});

test("a handshake or a greeting that never comes is given up after 10 s", async () => {
  for (const shaken of [false, true]) {
    const { bridge, clock, sockets } = scripted();
    if (shaken) sockets[0].readyState = 1;
    await clock.advance(9999);
    assert.equal(bridge.state, "connecting");
    await clock.advance(1);
    assert.equal(bridge.state, "server-away");
    assert.equal(sockets[0].closed, 1000);
    await clock.advance(750);
    assert.equal(sockets.length, 2);
  }
});

test("after a heartbeat of silence it asks, and counts the server as gone 10 s later", async () => {
  const { bridge, clock, sockets } = scripted();
  sockets[0].greet({ heartbeat: 25 });
  await clock.advance(50_000);
  assert.deepEqual(sockets[0].all("ping").length, 1);
  await clock.advance(9999);
  assert.equal(bridge.state, "ready");
  await clock.advance(1);
  assert.equal(bridge.state, "server-away");
  assert.equal(sockets[0].closed, 1000);
});

test("an answer to the ping, or anything else, is a sign of life", async () => {
  const { bridge, clock, sockets, socket } = scripted();
  socket.greet({ heartbeat: 10 });
  for (let round = 0; round < 5; round++) {
    await clock.advance(20_000);
    socket.take("ping");
    socket.say({ op: "pong" });
  }
  for (let second = 0; second < 100; second++) {
    await clock.advance(1000);
    socket.deliver("/topic/a", 1);
  }
  assert.deepEqual(socket.sent, []);
  assert.equal(bridge.state, "ready");
  assert.equal(sockets.length, 1);
});

test("a server that names no heartbeat is asked after 25 s", async () => {
  const { clock, socket } = scripted();
  socket.greet({ heartbeat: 0 });
  await clock.advance(49_999);
  assert.deepEqual(socket.sent, []);
  await clock.advance(1);
  socket.take("ping");
});

test("frames of unknown ops, of no op and of no JSON are ignored", () => {
  const { bridge, socket, told } = scripted();
  socket.greet();
  for (const frame of [{ op: "news", id: 1 }, {}, [], "nonsense", "", "7", "null", '"x"']) {
    socket.say(frame);
  }
  socket.say({ op: "published", id: "nobody's" });
  socket.say({ op: "error", id: "nobody's", code: "x", message: "y" });
  socket.say({ op: "pong" });
  socket.say({ op: "message", destination: "/topic/unknown", body: 1 });
  assert.equal(bridge.state, "ready");
  assert.deepEqual(told("error"), []);
});

test("an error of no request is told", () => {
  const { socket, told } = scripted();
  socket.greet();
  socket.say({ op: "error", code: "bad_frame", message: "The frame can't be read." });
  assert.deepEqual([told("error")[0].code, told("error")[0].message], [
    "bad_frame",
    "The frame can't be read.",
  ]);
});

test("what an old socket still says is not heard", async () => {
  const { bridge, sockets, clock } = scripted();
  sockets[0].greet();
  await clock.advance(60_000); // the server is silent
  assert.equal(bridge.state, "server-away");
  sockets[0].say({ op: "link", state: "down" });
  sockets[0].end(4503);
  assert.equal(bridge.state, "server-away");
  await clock.advance(750);
  sockets[1].greet();
  sockets[0].end();
  assert.equal(bridge.state, "ready");
});

test("a constructor that throws is a failed attempt", async (t) => {
  t.mock.method(console, "error", () => {});
  let attempts = 0;
  class WebSocket {
    constructor() {
      attempts++;
      throw new Error("an insecure WebSocket from a page of https");
    }
  }
  const clock = new Clock();
  const bridge = connect("ws://a/ws", { WebSocket, clock, random: () => 0 });
  const errors = [];
  bridge.on("error", (error) => errors.push(error.message));
  // The first one has failed before anybody could listen.
  await clock.advance(1000);
  assert.equal(bridge.state, "server-away");
  assert.equal(attempts, 3);
  assert.match(errors[0], /insecure/);
  bridge.close();
});

test("close ends it", async () => {
  const { bridge, clock, socket, sockets, told } = scripted();
  socket.greet();
  const publish = assert.rejects(bridge.publish("/topic/a", 1), { code: "closed" });
  const subscription = bridge.subscribe("/topic/a");
  const loop = (async () => {
    for await (const _ of subscription);
  })();
  bridge.close();
  bridge.close();
  await publish;
  await loop;
  assert.equal(subscription.ended, true);
  assert.equal(bridge.state, "closed");
  assert.equal(socket.closed, 1000);
  assert.deepEqual(clock.pending, []);
  socket.end(1000);
  await clock.advance(100_000);
  assert.equal(sockets.length, 1);
  await assert.rejects(bridge.publish("/topic/a", 1), { code: "closed" });
  assert.throws(() => bridge.subscribe("/topic/a"), { code: "closed" });
  assert.deepEqual(told("error"), []);
});

test("close ends an attempt and a wait too", async () => {
  const attempt = scripted();
  attempt.bridge.close();
  assert.equal(attempt.socket.closed, 1000);
  const wait = scripted();
  wait.socket.end();
  wait.bridge.close();
  for (const { clock, sockets } of [attempt, wait]) {
    assert.deepEqual(clock.pending, []);
    await clock.advance(100_000);
    assert.equal(sockets.length, 1);
  }
});

test("a listener can leave, and one that throws is in nobody's way", async (t) => {
  const uncaught = [];
  const listener = (error) => uncaught.push(error.message);
  const listeners = process.listeners("unhandledRejection");
  process.removeAllListeners("unhandledRejection");
  process.on("unhandledRejection", listener);
  t.after(() => {
    process.off("unhandledRejection", listener);
    for (const each of listeners) process.on("unhandledRejection", each);
  });
  const { bridge, socket } = scripted();
  const heard = [];
  const leave = bridge.on("state", (state) => heard.push(`one ${state}`));
  bridge.on("state", () => {
    throw new Error("mine");
  });
  bridge.on("state", (state) => heard.push(`two ${state}`));
  socket.greet();
  leave();
  socket.say({ op: "link", state: "down" });
  await settle();
  assert.deepEqual(heard, ["one ready", "two ready", "two broker-away"]);
  assert.deepEqual(uncaught, ["mine", "mine"]);
});

// -- the token

test("the token is asked for before each attempt, and shown before anything else", async () => {
  let count = 0;
  const { bridge, sockets, again } = scripted({ token: async () => `token ${++count}` });
  assert.equal(sockets.length, 0);
  bridge.subscribe("/topic/a");
  bridge.publish("/topic/a", 1).catch(() => {});
  await settle();
  sockets[0].greet();
  assert.equal(bridge.state, "connecting");
  assert.deepEqual(sockets[0].sent.map(({ op, token }) => [op, token]), [["auth", "token 1"]]);
  const { id } = sockets[0].take("auth");
  sockets[0].say({ op: "authenticated", id, user: "ada", expires: 1789 });
  assert.equal(bridge.state, "ready");
  assert.deepEqual(sockets[0].sent.map(({ op }) => op), ["subscribe", "publish"]);
  await again();
  assert.equal(sockets[1].take("auth").token, "token 2");
  bridge.close();
});

test("a server without users takes everybody", async () => {
  const { bridge, sockets, told } = scripted({ token: () => "t" });
  await settle();
  sockets[0].greet();
  sockets[0].say({ op: "link", state: "down" });
  sockets[0].refuse("auth", "unknown_op");
  assert.equal(bridge.state, "broker-away");
  assert.deepEqual(told("error"), []);
});

test("without a token nothing is shown", async () => {
  const { bridge, sockets } = scripted({ token: () => undefined });
  await settle();
  sockets[0].greet();
  assert.equal(bridge.state, "ready");
  assert.deepEqual(sockets[0].sent, []);
});

test("after 4401 and after a refusal the hook is told so", async () => {
  const hints = [];
  const { bridge, clock, sockets, told } = scripted({
    token: (hint) => {
      hints.push(hint.refused);
      return "t";
    },
  });
  const authenticate = () => {
    const { id } = sockets.at(-1).take("auth");
    sockets.at(-1).say({ op: "authenticated", id, user: "ada" });
  };
  await settle();
  sockets[0].greet();
  authenticate();
  sockets[0].end(4401);
  await clock.advance(750);
  sockets[1].greet();
  sockets[1].refuse("auth", "token_expired", "Too old.");
  assert.equal(bridge.state, "server-away");
  assert.equal(sockets[1].closed, 1000);
  assert.deepEqual(told("error").map(({ code }) => code), ["token_expired"]);
  assert.deepEqual(told("away")[1], { code: 4401, reason: "Too old.", retryIn: 1250 });
  await clock.advance(2000);
  sockets[2].greet();
  authenticate();
  assert.equal(bridge.state, "ready");
  sockets[2].end();
  await clock.advance(5000);
  assert.deepEqual(hints, [false, true, true, false]);
});

test("a hook that fails or never answers is a failed attempt", async () => {
  let answer = () => Promise.reject(new Error("no network"));
  const { bridge, clock, sockets, told } = scripted({ token: () => answer() });
  await settle();
  assert.equal(bridge.state, "server-away");
  assert.deepEqual(told("error").map(({ message }) => message), ["no network"]);
  assert.deepEqual(told("away"), [{ code: 1006, reason: "no network", retryIn: 750 }]);
  let late;
  answer = () => new Promise((resolve) => (late = resolve));
  await clock.advance(750);
  assert.deepEqual(clock.pending, [10_000]);
  await clock.advance(10_000);
  assert.equal(bridge.state, "server-away");
  answer = () => "t";
  await clock.advance(1250);
  assert.equal(sockets.length, 1);
  late("old");
  await settle();
  assert.equal(sockets.length, 1, "the answer came too late");
  // No answer to auth either.
  sockets[0].greet();
  await clock.advance(10_000);
  assert.equal(bridge.state, "server-away");
  assert.equal(sockets[0].closed, 1000);
});

// -- in a page

function page(t) {
  const document = Object.assign(new EventTarget(), { hidden: false });
  const network = new EventTarget();
  globals(t, { document, addEventListener: network.addEventListener.bind(network) });
  return {
    show(hidden = false) {
      document.hidden = hidden;
      document.dispatchEvent(new Event("visibilitychange"));
    },
    online: () => network.dispatchEvent(new Event("online")),
  };
}

for (const [what, hurry] of [
  ["a network that is back", (it) => it.online()],
  ["somebody who looks at the page", (it) => it.show()],
]) {
  test(`${what} shortens the wait`, async (t) => {
    const it = page(t);
    const { clock, sockets } = scripted({ random: () => 1 });
    for (let round = 0; round < 5; round++) {
      sockets.at(-1).end();
      if (round < 4) await clock.advance(clock.pending[0]);
    }
    assert.deepEqual(clock.pending, [16_000]);
    hurry(it);
    assert.deepEqual(clock.pending, [500]);
    await clock.advance(500);
    assert.equal(sockets.length, 6);
    hurry(it); // an attempt is not disturbed
    assert.deepEqual(clock.pending, [10_000]);
  });

  test(`${what} lets a connection be tried at once`, async (t) => {
    const it = page(t);
    const { bridge, clock, socket } = scripted();
    socket.greet();
    hurry(it);
    socket.take("ping");
    await clock.advance(10_000);
    assert.equal(bridge.state, "server-away");
  });

  test(`${what} does not shorten what a draining server asked for`, (t) => {
    const it = page(t);
    const { clock, socket } = scripted();
    socket.greet();
    socket.say({ op: "drain", reconnect_after: 4 });
    socket.end(1001);
    hurry(it);
    assert.deepEqual(clock.pending, [4000]);
  });

  test(`${what} wakes no closed bridge`, (t) => {
    const it = page(t);
    const { bridge, clock } = scripted();
    bridge.close();
    hurry(it);
    assert.deepEqual(clock.pending, []);
  });
}

test("a page that is hidden hurries nobody", (t) => {
  const it = page(t);
  const { clock, socket } = scripted();
  socket.greet();
  it.show(true);
  assert.deepEqual(socket.sent, []);
  socket.end();
  it.show(true);
  assert.deepEqual(clock.pending, [750]);
});
