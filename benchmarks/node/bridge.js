// The rival: a WebSocket bridge to RabbitMQ as one would write it on Node.js with `ws` and
// `amqplib`. One exclusive queue, and a loop over the clients for each message.
//
//     node bridge.js --url amqp://127.0.0.1:5672 --exchange bench.node [--port 0]
//
// It speaks the raw route and the part of v1.twbridge.json that the benchmarks use, with the same
// meaning as twbridge: a message is encoded once for all, and `published` follows the broker's ack.
// What twbridge checks beyond that (limits, origins, policy, slow readers) is left out here, to the
// rival's advantage.

import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import amqp from 'amqplib';
import { WebSocketServer } from 'ws';

const JSON_DIALECT = 'v1.twbridge.json';

const { values: options } = parseArgs({
  options: {
    url: { type: 'string' },
    exchange: { type: 'string' },
    port: { type: 'string', default: '0' },
  },
});

const connection = await amqp.connect(options.url, { noDelay: true });
const consumer = await connection.createChannel();
const publisher = await connection.createConfirmChannel();
await consumer.assertExchange(options.exchange, 'topic', { durable: true });
const { queue } = await consumer.assertQueue('', { exclusive: true });
await consumer.bindQueue(queue, options.exchange, '#');

/** Clients of the raw route. */
const rawClients = new Set();
/** Destination as subscribed -> { exchange, matches, clients }. */
const subscriptions = new Map();
const idPrefix = randomBytes(8).toString('hex');
let messageCount = 0;

// --- destinations ------------------------------------------------------------------------------

function parseDestination(text) {
  const [, kind, exchange, ...key] = String(text).split('/');
  if (kind !== 'exchange' || !exchange) throw new Error(`Bad destination ${text}`);
  return { exchange: decodeURIComponent(exchange), key: decodeURIComponent(key.join('/')) };
}

/** A test for routing keys from a topic pattern. */
function topicMatcher(pattern) {
  if (pattern === '#') return () => true;
  const words = pattern.split('.').map((word) => {
    if (word === '*') return '[^.]+';
    if (word === '#') return '.*';
    return word.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
  });
  const expression = new RegExp(`^${words.join('\\.')}$`);
  return (key) => expression.test(key);
}

// --- broker to browser -------------------------------------------------------------------------

function isText(contentType) {
  return contentType !== undefined && (contentType.startsWith('text/') || contentType === 'application/json');
}

function messageFrame(destination, { fields, properties, content }) {
  const type = properties.contentType;
  const message = { op: 'message', destination, routing_key: fields.routingKey };
  if (type === 'application/json') message.body = JSON.parse(content.toString());
  else if (isText(type)) message.body = content.toString();
  else message.base64 = content.toString('base64');
  message.headers = properties.headers ?? {};
  message.properties = type === undefined ? {} : { content_type: type };
  return Buffer.from(JSON.stringify(message));
}

function deliver(message) {
  if (message === null) return; // the queue was deleted
  const text = { binary: false };
  if (rawClients.size > 0) {
    const how = { binary: !isText(message.properties.contentType) };
    for (const client of rawClients) client.send(message.content, how);
  }
  for (const [destination, { exchange, matches, clients }] of subscriptions) {
    if (exchange !== message.fields.exchange || !matches(message.fields.routingKey)) continue;
    const frame = messageFrame(destination, message);
    for (const client of clients) client.send(frame, text);
  }
}

await consumer.consume(queue, deliver, { noAck: true, exclusive: true });

// --- browser to broker -------------------------------------------------------------------------

function publish(exchange, key, body, contentType, mandatory, done) {
  messageCount += 1;
  const properties = {
    contentType,
    mandatory,
    persistent: true,
    appId: 'node',
    messageId: `${idPrefix}-${messageCount}`,
    timestamp: Math.floor(Date.now() / 1000),
  };
  publisher.publish(exchange, key, body, properties, done);
}

function publishCommand(client, { id, destination, body, base64, mandatory = false }) {
  const { exchange, key } = parseDestination(destination);
  let content;
  let type;
  if (base64 !== undefined) [content, type] = [Buffer.from(base64, 'base64'), 'application/octet-stream'];
  else if (typeof body === 'string') [content, type] = [Buffer.from(body), 'text/plain; charset=utf-8'];
  else [content, type] = [Buffer.from(JSON.stringify(body)), 'application/json'];
  publish(exchange, key, content, type, mandatory, (error) => {
    if (error) send(client, { op: 'error', id, code: 'nacked', message: error.message });
    else send(client, { op: 'published', id });
  });
}

// --- the JSON dialect --------------------------------------------------------------------------

function send(client, event) {
  client.send(JSON.stringify(event));
}

const commands = {
  subscribe(client, { id, destination }) {
    const { exchange, key } = parseDestination(destination);
    let entry = subscriptions.get(destination);
    if (entry === undefined) {
      entry = { exchange, matches: topicMatcher(key), clients: new Set() };
      subscriptions.set(destination, entry);
    }
    entry.clients.add(client);
    send(client, { op: 'subscribed', id, destination });
  },
  unsubscribe(client, { id, destination }) {
    leave(client, destination);
    send(client, { op: 'unsubscribed', id, destination });
  },
  publish: publishCommand,
  ping(client) {
    send(client, { op: 'pong' });
  },
};

function leave(client, destination) {
  const entry = subscriptions.get(destination);
  if (entry !== undefined && entry.clients.delete(client) && entry.clients.size === 0) {
    subscriptions.delete(destination);
  }
}

function openJson(client) {
  send(client, {
    op: 'welcome', session: randomUUID(), instance: idPrefix, server: 'node/1', heartbeat: 25, user: null,
  });
  client.on('message', (data) => {
    let request = {};
    try {
      request = JSON.parse(data.toString());
      commands[request.op](client, request);
    } catch (error) {
      send(client, { op: 'error', id: request.id, code: 'bad_frame', message: error.message });
    }
  });
  client.on('close', () => {
    for (const destination of [...subscriptions.keys()]) leave(client, destination);
  });
}

function openRaw(client) {
  rawClients.add(client);
  client.on('message', (data, binary) => {
    const type = binary ? 'application/octet-stream' : 'text/plain; charset=utf-8';
    publish(options.exchange, 'chat', data, type, false, (error) => {
      if (error) client.close(1013);
    });
  });
  client.on('close', () => rawClients.delete(client));
}

// --- the server --------------------------------------------------------------------------------

const server = new WebSocketServer({
  host: '127.0.0.1',
  port: Number(options.port),
  path: '/ws',
  perMessageDeflate: false,
  maxPayload: 1024 * 1024,
  clientTracking: false,
  backlog: 1024,
  handleProtocols: (offered) => (offered.has(JSON_DIALECT) ? JSON_DIALECT : false),
});
server.on('connection', (client) => {
  client.on('error', () => client.terminate());
  if (client.protocol === JSON_DIALECT) openJson(client);
  else openRaw(client);
});
await once(server, 'listening');
console.log(`listening ${server.address().port}`);

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    await connection.close();
    process.exit(0);
  });
}
