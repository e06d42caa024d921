// MIT licence; see twbridge.d.ts.

const PATIENCE = 10_000; // ms
const SHORTEST = 500;
const LONGEST = 30_000;
const AGAIN = 5_000;

export class BridgeError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "BridgeError";
    this.code = code;
  }
}

function known(names, given) {
  for (const name in given) {
    if (!names.split(" ").includes(name)) throw new TypeError(`${name} is none of: ${names}.`);
  }
}

class Emitter {
  #listeners = {};

  on(event, listener) {
    known(this._events, { [event]: 1 });
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
        Promise.reject(error); // shown as uncaught
      }
    }
    return listeners.length > 0;
  }
}

class Message {
  #settle;

  constructor(frame, settle) {
    const { destination, routing_key, headers, properties, offset } = frame;
    this.destination = destination;
    this.routingKey = routing_key;
    this.body = content(frame);
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

  get _open() {
    return this.#settle();
  }

  ack() {
    return this.#settle("ack");
  }

  nack({ requeue = true } = {}) {
    return this.#settle("nack", requeue);
  }
}

class Subscription extends Emitter {
  _events = "subscribed gap dropped ended error";
  active = false;
  ended = false;
  position;
  #bridge;
  #callback;
  #options;
  #ack;
  #live;
  #key;
  #next;
  #asked;
  #again;
  #busy;
  #in = [];
  #out = []; // older, backwards
  #wake;
  #error;
  #ready;
  #promise = new Promise((resolve, reject) => (this.#ready = { resolve, reject }));
  #awaited;

  constructor(bridge, destination, callback, options) {
    super();
    known("ack prefetch from overflow resume storage", options);
    const { ack = "auto" } = options;
    known("auto client manual", { [ack]: 1 });
    this.destination = destination;
    this.#bridge = bridge;
    this.#callback = callback;
    this.#options = options;
    this.#ack = ack;
    this.#live = /^.(topic|exchange)/.test(destination);
    this.#promise.catch(() => {});
    if (options.resume) {
      this.#key = `twbridge:${options.resume}:${destination}`;
      const kept = this.#stored("getItem");
      if (kept) this.#next = (this.position = +kept) + 1;
    }
  }

  get ready() {
    this.#awaited = true;
    return this.#promise;
  }

  #stored(method, ...value) {
    try {
      return (this.#options.storage ?? sessionStorage)[method](this.#key, ...value);
    } catch {}
  }

  _ask(linkUp) {
    const { destination } = this;
    if (linkUp && this.active && this.#live) this._note("gap", { destination });
    if (this.active || this.#asked) return;
    this.#asked = true;
    let { prefetch, overflow, from } = this.#options;
    if (from instanceof Date) from = `timestamp=${Math.floor(from / 1000)}`;
    from = this.#next ?? from;
    if (typeof from === "number") from = `offset=${from}`;
    const ack = this.#ack === "auto" ? undefined : "client";
    const frame = { op: "subscribe", destination, ack, prefetch, overflow, from };
    this.#bridge._request(frame, ({ op, code, message, destination: name }) => {
      if (this.ended) return;
      this.#asked = false;
      if (op === "error") {
        const forNow = /^(not_ready|timeout|unknown|internal|rate_limited)$/.test(code);
        if (forNow) this.#bridge._askLater();
        else this._end(new BridgeError(code, message));
        return;
      }
      this.active = true;
      this.#bridge._heard.set(name, this);
      this.#ready.resolve(this);
      this._tell("subscribed");
      // The end of a stream is elsewhere by now.
      const moved = /^.stream/.test(destination) && !/first|=/.test(from);
      if (this.#again && (this.#live || moved)) this._note("gap", { destination });
      this.#again = true;
    });
  }

  _lost() {
    this.active = this.#asked = false;
    if (this.#ack !== "auto") this.#forget();
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
    let open = this.#ack !== "auto";
    const settle = (op, requeue) => {
      // Errors without an id are for all.
      const frame = op && { op, id: op, destination, delivery_tag, requeue };
      const sent = open && this.active && this.#bridge._send(frame, socket);
      open &&= !op;
      return sent;
    };
    this.#in.push(new Message(frame, settle));
    if (this.#callback) this.#pump();
    else this.#wake?.();
  }

  #take() {
    if (!this.#out.length) [this.#in, this.#out] = [[], this.#in.reverse()];
    return this.#out.pop();
  }

  #forget() {
    this.#in = [];
    this.#out = [];
  }

  #pump() {
    let message;
    while (!this.#busy && (message = this.#take())) this.#hand(message);
  }

  async #hand(message) {
    const ack = this.#ack;
    try {
      const result = this.#callback(message);
      if (ack !== "manual" && result?.then) {
        this.#busy = true;
        await result;
      }
      this.#did(message);
    } catch (error) {
      if (ack === "client" && message._open) {
        const text = `A callback failed: ${this.destination} waits for an ack.`;
        const loss = new BridgeError("unacknowledged", text);
        if (!this._tell("error", loss)) this.#bridge._complain(loss);
      }
      throw error; // shown as uncaught
    } finally {
      if (this.#busy) {
        this.#busy = false;
        this.#pump();
      }
    }
  }

  #did(message) {
    if (this.#ack === "client") message.ack();
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
    this.#forget();
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
    const told = this._tell("ended", error) || (this.#awaited && !this.#again);
    if (error && this.#callback && !told) this.#bridge._complain(error);
  }
}

class Bridge extends Emitter {
  _events = "state link gap dropped drain away error";
  state = "connecting";
  welcome;
  _subscriptions = new Map();
  _heard = new Map(); // by the server's names
  #options;
  #url;
  #asked = new Map(); // publishes and calls, by id
  #answers = new Map();
  #prefix = uuid().slice(0, 8);
  #count = 0;
  #attempt;
  #socket;
  #started = false;
  #up;
  #timer;
  #later;
  #silent;
  #failures = 0;
  #drain;
  #refused = false; // the token
  #closing = new AbortController();

  constructor(url, options) {
    super();
    const { WebSocket } = globalThis;
    const defaults = { WebSocket, clock: globalThis, random: Math.random, pending: 1000 };
    this.#options = { ...defaults, ...options };
    known("client token timeout pending WebSocket clock random", this.#options);
    if (!this.#options.WebSocket) throw new TypeError("Give a WebSocket: there is none here.");
    this.client = this.#options.client ?? uuid();
    this.#url = new URL(url, globalThis.location?.href);
    this.#url.protocol = this.#url.protocol.replace("http", "ws");
    if (!/^wss?:/.test(this.#url)) throw new TypeError(`${url} is no URL of a WebSocket.`);
    this.#url.searchParams.set("client", this.client);
    this.#url.hash = "";
    const { signal } = this.#closing;
    globalThis.addEventListener?.("online", this.#hurry, { signal });
    globalThis.document?.addEventListener("visibilitychange", this.#hurry, { signal });
    this.#open();
  }

  subscribe(destination, callback, options) {
    if (typeof callback !== "function") {
      [callback, options] = [undefined, { ...callback, ...options }];
    }
    this.#check();
    if (this._subscriptions.has(destination)) {
      throw new BridgeError("conflict", `${destination} is subscribed already.`);
    }
    const subscription = new Subscription(this, destination, callback, { ...options });
    this._subscriptions.set(destination, subscription);
    if (this.#started) subscription._ask();
    return subscription;
  }

  async publish(destination, body, options = {}) {
    known("headers properties mandatory id timeout", options);
    const { id = this.#id(), timeout = this.#options.timeout, ...rest } = options;
    await this.#ask({ op: "publish", id, destination, ...rest }, body, timeout);
  }

  async call(task, body = null, options = {}) {
    known("headers timeout onProgress signal", options);
    const { timeout = 30_000, onProgress, signal, ...rest } = options;
    const frame = { op: "call", id: this.#id(), task, timeout: timeout / 1000, ...rest };
    return content(await this.#ask(frame, body, timeout, { signal, onProgress }));
  }

  #ask(frame, body, timeout, once) {
    const { id } = frame;
    const asked = this.#asked;
    this.#check();
    if (asked.has(id)) throw new BridgeError("conflict", `${id} is not settled.`);
    if (asked.size >= this.#options.pending) {
      throw new BridgeError("too_many", `${asked.size} are not settled.`);
    }
    if (body instanceof ArrayBuffer || ArrayBuffer.isView(body)) {
      frame.base64 = base64(body);
    } else {
      const odd = {}.toString.call(body) !== "[object Object]"; // a Map, say
      if ({ undefined: 1, null: body !== null, "{}": odd }[JSON.stringify(body)]) {
        throw new TypeError("The body is no JSON.");
      }
      frame.body = body;
    }
    const text = write(frame);
    let timer, cancel;
    return new Promise((resolve, reject) => {
      const ask = { text, once, resolve, reject };
      cancel = () => {
        if (ask.sent) this._send({ op: "cancel", id });
        reject(new BridgeError("cancelled", "It was cancelled."));
      };
      once?.signal?.addEventListener("abort", cancel);
      if (once?.signal?.aborted) return cancel();
      asked.set(id, ask);
      if (this.#started) this.#transmit(ask);
      if (!timeout) return;
      timer = this.#options.clock.setTimeout(() => {
        if (ask.sent && once) return; // the server ends it
        reject(new BridgeError(ask.sent ? "timeout" : "not_ready", `It took over ${timeout} ms.`));
      }, timeout);
    }).finally(() => {
      this.#options.clock.clearTimeout(timer);
      once?.signal?.removeEventListener("abort", cancel);
      asked.delete(id);
    });
  }

  close() {
    this.#finish();
  }

  _request(frame, answer = () => {}) {
    const id = this.#id();
    this.#answers.set(id, answer);
    this._send({ ...frame, id });
  }

  _send(frame, socket = this.#socket) {
    const sent = socket === this.#socket && socket?.readyState === 1;
    if (sent && frame) socket.send(write(frame));
    return sent;
  }

  _askLater() {
    this.#options.clock.clearTimeout(this.#later);
    this.#later = this.#options.clock.setTimeout(() => this.#linked(), this.#between(AGAIN));
  }

  _complain(error) {
    if (!this._tell("error", error)) console.error(error);
  }

  #open = async () => {
    const attempt = (this.#attempt = {});
    const current = () => attempt === this.#attempt;
    const { token, WebSocket } = this.#options;
    this.#drain = undefined;
    this.#after(PATIENCE, this.#lost);
    try {
      const secret = token && (await token({ refused: this.#refused }));
      if (!current()) return;
      const socket = (this.#socket = new WebSocket(this.#url.href, "v1.twbridge.json"));
      let why; // only Node tells
      socket.onmessage = ({ data }) => current() && this.#receive(data, secret);
      socket.onerror = (event) => (why = event?.message);
      socket.onclose = ({ code, reason }) =>
        current() && this.#lost(code, reason || why || `Closed with ${code}.`);
    } catch (error) {
      if (current()) this.#lost(1006, error?.message, error);
    }
  };

  #receive(data, secret) {
    let frame = {};
    try {
      frame = Object(JSON.parse(data));
    } catch {}
    this.#silent = false;
    const { op, id, ...detail } = frame;
    const subscription = this._heard.get(frame.destination);
    const answer = this.#answers.get(id);
    const asked = this.#asked.get(id);
    if (op === "message") {
      subscription?._deliver(frame, this.#socket);
    } else if (op === "welcome") {
      this.welcome = frame;
      this.#up = true;
      if (secret === undefined) return this.#start();
      this._request({ op: "auth", token: secret }, ({ op, code, message }) => {
        if (op !== "error" || code === "unknown_op") this.#start();
        else this.#lost(4401, message, new BridgeError(code, message));
      });
    } else if (answer) {
      this.#answers.delete(id);
      answer(frame);
    } else if (op === "progress") {
      Promise.resolve(content(frame)).then(asked?.once.onProgress);
    } else if (op === "error") {
      const error = new BridgeError(frame.code, frame.message);
      if (id === undefined) this._complain(error);
      else asked?.reject(error);
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
    } else {
      asked?.resolve(frame);
    }
  }

  #start() {
    this.#started = true;
    this.#refused = false;
    this.#listen();
    this.#linked();
    for (const each of this.#asked.values()) this.#transmit(each);
  }

  #lost = (code = 1006, reason = "There was no answer.", error) => {
    this.#leave();
    if (code === 1009) {
      const [largest] = [...this.#asked.values()].sort((a, b) => b.text.length - a.text.length);
      if (largest?.sent) {
        largest.reject(new BridgeError("too_large", "It is too large for the server."));
      }
    }
    for (const each of this.#asked.values()) {
      if (each.once && each.sent) each.reject(new BridgeError("unknown", reason));
    }
    if (code >= 4500 && code < 5000) {
      const word = { 4501: "unauthenticated", 4503: "forbidden" }[code] ?? "refused";
      return this.#finish(new BridgeError(word, reason));
    }
    this.#refused ||= code === 4401;
    const longest = Math.min(LONGEST, SHORTEST * 2 ** ++this.#failures);
    const retryIn = this.#drain ?? this.#between(longest);
    this.#after(retryIn, this.#open);
    this.#change("server-away");
    this._tell("away", { code, reason, retryIn });
    if (!this.welcome && this.#failures === 1) {
      const where = this.#url.host + this.#url.pathname;
      error ??= new BridgeError("not_ready", `No bridge at ${where} yet: ${reason}`);
    }
    if (error) this._complain(error);
  };

  #leave() {
    const socket = this.#socket;
    this.#attempt = this.#socket = undefined;
    this.#started = false;
    this.#answers.clear();
    this._heard.clear();
    this.#options.clock.clearTimeout(this.#timer);
    this.#options.clock.clearTimeout(this.#later);
    for (const each of this._subscriptions.values()) each._lost();
    socket?.close();
  }

  #finish(error) {
    if (this.state === "closed") return;
    this.#leave();
    this.#closing.abort();
    this.#change("closed");
    for (const each of this.#asked.values()) {
      each.reject(error ?? new BridgeError("closed", "The bridge is closed."));
    }
    for (const each of this._subscriptions.values()) each._end(error);
    if (error) this._complain(error);
  }

  #check() {
    if (this.state === "closed") throw new BridgeError("closed", "The bridge is closed.");
  }

  #id() {
    return `${this.#prefix}.${++this.#count}`;
  }

  #transmit(ask) {
    if (new TextEncoder().encode(ask.text).length > this.welcome.limit) {
      return ask.reject(new BridgeError("too_large", "It is too large for the server."));
    }
    ask.sent = true;
    this.#socket.send(ask.text);
  }

  #linked(again) {
    this.#change(this.#up ? "ready" : "broker-away");
    for (const each of this._subscriptions.values()) each._ask(again);
  }

  #change(state) {
    if (state === this.state) return;
    this.state = state;
    this._tell("state", state);
  }

  #between(longest) {
    return SHORTEST + this.#options.random() * (longest - SHORTEST);
  }

  #after(ms, then) {
    this.#options.clock.clearTimeout(this.#timer);
    this.#timer = this.#options.clock.setTimeout(() => then(), ms);
  }

  #listen() {
    this.#after(1000 * (this.welcome.heartbeat || 25), this.#beat);
  }

  // A page sees no pings, so it sends some.

  #beat = () => {
    this.#failures = 0;
    if (this.#silent) return this.#ping();
    this.#silent = true;
    this.#listen();
  };

  #ping() {
    this.#silent = true;
    this._send({ op: "ping" });
    this.#after(PATIENCE, () => (this.#silent ? this.#lost() : this.#beat()));
  }

  #hurry = () => {
    if (globalThis.document?.hidden) return;
    if (this.#started) this.#ping();
    else if (!this.#attempt && this.#drain === undefined) {
      this.#after(this.#options.random() * SHORTEST, this.#open);
    }
  };
}

/** Nobody could read half a surrogate pair. */
const write = (frame) =>
  JSON.stringify(frame).replace(/\\(u(d[89a-f]..)|.)/g, (all, _, half) => (half ? "\ufffd" : all));

const content = ({ body, base64 }) =>
  base64 === undefined ? body : Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));

function base64(data) {
  const bytes = new Uint8Array(data.buffer ?? data, data.byteOffset, data.byteLength);
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/** It need not be a secret: every message_id shows it. */
const uuid = () =>
  "xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx".replace(/x/g, () => (Math.random() * 16 | 0).toString(16));

export function connect(url = "/ws", options) {
  if (typeof url === "object" && !(url instanceof URL)) return connect("/ws", url);
  return new Bridge(url, options);
}
