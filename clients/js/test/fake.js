// A server that says what a test tells it to, and a clock that the test turns.

import { setImmediate } from "node:timers/promises";
import { connect } from "../twbridge.js";

/** Lets promises and their followers run. */
export const settle = () => setImmediate();

export class Clock {
  now = 0;
  #timers = new Map();
  #count = 0;

  setTimeout = (callback, ms) => {
    this.#timers.set(++this.#count, { at: this.now + ms, callback });
    return this.#count;
  };

  clearTimeout = (timer) => void this.#timers.delete(timer);

  /** How long each timer has to go, in ms. */
  get pending() {
    return [...this.#timers.values()].map(({ at }) => at - this.now).sort((a, b) => a - b);
  }

  async advance(ms) {
    const end = this.now + ms;
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end);
      if (!due.length) break;
      due.sort(([, a], [, b]) => a.at - b.at);
      const [timer, { at, callback }] = due[0];
      this.#timers.delete(timer);
      this.now = at;
      callback();
      await settle();
    }
    this.now = end;
  }
}

/** One WebSocket, seen from both sides. */
class FakeSocket {
  readyState = 0;
  sent = [];
  closed = null;

  constructor(url, protocol) {
    this.url = new URL(url);
    this.protocol = protocol;
  }

  send(text) {
    if (this.readyState === 0) throw new Error("still in CONNECTING state");
    if (this.readyState === 1) this.sent.push(JSON.parse(text));
  }

  close(code = 1000) {
    if (this.readyState < 2) this.closed = code;
    this.readyState = 2;
  }

  /** The server has shaken hands and greets. */
  greet(fields = {}) {
    this.readyState = 1;
    this.say({ op: "welcome", session: "s", instance: "i", heartbeat: 25, user: null, ...fields });
  }

  say(frame) {
    this.onmessage({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
  }

  /** The handshake is refused: `ws` tells why, a browser does not. */
  refuseHandshake(message) {
    this.readyState = 3;
    this.onerror(message === undefined ? new Event("error") : { type: "error", message });
    this.onclose({ code: 1006, reason: "" });
  }

  /** The connection ends. */
  end(code = 1006, reason = "") {
    this.readyState = 3;
    this.onclose({ code, reason });
  }

  /** Takes the oldest frame out that the client has sent, without the fields that are undefined. */
  take(op) {
    const index = this.sent.findIndex((frame) => frame.op === op);
    if (index < 0) throw new Error(`no ${op} among ${JSON.stringify(this.sent)}`);
    return this.sent.splice(index, 1)[0];
  }

  /** Takes all frames of an op out. */
  all(op) {
    const taken = this.sent.filter((frame) => frame.op === op);
    this.sent = this.sent.filter((frame) => frame.op !== op);
    return taken;
  }

  /** Answers the oldest subscribe; gives the frame. */
  accept(fields = {}) {
    const frame = this.take("subscribe");
    this.say({ op: "subscribed", id: frame.id, destination: frame.destination, ...fields });
    return frame;
  }

  /** Refuses the oldest request of an op. */
  refuse(op, code, message = "No.") {
    const { id } = this.take(op);
    this.say({ op: "error", id, code, message });
  }

  confirm() {
    const frame = this.take("publish");
    this.say({ op: "published", id: frame.id });
    return frame;
  }

  deliver(destination, body, fields = {}) {
    const common = { op: "message", destination, routing_key: "k", headers: {}, properties: {} };
    this.say({ ...common, body, ...fields });
  }
}

/**
 * A bridge on a fake server.
 *
 * `sockets` has what the client has opened, oldest first; `events` all that the bridge told, as
 * [name, detail].
 */
export function scripted(options = {}, url = "ws://bridge.example/ws") {
  const clock = new Clock();
  const sockets = [];
  class WebSocket extends FakeSocket {
    constructor(...parameters) {
      super(...parameters);
      sockets.push(this);
    }
  }
  const bridge = connect(url, { WebSocket, clock, random: () => 0.5, ...options });
  const events = [];
  for (const name of ["state", "link", "gap", "dropped", "drain", "away", "error"]) {
    bridge.on(name, (detail) => events.push([name, detail]));
  }
  return {
    bridge,
    clock,
    sockets,
    events,
    get socket() {
      return sockets.at(-1);
    },
    /** The details of one event. */
    told: (name) => events.filter(([each]) => each === name).map(([, detail]) => detail),
    /** The connection breaks, and the next one is greeted. */
    async again(code = 1006) {
      sockets.at(-1).end(code);
      const before = sockets.length;
      for (let turn = 0; sockets.length === before && turn < 200; turn++) await clock.advance(100);
      sockets.at(-1).greet();
    },
  };
}
