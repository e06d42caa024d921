/** Any value that JSON can carry. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

/**
 * Connects, and stays connected until {@link Bridge.close}: after a loss it comes back by itself,
 * subscribes again, resumes streams where they were, and sends again what was not confirmed.
 *
 * Returns at once: subscriptions and publishes wait until the server has greeted.
 *
 * @param url of the bridge's WebSocket: absolute, or relative to the page. `/ws` by default.
 * @throws TypeError there is no WebSocket here (Node before 22), the URL is none of a WebSocket, or
 *   an option is unknown.
 */
export function connect(url?: string | URL, options?: BridgeOptions): Bridge;
export function connect(options: BridgeOptions): Bridge;

export interface BridgeOptions {
  /**
   * Who this is, a UUID; a new one by default. The server applies a publish once for each client
   * and id, so one that is kept over page loads makes an outbox of your own possible, with
   * {@link PublishOptions.id}.
   */
  client?: string;
  /**
   * Asked before each attempt to connect; its result is shown to the server (`auth`). `refused`:
   * the last one was, so a cached one is of no use. Where it throws, the attempt has failed.
   */
  token?: (hint: { refused: boolean }) => string | undefined | Promise<string | undefined>;
  /** Milliseconds that a publish may take, however often the connection is lost. No end by default. */
  timeout?: number;
  /** How many publishes and calls may be unsettled at a time, 1000 by default; more are refused. */
  pending?: number;
  /** An implementation, where there is none in the language: that of the package `ws`, as a rule. */
  WebSocket?: new (url: string, protocol: string) => any;
  /** For tests: what makes timers. */
  clock?: {
    setTimeout(callback: () => void, ms: number): any;
    clearTimeout(timer: any): void;
  };
  /** For tests: numbers from 0 to 1. */
  random?: () => number;
}

/**
 * - `connecting`: for the first time
 * - `ready`: the server is there, and the broker behind it
 * - `broker-away`: the server is there and waits for its broker
 * - `server-away`: the connection is lost; it is tried again
 * - `closed`: for good, by {@link Bridge.close} or by the server (close codes 4500 to 4999)
 */
export type State = "connecting" | "ready" | "broker-away" | "server-away" | "closed";

export interface BridgeEvents {
  state: State;
  /** The broker's link, as the server tells it. */
  link: "up" | "down";
  /** Of any subscription. */
  gap: Gap;
  /** Of any subscription. */
  dropped: Dropped;
  /** The server is about to go, and says in how many seconds to come back, which is done. */
  drain: { reconnect_after: number };
  /** A connection was lost, or an attempt to connect has failed. */
  away: Away;
  /**
   * What has nobody else to hear of it: a refusal for good, a subscription that ended while its
   * callback can't be told, a first attempt to connect that failed (`not_ready`: it goes on trying),
   * a callback that left its message `unacknowledged`, a token hook that threw. Where nobody listens
   * it is logged.
   */
  error: Error;
}

export interface Away {
  /** Of the close; 1006 where there was none. */
  code: number;
  /** What is known: the server's word, or (in Node) that of the failed handshake. */
  reason: string;
  /** Milliseconds until the next attempt, if nothing brings it forward. */
  retryIn: number;
}

export interface Bridge {
  readonly state: State;
  /** The UUID that the server knows this object by; the start of each `message_id`. */
  readonly client: string;
  /** The server's last greeting. */
  readonly welcome?: {
    session: string;
    instance: string;
    server: string;
    heartbeat: number;
    user: string | null;
    /** Bytes of the largest frame that it takes. */
    limit?: number;
  };

  /**
   * Subscribes; for a callback, or for a loop:
   *
   * ```js
   * bridge.subscribe("/topic/news.#", (message) => console.log(message.body));
   *
   * for await (const message of bridge.subscribe("/stream/chat", { from: "first" })) { ... }
   * ```
   *
   * Leaving the loop unsubscribes. Messages are handed over one at a time and in order: the next
   * when the callback's promise has settled, or the loop asks for it.
   *
   * @throws BridgeError `conflict`: there is a subscription to that destination already. `closed`.
   * @throws TypeError an option is unknown, or `ack` is.
   */
  subscribe<T = any>(destination: string, options?: SubscribeOptions): Subscription<T>;
  subscribe<T = any>(
    destination: string,
    callback: (message: Message<T>) => unknown,
    options?: SubscribeOptions,
  ): Subscription<T>;

  /**
   * Publishes. Resolves when the broker has taken responsibility for the message. What is
   * published while the server is away waits; what was sent when the connection was lost is sent
   * again with the same id, which the server applies once.
   *
   * @param body a string or bytes go as they are, anything else as JSON.
   * @throws BridgeError (as a rejection) with the server's code, or with `timeout` (it was sent,
   *   but not confirmed in time), `not_ready` (not even sent in time; or, from the server, its broker
   *   is away), `too_many`, `too_large` (not sent, where the server says what it takes),
   *   `conflict` (that id is not settled yet), `closed`.
   * @throws TypeError (as a rejection): an option is unknown, or the body is nothing that JSON can
   *   carry: undefined, NaN, a function, a Map, a Blob.
   */
  publish(destination: string, body: unknown, options?: PublishOptions): Promise<void>;

  /**
   * Calls a task, which a worker runs; resolves with what it returned: a JSON value, a string or
   * bytes (Uint8Array).
   *
   * ```js
   * const sum = await bridge.call("add", [1, 2], { timeout: 3000, onProgress: console.log });
   * ```
   *
   * @param body a string or bytes go as they are, anything else as JSON; null by default.
   * @throws BridgeError (as a rejection) with the server's code: `not_found` (no worker knows the
   *   task), `worker_error` (it failed), `call_expired` (no worker took it in time), `timeout` (it
   *   did not end in time), `forbidden`, ...; or with `unknown` (the connection was lost: the task
   *   may have run; it is not called again), `cancelled`, `not_ready` (not even sent in time; or,
   *   from the server, its broker is away), `too_many`, `too_large`, `closed`.
   * @throws TypeError (as a rejection) as {@link Bridge.publish}.
   */
  call<T = any>(task: string, body?: unknown, options?: CallOptions): Promise<T>;

  /** Ends it: subscriptions end, what is not settled is rejected with `closed`. */
  close(): void;

  /** Calls `listener` at each event; gives a function that ends that. */
  on<E extends keyof BridgeEvents>(event: E, listener: (detail: BridgeEvents[E]) => void): () => void;
}

export interface PublishOptions {
  headers?: { [name: string]: Json };
  properties?: Properties;
  /** Whether a message that no queue takes is an error, `unroutable`. True for queues and streams. */
  mandatory?: boolean;
  /** Milliseconds; instead of the bridge's. */
  timeout?: number;
  /** A name for it, unique for the client. One that was used is answered, but not applied again. */
  id?: string;
}

export interface CallOptions {
  /**
   * Milliseconds that the task has, 30,000 by default, an hour at most. The server keeps the time
   * from when it has the call; while it is away a call waits for as long.
   */
  timeout?: number;
  /** Gets what the task sends on its way, in order, and before the result. */
  onProgress?: (progress: any) => void;
  /** Ends the call: rejected with `cancelled`, and the worker is told. */
  signal?: AbortSignal;
  /** Reach the task. Names that begin with `twbridge-` or `x-` are refused. */
  headers?: { [name: string]: Json };
}

/** Those of AMQP. */
export interface Properties {
  content_type?: string;
  content_encoding?: string;
  delivery_mode?: 1 | 2;
  priority?: number;
  correlation_id?: string;
  reply_to?: string;
  /** Milliseconds, as digits. */
  expiration?: string;
  /** `<client>/<id>` by default. */
  message_id?: string;
  /** Seconds since 1970. */
  timestamp?: number;
  type?: string;
  app_id?: string;
}

export interface SubscribeOptions {
  /**
   * - `auto` (default): a message is done with when the server has sent it.
   * - `client`: it is acknowledged for you when your callback has returned (its promise has
   *   resolved) or your loop asks for the next one, unless you did so. Where the callback throws it
   *   is not, and `error` is told (`unacknowledged`): it goes to somebody else when this
   *   subscription or its connection ends. After `prefetch` of them nothing more comes until then.
   * - `manual`: you call {@link Message.ack} or {@link Message.nack}; the callback is not waited for,
   *   so up to `prefetch` messages are in work at a time.
   *
   * Not for streams.
   */
  ack?: "auto" | "client" | "manual";
  /** How many messages of a queue may be unacknowledged, or how many of a stream are read ahead. */
  prefetch?: number;
  /** Where a stream is read from: an offset, a time, or a word; `next` by default. */
  from?: "first" | "last" | "next" | number | Date | (string & {});
  /** What becomes of messages when this client's socket is full, not when its callback is slow. */
  overflow?: "close" | "drop-oldest" | "latest" | "block";
  /**
   * A name under which the position in a stream is kept, so that a page that is loaded again goes
   * on behind the last message that its callback or loop was done with. `from` is for the first
   * time.
   */
  resume?: string;
  /** Where it is kept: `sessionStorage` (of this tab) by default, `localStorage`, one of your own. */
  storage?: {
    getItem(key: string): string | null;
    setItem(key: string, value: any): void;
  };
}

/** Messages of this destination may be missing. */
export interface Gap {
  destination: string;
  /** Of a stream: the first offset that is missing. */
  from?: number;
  /** Of a stream: the offset that it goes on with; not above `from` in a stream that was made anew. */
  to?: number;
}

/** The server has dropped messages, because this client reads too slowly. */
export interface Dropped {
  destination: string;
  count: number;
}

export interface SubscriptionEvents<T = any> {
  /** The server has it: what is published from now on arrives. After each reconnect again. */
  subscribed: undefined;
  gap: Gap;
  dropped: Dropped;
  /** It has ended: refused or ended by the server, or (without an error) by you. */
  ended: BridgeError | Error | undefined;
  /** `unacknowledged`: a callback has failed. Told to the bridge where nobody listens here. */
  error: BridgeError;
}

export interface Subscription<T = any> extends AsyncIterable<Message<T>> {
  readonly destination: string;
  /** The server has it, on the connection that there is. */
  readonly active: boolean;
  readonly ended: boolean;
  /** The offset of the last message of a stream that your callback or loop was done with. */
  readonly position?: number;
  /**
   * Resolves when it is active for the first time; rejects when it ends before, and then the
   * bridge's `error` is not told too.
   */
  readonly ready: Promise<Subscription<T>>;
  /** Nothing comes any more; what is not acknowledged goes to somebody else. */
  unsubscribe(): void;
  /** Calls `listener` at each event; gives a function that ends that. */
  on<E extends keyof SubscriptionEvents>(
    event: E,
    listener: (detail: SubscriptionEvents<T>[E]) => void,
  ): () => void;
}

export interface Message<T = any> {
  /** As the server calls what you subscribed to. */
  readonly destination: string;
  readonly routingKey: string;
  /** A JSON value, a string, or bytes (Uint8Array), as the content type says. */
  readonly body: T;
  /** The body as JSON; text and bytes are parsed. @throws SyntaxError it is none. */
  readonly json: any;
  /** The body as bytes. */
  readonly bytes: Uint8Array;
  readonly headers: { [name: string]: any };
  readonly properties: Properties;
  /** In a stream. */
  readonly offset?: number;
  /** It was delivered before, to you or another, and not acknowledged. */
  readonly redelivered: boolean;
  /**
   * It is done with. Gives false where there is nothing to acknowledge: no `ack` option, done
   * already, or its connection is lost, and then it comes again.
   */
  ack(): boolean;
  /** It is refused: back into the queue, or (without `requeue`) dead-lettered. */
  nack(options?: { requeue?: boolean }): boolean;
}

/** What did not work. */
export class BridgeError extends Error {
  /** For programs: the server's word, or one of this library. */
  readonly code: string;
  constructor(code: string, message: string);
}
