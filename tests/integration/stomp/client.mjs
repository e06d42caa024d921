// @stomp/stompjs against a bridge: `node client.mjs <url> <word>`, and the same in a page.
//
// `run` is what both do; it throws at the first thing that is not as promised. It is called with
// a Client class, so that a page can give the one of the package's bundle.

/** A client that is connected, and what it hears. */
async function connect(Client, options) {
  const heard = { errors: [], closes: [] };
  const client = new Client({ reconnectDelay: 0, ...options });
  client.onStompError = (frame) => heard.errors.push(frame);
  client.onWebSocketClose = (event) => heard.closes.push(event);
  await new Promise((resolve, reject) => {
    client.onConnect = resolve;
    heard.refused = new Promise((refused) => {
      client.onWebSocketClose = (event) => {
        heard.closes.push(event);
        refused(event);
        reject(new Error(`closed ${event.code} ${event.reason}`));
      };
    });
    client.activate();
  });
  return { client, heard };
}

/** Messages of a subscription, to be waited for. */
function subscribe(client, destination, headers = {}) {
  const items = [];
  const waiting = [];
  const made = client.subscribe(
    destination,
    (message) => (waiting.length ? waiting.shift()(message) : items.push(message)),
    headers,
  );
  return {
    items,
    unsubscribe: (more) => made.unsubscribe(more),
    next: () =>
      items.length
        ? Promise.resolve(items.shift())
        : within(new Promise((resolve) => waiting.push(resolve)), `a message of ${destination}`),
  };
}

function within(promise, what, milliseconds = 10_000) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what}`)), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

let receipts = 0;

/** Wait for the receipt of what `act` sends with it. */
function receipt(client, act) {
  const id = `receipt-${++receipts}`;
  const come = new Promise((resolve) => client.watchForReceipt(id, resolve));
  act({ receipt: id });
  return within(come, `receipt of ${act}`);
}

const publish = (client, destination, body, headers = {}) =>
  receipt(client, (more) =>
    client.publish({
      destination,
      headers: { ...headers, ...more },
      ...(typeof body === "string" ? { body } : { binaryBody: body }),
    }),
  );

function equal(found, expected) {
  const [left, right] = [found, expected].map((each) => JSON.stringify(each));
  if (left !== right) throw new Error(`${left} is not ${right}`);
}

/** Everything that a client does; `word` begins the names that it makes. */
export async function run(Client, brokerURL, word) {
  const options = { brokerURL, heartbeatIncoming: 1000, heartbeatOutgoing: 1000 };
  const { client, heard } = await connect(Client, options);
  equal(client.connectedVersion, "1.2");

  const topic = subscribe(client, `/topic/${word}.#`);
  client.publish({ destination: `/topic/${word}.a`, body: "at once" });
  equal((await topic.next()).body, "at once");
  await publish(client, `/topic/${word}.a`, "grüße 🐇", { foo: "a:b\nc\\", "content-type": "text/x" });
  const message = await topic.next();
  equal(message.body, "grüße 🐇");
  equal(
    [message.headers.foo, message.headers["content-type"], message.headers.destination],
    ["a:b\nc\\", "text/x", `/topic/${word}.a`],
  );
  const bytes = Uint8Array.from({ length: 300 }, (_, index) => index % 256);
  await publish(client, `/topic/${word}.a`, bytes);
  equal([...(await topic.next()).binaryBody], [...bytes]);
  const large = "large ".repeat(100_000);
  await publish(client, `/topic/${word}.a`, large);
  equal((await topic.next()).body.length, large.length);
  topic.unsubscribe();

  const queue = `/queue/${word}`;
  for (const body of ["1", "2", "3"]) await publish(client, queue, body, { persistent: "true" });
  const jobs = subscribe(client, queue, { ack: "client-individual", "prefetch-count": "2" });
  const [first, second] = [await jobs.next(), await jobs.next()];
  equal([first.body, second.body, jobs.items.length], ["1", "2", 0]);
  first.ack();
  equal((await jobs.next()).body, "3");
  second.nack();
  const again = await jobs.next();
  equal([again.body, again.headers.redelivered], ["2", "true"]);

  await receipt(client, (more) => jobs.unsubscribe(more));
  const other = await connect(Client, options);
  const answers = `/queue/${word}.answers`;
  const results = subscribe(other.client, answers);
  const transaction = client.begin();
  client.publish({ destination: answers, body: "one", headers: { transaction: transaction.id } });
  client.publish({ destination: answers, body: "two", headers: { transaction: transaction.id } });
  await publish(client, answers, "before");
  transaction.commit();
  equal([await results.next(), await results.next(), await results.next()].map((m) => m.body), [
    "before",
    "one",
    "two",
  ]);
  const given = client.begin();
  client.publish({ destination: answers, body: "never", headers: { transaction: given.id } });
  given.abort();

  const asked = subscribe(other.client, `/queue/${word}.questions`);
  const answered = new Promise((resolve) => (client.onUnhandledMessage = resolve));
  await publish(client, `/queue/${word}.questions`, "?", { "reply-to": "/temp-queue/mine" });
  const question = await asked.next();
  await publish(other.client, question.headers["reply-to"], "!");
  equal((await within(answered, "answer")).body, "!");

  // Longer than it takes for either side to miss the other's heart-beats.
  await new Promise((resolve) => setTimeout(resolve, 3200));
  equal([client.connected, heard.errors, heard.closes.length, results.items.length], [
    true,
    [],
    0,
    0,
  ]);

  client.publish({ destination: "/nowhere/at all", headers: { receipt: "wrong" } });
  const end = await within(heard.refused, "end");
  equal(
    [heard.errors.length, heard.errors[0]?.headers["receipt-id"], end.code],
    [1, "wrong", 1008],
  );
  await client.deactivate();
  await other.client.deactivate();
  equal(other.heard.errors, []);
}

/** A wrong password is told and the end; gives the code of the close. */
export async function refused(Client, brokerURL, login, passcode) {
  const connectHeaders = { login, passcode };
  const errors = [];
  const client = new Client({ brokerURL, connectHeaders, reconnectDelay: 0 });
  client.onStompError = (frame) => errors.push(frame.headers.message);
  const ended = new Promise((resolve, reject) => {
    client.onConnect = () => reject(new Error("connected"));
    client.onWebSocketClose = resolve;
  });
  client.activate();
  const { code } = await within(ended, "end");
  await client.deactivate();
  return [errors, code];
}

/** Goes on over the end of the bridge, which `say` announces and asks for. */
export async function reconnects(Client, brokerURL, word, say) {
  const client = new Client({ brokerURL, reconnectDelay: 100 });
  const got = [];
  let connects = 0;
  const wait = async (holds, what) => {
    for (let turn = 0; !holds(); turn++) {
      if (turn > 1500) throw new Error(`no ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  client.onConnect = () => {
    connects++;
    client.subscribe(
      `/queue/${word}`,
      (message) => {
        got.push([message.body, message.headers.redelivered]);
        if (connects > 1) message.ack();
      },
      { ack: "client-individual" },
    );
  };
  client.activate();
  await wait(() => connects === 1, "connection");
  await publish(client, `/queue/${word}`, "kept", { persistent: "true" });
  await wait(() => got.length === 1, "message");
  await say("kill");
  await wait(() => !client.connected, "end");
  await say("start");
  await wait(() => connects === 2 && got.length === 2, "second message");
  await publish(client, `/queue/${word}`, "after", { persistent: "true" });
  await wait(() => got.length === 3, "third message");
  equal(got, [
    ["kept", "false"],
    ["kept", "true"],
    ["after", "false"],
  ]);
  await client.deactivate();
}
