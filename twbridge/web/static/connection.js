// The way to the bridge, in its JSON dialect: connects, subscribes, publishes, and comes back by
// itself. Knows nothing of the page.

const SUBPROTOCOL = "v1.twbridge.json";
const FIRST_DELAY = 500; // ms; doubles with each failure, and the wait is anywhere below it
const LONGEST_DELAY = 10_000;
const PATIENCE = 10_000; // ms for an answer, before the server counts as gone
const STAY_AWAY = [4500, 4999]; // close codes after which there is no use in trying again

/** A publish that did not succeed. `code` is the server's, or "lost". */
export class PublishError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/**
 * Events: "state" (detail: connecting, ready, server-away, broker-away or refused), "message"
 * (detail: the frame) and "gap" (messages may be missing).
 */
export class Connection extends EventTarget {
  #url;
  #destination;
  #socket = null;
  #state = "connecting";
  #failures = 0;
  #retry = 0;
  #heartbeat = 0;
  #patience = 0;
  #last = 0; // number of the last request
  #publishes = new Map(); // id -> {resolve, reject}
  #subscribing = null; // id
  #subscribed = false;
  #wasReady = false;
  #linkUp = true;

  constructor(url, destination) {
    super();
    this.#url = url;
    this.#destination = destination;
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.#hurry();
    });
  }

  get state() {
    return this.#state;
  }

  open() {
    clearTimeout(this.#retry);
    this.#retry = 0;
    let socket;
    try {
      socket = new WebSocket(this.#url, SUBPROTOCOL);
    } catch {
      this.#away();
      return;
    }
    this.#socket = socket;
    this.#expect();
    // An old socket may still have something to say when there is a new one already.
    const ifCurrent = (react) => (event) => {
      if (this.#socket === socket) react(event);
    };
    socket.addEventListener("message", ifCurrent((event) => this.#receive(event.data)));
    socket.addEventListener("close", ifCurrent((event) => this.#lost(event.code)));
  }

  /** Resolves when the broker has the message. @throws {PublishError} */
  publish(destination, body, properties) {
    const id = this.#request({ op: "publish", destination, body, properties });
    if (id === null) {
      return Promise.reject(new PublishError("lost", "The server is away."));
    }
    return new Promise((resolve, reject) => this.#publishes.set(id, { resolve, reject }));
  }

  #request(frame) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return null;
    const id = `p${++this.#last}`;
    this.#socket.send(JSON.stringify({ ...frame, id }));
    return id;
  }

  #receive(data) {
    this.#heard();
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return;
    }
    switch (frame.op) {
      case "welcome":
        this.#failures = 0;
        this.#linkUp = true;
        this.#beat(frame.heartbeat);
        this.#subscribe();
        break;
      case "subscribed":
        this.#subscribing = null;
        this.#subscribed = true;
        this.#settle();
        break;
      case "unsubscribed":
        this.#subscribed = false;
        this.#change("broker-away");
        setTimeout(() => this.#subscribe(), FIRST_DELAY);
        break;
      case "published":
        this.#take(frame.id)?.resolve();
        break;
      case "error":
        this.#refused(frame);
        break;
      case "link":
        this.#linkUp = frame.state === "up";
        if (this.#linkUp) this.#subscribe();
        this.#settle();
        break;
      case "gap":
        this.dispatchEvent(new CustomEvent("gap"));
        break;
      case "message":
        this.dispatchEvent(new CustomEvent("message", { detail: frame }));
        break;
    }
  }

  #subscribe() {
    if (this.#subscribed || this.#subscribing !== null) return;
    this.#subscribing = this.#request({ op: "subscribe", destination: this.#destination });
  }

  #refused(frame) {
    if (frame.id === this.#subscribing) {
      this.#subscribing = null;
      if (frame.code === "forbidden") {
        this.#change("refused");
      } else {
        this.#change("broker-away");
        setTimeout(() => this.#subscribe(), Math.random() * LONGEST_DELAY);
      }
      return;
    }
    this.#take(frame.id)?.reject(new PublishError(frame.code, frame.message));
  }

  #take(id) {
    const waiting = this.#publishes.get(id);
    this.#publishes.delete(id);
    return waiting;
  }

  /** Says where we are, from what is known. */
  #settle() {
    if (!this.#linkUp) {
      this.#change("broker-away");
    } else if (this.#subscribed) {
      this.#change("ready");
    }
  }

  #change(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
    if (state !== "ready") return;
    if (this.#wasReady) this.dispatchEvent(new CustomEvent("gap"));
    this.#wasReady = true;
  }

  // Whether the server is still there: a socket may be dead for minutes and not know it.

  #beat(seconds) {
    clearInterval(this.#heartbeat);
    this.#heartbeat = setInterval(() => {
      if (this.#patience) return;
      if (this.#request({ op: "ping" }) !== null) this.#expect();
    }, Math.max(5, Number(seconds) || 25) * 1000);
  }

  #expect() {
    clearTimeout(this.#patience);
    this.#patience = setTimeout(() => {
      this.#socket?.close();
      this.#lost(1006);
    }, PATIENCE);
  }

  #heard() {
    clearTimeout(this.#patience);
    this.#patience = 0;
  }

  #lost(code) {
    this.#heard();
    clearInterval(this.#heartbeat);
    this.#socket = null;
    this.#subscribed = false;
    this.#subscribing = null;
    const publishes = [...this.#publishes.values()];
    this.#publishes.clear();
    for (const { reject } of publishes) {
      reject(new PublishError("unknown", "The connection was lost."));
    }
    if (code >= STAY_AWAY[0] && code <= STAY_AWAY[1]) {
      this.#change("refused");
    } else {
      this.#away();
    }
  }

  #away() {
    this.#change("server-away");
    const bound = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.#failures++);
    this.#retry = setTimeout(() => this.open(), Math.random() * bound);
  }

  /** The network is back, or somebody looks at the page: no long wait now. */
  #hurry() {
    if (!this.#retry) return;
    clearTimeout(this.#retry);
    this.#failures = 0;
    this.#retry = setTimeout(() => this.open(), Math.random() * FIRST_DELAY);
  }
}
