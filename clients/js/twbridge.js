// RabbitMQ in a page or in Node, over one WebSocket that comes back by itself. twbridge.d.ts says
// what everything promises. MIT licence.

// All in milliseconds.
const PATIENCE = 10_000; // with a handshake, and after a ping
const SHORTEST = 500; // before connecting again; the longest doubles with each failure
const LONGEST = 30_000;
const AGAIN = 5_000; // at most, before asking again for what was refused for now
const FOR_NOW = /^(not_ready|timeout|unknown|internal|rate_limited)$/;
const REASONS = { 4501: "unauthenticated", 4503: "forbidden" };

export class BridgeError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "BridgeError";
    this.code = code;
  }
}

/** A callback's mistake is shown as uncaught. */
const blame = (error) => void Promise.reject(error);

class Emitter {
  #listeners = {};

  on(event, listener) {
    const listeners = (this.#listeners[event] ??= new Set());
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  _tell(event, detail) {
    const listeners = [...(this.#listeners[event] ?? [])];
    for (const listener of listeners) {
      try {
        listener(detail);
      } catch (error) {
        blame(error);
      }
    }
    return listeners.length > 0;
  }
}

class Message {
  #settle;

  constructor(frame, settle) {
    const { destination, routing_key, body, base64, headers, properties, offset } = frame;
    this.destination = destination;
    this.routingKey = routing_key;
    this.body = base64 === undefined ? body : Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    this.headers = headers;
    this.properties = properties;
    this.redelivered = !!frame.redelivered;
    if (offset !== undefined) this.offset = offset;
    this.#settle = settle;
  }

  get json() {
    const { body, properties } = this;
    if (body instanceof Uint8Array) return JSON.parse(new TextDecoder().decode(body));
    const text = typeof body === "string" && !/[/+]json/i.test(properties.content_type);
    return text ? JSON.parse(body) : body;
  }

  get bytes() {
    const { body } = this;
    if (body instanceof Uint8Array) return body;
    return new TextEncoder().encode(typeof body === "string" ? body : JSON.stringify(body));
  }

  ack() {
    return this.#settle("ack");
  }

  nack({ requeue = true } = {}) {
    return this.#settle("nack", requeue);
  }
}

class Subscription extends Emitter {
  active = false;
  ended = false;
  position;
  #bridge;
  #callback;
  #options;
  #acks;
  #live; // what comes while nobody listens is not kept
  #key; // of the position in the storage
  #next; // offset
  #asked = false;
  #again = false; // it was active before
  #busy = false; // with a promise of the callback
  #first = {}; // of a list of messages, behind an empty head
  #last = this.#first;
  #wake;
  #error;
  #ready;

  constructor(bridge, destination, callback, options) {
    super();
    this.destination = destination;
    this.#bridge = bridge;
    this.#callback = callback;
    this.#options = options;
    this.#acks = /client|manual/.test(options.ack);
    this.#live = /^.(topic|exchange)/.test(destination);
    this.ready = new Promise((resolve, reject) => (this.#ready = { resolve, reject }));
    this.ready.catch(() => {});
    if (options.resume) {
      this.#key = `twbridge:${options.resume}:${destination}`;
      const kept = this.#stored("getItem");
      if (kept) this.#next = (this.position = Number(kept)) + 1;
    }
  }

  /** A storage may be full, forbidden or missing. */
  #stored(method, ...value) {
    try {
      return (this.#options.storage ?? sessionStorage)[method](this.#key, ...value);
    } catch {
      return null;
    }
  }

  get #from() {
    const { from } = this.#options;
    if (this.#next !== undefined) return `offset=${this.#next}`;
    if (from instanceof Date) return `timestamp=${Math.floor(from / 1000)}`;
    return typeof from === "number" ? `offset=${from}` : from;
  }

  _ask(linkUp) {
    const { destination } = this;
    if (linkUp && this.active && this.#live) this._note("gap", { destination });
    if (this.active || this.#asked) return;
    this.#asked = true;
    const { prefetch, overflow } = this.#options;
    const ack = this.#acks ? "client" : undefined;
    const from = this.#from;
    const frame = { op: "subscribe", destination, ack, prefetch, overflow, from };
    this.#bridge._request(frame, ({ op, code, message, destination: name }) => {
      if (this.ended) return;
      this.#asked = false;
      if (op === "error") {
        if (FOR_NOW.test(code)) this.#bridge._askLater();
        else this._end(new BridgeError(code, message));
        return;
      }
      this.active = true;
      this.#bridge._heard.set(name, this);
      this.#ready.resolve(this);
      this._tell("subscribed");
      // The end of a stream is elsewhere by now.
      const moved = /^.stream/.test(destination) && /^(next|last|undefined)$/.test(from);
      if (this.#again && (this.#live || moved)) this._note("gap", { destination });
      this.#again = true;
    });
  }

  /** What was not acknowledged is back in its queue. */
  _lost() {
    this.active = this.#asked = false;
    if (this.#acks) this.#first = this.#last;
  }

  _note(event, detail) {
    if (this.ended) return;
    this.#next = detail.to ?? this.#next;
    this._tell(event, detail);
    this.#bridge._tell(event, detail);
  }

  _deliver(frame, socket) {
    const { destination, delivery_tag, offset } = frame;
    if (this.ended) return;
    if (offset !== undefined) this.#next = offset + 1;
    let open = this.#acks;
    const settle = (op, requeue) => {
      // With an id, or an error for a forgotten tag would seem to be for all.
      const frame = { op, id: op, destination, delivery_tag, requeue };
      const sent = open && this.active && this.#bridge._send(frame, socket);
      open = false;
      return sent;
    };
    this.#last = this.#last.next = { message: new Message(frame, settle) };
    if (this.#callback) this.#pump();
    else this.#wake?.();
  }

  #take() {
    const { next } = this.#first;
    if (!next) return undefined;
    this.#first = next;
    const { message } = next;
    delete next.message;
    return message;
  }

  #pump() {
    let message;
    while (!this.#busy && (message = this.#take())) {
      const done = this.#did.bind(this, message);
      try {
        const result = this.#callback(message, this);
        if (this.#options.ack === "manual" || typeof result?.then !== "function") {
          done();
        } else {
          this.#busy = true;
          const on = () => {
            this.#busy = false;
            this.#pump();
          };
          Promise.resolve(result).then(done).catch(blame).then(on);
        }
      } catch (error) {
        blame(error);
      }
    }
  }

  #did(message) {
    if (this.#options.ack === "client") message.ack();
    if (message.offset === undefined) return;
    this.position = message.offset;
    if (this.#key) this.#stored("setItem", message.offset);
  }

  async *[Symbol.asyncIterator]() {
    try {
      for (;;) {
        const message = this.#take();
        if (message) {
          yield message;
          this.#did(message);
        } else if (!this.ended) {
          await new Promise((resolve) => (this.#wake = resolve));
        } else if (this.#error) {
          throw this.#error;
        } else {
          return;
        }
      }
    } finally {
      this.unsubscribe();
    }
  }

  unsubscribe() {
    const { destination } = this;
    if (this.active || this.#asked) this.#bridge._request({ op: "unsubscribe", destination });
    this.#first = this.#last;
    this._end();
  }

  _end(error) {
    if (this.ended) return;
    this.ended = true;
    this._lost();
    this.#error = error;
    this.#bridge._subscriptions.delete(this.destination);
    this.#ready.reject(error ?? new BridgeError("closed", "It was unsubscribed."));
    this.#wake?.();
    const told = this._tell("ended", error);
    if (error && this.#callback && !told) this.#bridge._complain(error);
  }
}

class Bridge extends Emitter {
  state = "connecting";
  welcome;
  _subscriptions = new Map();
  _heard = new Map(); // on this connection, by the server's names
  #options;
  #clock;
  #url;
  #publishes = new Map(); // not settled, by id
  #answers = new Map(); // awaited on this connection, by id
  #prefix = uuid().slice(0, 8); // another page of the same client has other ids
  #count = 0;
  #attempt; // an older one may still say something
  #socket;
  #started = false; // requests may be sent
  #up; // the broker's link
  #timer; // of the handshake, the heartbeat, or the next attempt
  #waiting = false; // for the next attempt
  #later;
  #silent;
  #failures = 0;
  #drain; // ms to stay away
  #refused = false; // the token
  #closing = new AbortController();

  constructor(url, options) {
    super();
    const { WebSocket } = globalThis;
    const defaults = { WebSocket, clock: globalThis, random: Math.random, pending: 1000 };
    this.#options = { ...defaults, ...options };
    if (!this.#options.WebSocket) throw new TypeError("Give a WebSocket: there is none here.");
    this.#clock = this.#options.clock;
    this.client = this.#options.client ?? uuid();
    this.#url = new URL(url, globalThis.location?.href);
    this.#url.protocol = this.#url.protocol.replace("http", "ws");
    this.#url.searchParams.set("client", this.client);
    this.#url.hash = "";
    const { signal } = this.#closing;
    globalThis.addEventListener?.("online", this.#hurry, { signal });
    globalThis.document?.addEventListener("visibilitychange", this.#hurry, { signal });
    this.#open();
  }

  subscribe(destination, callback, options) {
    if (typeof callback !== "function") [callback, options] = [undefined, callback];
    this.#check();
    if (this._subscriptions.has(destination)) {
      throw new BridgeError("conflict", `You are subscribed to ${destination} already.`);
    }
    const subscription = new Subscription(this, destination, callback, { ...options });
    this._subscriptions.set(destination, subscription);
    if (this.#started) subscription._ask();
    return subscription;
  }

  async publish(destination, body, options = {}) {
    const { headers, properties, mandatory } = options;
    const { id = this.#id(), timeout = this.#options.timeout } = options;
    const publishes = this.#publishes;
    this.#check();
    if (publishes.has(id)) throw new BridgeError("conflict", `${id} is not settled.`);
    if (publishes.size >= this.#options.pending) {
      throw new BridgeError("too_many", `${publishes.size} are not settled.`);
    }
    const bytes = body instanceof ArrayBuffer || ArrayBuffer.isView(body);
    const content = bytes ? { base64: base64(body) } : { body };
    const frame = { op: "publish", id, destination, ...content, headers, properties, mandatory };
    const text = write(frame);
    let timer;
    try {
      await new Promise((resolve, reject) => {
        const publish = { text, resolve, reject };
        publishes.set(id, publish);
        if (this.#started) this.#transmit(publish);
        if (!timeout) return;
        timer = this.#clock.setTimeout(() => {
          const [code, what] = publish.sent ? ["timeout", "confirmed"] : ["not_ready", "sent"];
          reject(new BridgeError(code, `It was not ${what} in ${timeout} ms.`));
        }, timeout);
      });
    } finally {
      this.#clock.clearTimeout(timer);
      publishes.delete(id);
    }
  }

  close() {
    this.#finish();
  }

  _request(frame, answer = () => {}) {
    const id = this.#id();
    this.#answers.set(id, answer);
    this._send({ ...frame, id });
  }

  /** Whether it was sent. */
  _send(frame, socket = this.#socket) {
    const sent = socket === this.#socket && socket?.readyState === 1;
    if (sent) socket.send(write(frame));
    return sent;
  }

  _askLater() {
    this.#clock.clearTimeout(this.#later);
    this.#later = this.#clock.setTimeout(() => this.#linked(), this.#between(AGAIN));
  }

  _complain(error) {
    if (!this._tell("error", error)) console.error(error);
  }

  #open = async () => {
    const attempt = (this.#attempt = {});
    const current = () => attempt === this.#attempt;
    const { token, WebSocket } = this.#options;
    this.#waiting = false;
    this.#drain = undefined;
    this.#after(PATIENCE, this.#lost);
    try {
      const secret = token && (await token({ refused: this.#refused }));
      if (!current()) return;
      const socket = (this.#socket = new WebSocket(this.#url.href, "v1.twbridge.json"));
      socket.onmessage = ({ data }) => current() && this.#receive(data, secret);
      socket.onclose = (event) => current() && this.#lost(event);
      socket.onerror = () => {}; // a close follows
    } catch (error) {
      if (!current()) return;
      this._complain(error);
      this.#lost();
    }
  };

  #receive(data, secret) {
    let frame;
    try {
      frame = Object(JSON.parse(data));
    } catch {
      return;
    }
    this.#silent = false;
    const { op, id, ...detail } = frame;
    const subscription = this._heard.get(frame.destination);
    const answer = this.#answers.get(id);
    if (op === "message") {
      subscription?._deliver(frame, this.#socket);
    } else if (op === "welcome") {
      this.welcome = frame;
      this.#up = true;
      if (secret === undefined) this.#start();
      else this._request({ op: "auth", token: secret }, this.#authenticated);
    } else if (answer) {
      this.#answers.delete(id);
      answer(frame);
    } else if (op === "published") {
      this.#publishes.get(id)?.resolve();
    } else if (op === "error") {
      const error = new BridgeError(frame.code, frame.message);
      if (id === undefined) this._complain(error);
      else this.#publishes.get(id)?.reject(error);
    } else if (op === "unsubscribed") {
      subscription?._end(new BridgeError("ended", frame.reason));
    } else if (op === "gap" || op === "dropped") {
      subscription?._note(op, detail);
    } else if (op === "link") {
      this.#up = frame.state === "up";
      this._tell(op, frame.state);
      if (this.#started) this.#linked(this.#up);
    } else if (op === "drain") {
      this.#drain = 1000 * frame.reconnect_after;
      this._tell(op, detail);
    }
  }

  #authenticated = ({ op, code, message }) => {
    // A server without users takes everybody.
    if (op !== "error" || code === "unknown_op") return this.#start();
    this.#refused = true;
    this._complain(new BridgeError(code, message));
    this.#lost();
  };

  #start() {
    this.#started = true;
    this.#refused = false;
    this.#after(this.#heartbeat, this.#beat);
    this.#linked();
    for (const publish of this.#publishes.values()) this.#transmit(publish);
  }

  #lost = ({ code, reason } = {}) => {
    this.#leave();
    // One of them was too large: the largest.
    if (code === 1009) {
      const sent = [...this.#publishes.values()].filter((publish) => publish.sent);
      sent.sort((a, b) => b.text.length - a.text.length);
      sent[0]?.reject(new BridgeError("too_large", "It is too large for the server."));
    }
    if (code >= 4500 && code < 5000) {
      this.#finish(new BridgeError(REASONS[code] ?? "refused", reason || `Closed with ${code}.`));
      return;
    }
    this.#refused ||= code === 4401;
    this.#waiting = true;
    const longest = Math.min(LONGEST, SHORTEST * 2 ** ++this.#failures);
    this.#after(this.#drain ?? this.#between(longest), this.#open);
    this.#change("server-away");
  };

  #leave() {
    const socket = this.#socket;
    this.#attempt = this.#socket = undefined;
    this.#started = this.#waiting = false;
    this.#answers.clear();
    this._heard.clear();
    this.#clock.clearTimeout(this.#timer);
    this.#clock.clearTimeout(this.#later);
    for (const subscription of this._subscriptions.values()) subscription._lost();
    socket?.close();
  }

  #finish(error) {
    if (this.state === "closed") return;
    this.#leave();
    this.#closing.abort();
    this.#change("closed");
    const reason = error ?? new BridgeError("closed", "The bridge is closed.");
    for (const publish of this.#publishes.values()) publish.reject(reason);
    for (const subscription of this._subscriptions.values()) subscription._end(error);
    if (error) this._complain(error);
  }

  #check() {
    if (this.state === "closed") throw new BridgeError("closed", "The bridge is closed.");
  }

  #id() {
    return `${this.#prefix}.${++this.#count}`;
  }

  #transmit(publish) {
    publish.sent = true;
    this.#socket.send(publish.text);
  }

  #linked(again) {
    this.#change(this.#up ? "ready" : "broker-away");
    for (const subscription of this._subscriptions.values()) subscription._ask(again);
  }

  #change(state) {
    if (state === this.state) return;
    this.state = state;
    this._tell("state", state);
  }

  /** Full jitter: a thousand clients do not come back at once. */
  #between(longest) {
    return SHORTEST + this.#options.random() * (longest - SHORTEST);
  }

  #after(ms, then) {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = this.#clock.setTimeout(() => then(), ms);
  }

  get #heartbeat() {
    return 1000 * (this.welcome.heartbeat || 25);
  }

  // A page sees no pings: after a heartbeat of silence it sends one.

  #beat = () => {
    this.#failures = 0; // the connection is stable
    if (this.#silent) return this.#ping();
    this.#silent = true;
    this.#after(this.#heartbeat, this.#beat);
  };

  #ping() {
    this.#silent = true;
    this._send({ op: "ping" });
    this.#after(PATIENCE, () => (this.#silent ? this.#lost() : this.#beat()));
  }

  /** The network is back, or somebody looks at the page. */
  #hurry = () => {
    if (globalThis.document?.hidden) return;
    if (this.#started) this.#ping();
    else if (this.#waiting && this.#drain === undefined) {
      this.#after(this.#options.random() * SHORTEST, this.#open);
    }
  };
}

/** Half a surrogate pair is no character: nobody could read the frame. */
const write = (frame) =>
  JSON.stringify(frame).replace(/\\(u(d[89a-f]..)|.)/g, (all, _, half) => (half ? "\ufffd" : all));

function base64(data) {
  const bytes = new Uint8Array(data.buffer ?? data, data.byteOffset, data.byteLength);
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/** crypto.randomUUID needs https. */
function uuid() {
  const { crypto } = globalThis;
  const digit = () => (crypto ? crypto.getRandomValues(new Uint8Array(1))[0] : Math.random() * 256);
  return "10000000-1000-4000-8000-100000000000".replace(/[018]/g, (c) =>
    (c ^ ((digit() & 15) >> (c / 4))).toString(16),
  );
}

export function connect(url = "/ws", options) {
  if (typeof url === "object" && !(url instanceof URL)) return connect("/ws", url);
  return new Bridge(url, options);
}
