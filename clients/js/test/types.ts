// What the types allow, and what they don't; compiled and not run.

import { BridgeError, connect, type Bridge, type Message, type Subscription } from "twbridge";

interface Line {
  name: string;
  text: string;
}

const bare: Bridge = connect();
connect({ timeout: 5000 });
const bridge = connect(new URL("wss://app.example/ws"), {
  token: async ({ refused }) => (refused ? undefined : "t"),
  WebSocket,
  clock: globalThis,
  random: Math.random,
});

bare.subscribe("/topic/news.#", console.log);
const lines: Subscription<Line> = bridge.subscribe<Line>(
  "/stream/chat",
  ({ body, offset }) => {
    const text: string = body.text;
    if (offset === 7) lines.unsubscribe();
    return text;
  },
  { from: "first", resume: "page", storage: localStorage, overflow: "block" },
);
bridge.subscribe("/stream/chat", { from: 7 });
bridge.subscribe("/stream/chat", { from: new Date() });
bridge.subscribe("/stream/chat", { from: "offset=7" });

async function all(): Promise<void> {
  await lines.ready;
  await bridge.publish("/topic/a", new Uint8Array(3), {
    headers: { a: [1, { b: null }] },
    properties: { delivery_mode: 2, expiration: "1000" },
    mandatory: true,
    timeout: 1000,
    id: "order 7",
  });
  const sum: number = await bridge.call<number>("add", [1, 2], {
    timeout: 3000,
    onProgress: ({ done }) => console.log(done),
    signal: AbortSignal.timeout(1000),
    headers: { a: 1 },
  });
  console.log(sum, await bare.call("now"));
  for await (const message of bridge.subscribe<Line>("/queue/work", { ack: "client", prefetch: 5 })) {
    const each: Message<Line> = message;
    const sent: boolean = each.ack() || each.nack({ requeue: false });
    console.log(sent, each.body.name, each.bytes.length, each.json, each.properties.timestamp);
  }
}

const leave: () => void = bridge.on("state", (state) => {
  // @ts-expect-error there is no such state
  if (state === "open") return;
});
bridge.on("gap", ({ destination, from, to }) => console.log(destination, from ?? 0, to ?? 0));
bridge.on("drain", ({ reconnect_after }) => reconnect_after.toFixed());
lines.on("ended", (error) => error instanceof BridgeError && error.code.length);
bridge.on("away", ({ code, reason, retryIn }) => console.log(code.toFixed(), reason, retryIn / 2));
lines.on("error", (error) => error.code.length);
lines.on("dropped", ({ count }) => count.toFixed());
all().finally(leave);

// @ts-expect-error no such event
bridge.on("open", () => {});
// @ts-expect-error no such way to acknowledge
bridge.subscribe("/queue/a", { ack: "maybe" });
// @ts-expect-error a headers table is one
bridge.publish("/topic/a", 1, { headers: 7 });
// @ts-expect-error calls have no id of yours
bridge.call("add", 1, { id: "c1" });
// @ts-expect-error its state is its own
bridge.state = "ready";
// @ts-expect-error a clock needs both
connect({ clock: { setTimeout } });
// @ts-expect-error a callback gets the message alone
bridge.subscribe("/topic/a", (message, subscription) => subscription.unsubscribe());
// @ts-expect-error the bridge's own user would be claimed
bridge.publish("/topic/a", 1, { properties: { user_id: "ada" } });
// @ts-expect-error misspelt
bridge.subscribe("/stream/a", { form: "first" });
