// A tour of every MQTT feature that mqtt.js speaks: 3.1, 3.1.1 and 5, over TCP and WebSocket.
//
//     node mqttjs_tour.mjs TCP_PORT WEBSOCKET_PORT
//
// The broker lets anyone in, and knows the user `tourist` with the password `pencil`.
//
// Each stop is a function; it fails by an exception. What a broker may choose is not asserted, what the specification says is.

import assert from "node:assert/strict";
import { createHash, createHmac, pbkdf2Sync, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const mqtt = createRequire(`${process.cwd()}/`)("mqtt");

const [TCP, WEBSOCKET] = process.argv.slice(2, 4).map((port, n) => `${["mqtt", "ws"][n]}://127.0.0.1:${port}`);
const VERSIONS = [3, 4, 5];
const TIMEOUT = 10_000;
const QUIET = 400;

let count = 0;
const unique = (name) => `j${process.pid}-${++count}-${name}`;

function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`timed out: ${what}`)), TIMEOUT);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// A connected client; what it hears waits in `heard`.
class Client {
  static async connect(options = {}, url = TCP) {
    const client = new Client();
    const defaults = { protocolVersion: 5, clientId: unique("client"), clean: true, reconnectPeriod: 0, resubscribe: false };
    if (options.protocolVersion === 3) defaults.protocolId = "MQIsdp";
    client.heard = [];
    client.waiting = [];
    client.mqtt = mqtt.connect(url, { ...defaults, ...options });
    if (options.handleAuth) client.mqtt.handleAuth = options.handleAuth;
    client.mqtt.on("message", (topic, payload, packet) => {
      // A packet with an alias may have no topic of its own.
      const message = { ...packet, topic, text: payload.toString(), payload };
      const waiter = client.waiting.shift();
      if (waiter) waiter(message);
      else client.heard.push(message);
    });
    client.failed = new Promise((_, reject) => client.mqtt.on("error", reject));
    client.failed.catch(() => {});
    [client.connack] = await within(Promise.race([once(client.mqtt, "connect"), client.failed]), "CONNACK");
    return client;
  }

  next() {
    if (this.heard.length) return Promise.resolve(this.heard.shift());
    return within(new Promise((resolve) => this.waiting.push(resolve)), "a message");
  }

  async texts(number) {
    const texts = [];
    while (texts.length < number) texts.push((await this.next()).text);
    return texts;
  }

  async hearsNothing() {
    await sleep(QUIET);
    assert.deepEqual(this.heard.map(({ topic, text }) => [topic, text]), []);
  }

  async subscribe(filters, options = { qos: 1 }) {
    const granted = await within(this.mqtt.subscribeAsync(filters, options), "SUBACK");
    return granted.map(({ qos }) => qos);
  }

  publish(topic, payload, options = {}) {
    return within(this.mqtt.publishAsync(topic, payload, options), "the end of a PUBLISH");
  }

  close(options = {}) {
    return within(this.mqtt.endAsync(false, options), "the end");
  }

  // The socket closes without DISCONNECT.
  vanish() {
    this.mqtt.stream.destroy();
    return once(this.mqtt, "close");
  }
}

async function everyVersionAndTransport() {
  for (const protocolVersion of VERSIONS) {
    for (const url of [TCP, WEBSOCKET]) {
      const topic = unique("order");
      const subscriber = await Client.connect({ protocolVersion }, url);
      const publisher = await Client.connect({ protocolVersion }, url);
      for (const qos of [0, 1, 2]) {
        assert.deepEqual(await subscriber.subscribe(`${topic}/${qos}`, { qos }), [qos]);
        const flows = Array.from({ length: 50 }, (_, n) => publisher.publish(`${topic}/${qos}`, `${n}`, { qos }));
        const texts = await subscriber.texts(50);
        await Promise.all(flows);
        assert.deepEqual(texts, flows.map((_, n) => `${n}`));
      }
      await subscriber.close();
      await publisher.close();
    }
  }
}

async function largeMessages() {
  const payload = Buffer.from(Array.from({ length: 1_000_000 }, (_, n) => n % 251));
  for (const url of [TCP, WEBSOCKET]) {
    const topic = unique("large");
    const client = await Client.connect({}, url);
    await client.subscribe(topic);
    await client.publish(topic, payload, { qos: 2 });
    assert.ok((await client.next()).payload.equals(payload));
    await client.close();
  }
}

async function sessionsResume() {
  for (const protocolVersion of VERSIONS) {
    const [clientId, topic] = [unique("durable"), unique("resume")];
    const durable = { protocolVersion, clientId, clean: false };
    if (protocolVersion === 5) durable.properties = { sessionExpiryInterval: 60 };
    const first = await Client.connect(durable);
    assert.equal(first.connack.sessionPresent, false);
    await first.subscribe(topic, { qos: 2 });
    await first.close();
    const publisher = await Client.connect({ protocolVersion });
    for (let n = 0; n < 5; n++) await publisher.publish(topic, `${n}`, { qos: 2 });
    const again = await Client.connect(durable);
    assert.equal(again.connack.sessionPresent, protocolVersion !== 3);
    assert.deepEqual(await again.texts(5), ["0", "1", "2", "3", "4"]);
    await again.close();
    const fresh = await Client.connect({ ...durable, clean: true, properties: undefined });
    assert.equal(fresh.connack.sessionPresent, false);
    await fresh.close();
    await publisher.close();
  }
}

async function takeoverIsTold() {
  const clientId = unique("taken");
  const old = await Client.connect({ clientId });
  const told = once(old.mqtt, "disconnect");
  const current = await Client.connect({ clientId });
  const [packet] = await within(told, "DISCONNECT");
  assert.equal(packet.reasonCode, 0x8e);
  await current.close();
}

async function retained() {
  for (const protocolVersion of VERSIONS) {
    const root = unique("kept");
    const publisher = await Client.connect({ protocolVersion });
    for (let n = 0; n < 10; n++) await publisher.publish(`${root}/${n}/x`, `v${n}`, { qos: 1, retain: true });
    await publisher.publish(`${root}/4/x`, "", { qos: 1, retain: true });
    const reader = await Client.connect({ protocolVersion });
    await reader.subscribe(`${root}/#`);
    const texts = (await reader.texts(9)).sort();
    assert.deepEqual(texts, ["v0", "v1", "v2", "v3", "v5", "v6", "v7", "v8", "v9"]);
    await reader.hearsNothing();
    await reader.close();
    await publisher.close();
  }
}

async function subscriptionOptions() {
  const topic = unique("options");
  const client = await Client.connect();
  const other = await Client.connect();
  await other.publish(topic, "kept", { qos: 1, retain: true });
  await client.subscribe(topic, { qos: 1, nl: true, rap: true, rh: 2 });
  await client.publish(topic, "own", { qos: 1 });
  await other.publish(topic, "other", { qos: 1, retain: true });
  const message = await client.next();
  assert.deepEqual([message.text, message.retain], ["other", true]);
  await client.hearsNothing();
  await client.subscribe(topic, { qos: 1, rh: 1 });
  await client.hearsNothing();
  await client.subscribe(topic, { qos: 1, rh: 0 });
  assert.equal((await client.next()).retain, true);
  await client.close();
  await other.close();
}

async function propertiesPass() {
  const topic = unique("properties");
  const client = await Client.connect();
  await client.subscribe(topic, { qos: 2, properties: { subscriptionIdentifier: 268_435_455 } });
  const properties = {
    payloadFormatIndicator: true,
    messageExpiryInterval: 600,
    contentType: "text/plain; charset=utf-8",
    responseTopic: "answers/here",
    correlationData: Buffer.from(Array.from({ length: 256 }, (_, n) => n)),
    userProperties: { b: ["2", "3"], a: "1", "": "ü" },
  };
  await client.publish(topic, "grüße", { qos: 2, properties });
  const got = (await client.next()).properties;
  assert.equal(got.payloadFormatIndicator, true);
  assert.ok([599, 600].includes(got.messageExpiryInterval));
  assert.equal(got.contentType, properties.contentType);
  assert.equal(got.responseTopic, properties.responseTopic);
  assert.ok(got.correlationData.equals(properties.correlationData));
  assert.deepEqual({ ...got.userProperties }, properties.userProperties);
  assert.equal(got.subscriptionIdentifier, 268_435_455);
  await client.close();
}

async function overlappingFilters() {
  const topic = unique("overlap");
  const client = await Client.connect();
  for (const [n, filter] of [`${topic}/+`, `${topic}/#`, `${topic}/x`].entries()) {
    await client.subscribe(filter, { qos: n, properties: { subscriptionIdentifier: n + 1 } });
  }
  await client.publish(`${topic}/x`, "once", { qos: 2 });
  const message = await client.next();
  assert.deepEqual([...message.properties.subscriptionIdentifier].sort(), [1, 2, 3]);
  assert.equal(message.qos, 2);
  await client.hearsNothing();
  await client.close();
}

async function aliasesBothWays() {
  const topic = unique("alias/of/some/length");
  const client = await Client.connect({ properties: { topicAliasMaximum: 10 }, autoAssignTopicAlias: true, autoUseTopicAlias: true });
  assert.ok(client.connack.properties.topicAliasMaximum > 0);
  await client.subscribe(`${topic}/#`);
  for (let n = 0; n < 200; n++) await client.publish(`${topic}/${n % 7}`, `${n}`, { qos: 1 });
  for (let n = 0; n < 200; n++) {
    const message = await client.next();
    assert.deepEqual([message.topic, message.text], [`${topic}/${n % 7}`, `${n}`]);
  }
  await client.close();
}

async function expiry() {
  const [clientId, topic] = [unique("sleeper"), unique("expiry")];
  const durable = { clientId, clean: false, properties: { sessionExpiryInterval: 60 } };
  const sleeper = await Client.connect(durable);
  await sleeper.subscribe(topic);
  await sleeper.close();
  const publisher = await Client.connect();
  await publisher.publish(topic, "short", { qos: 1, properties: { messageExpiryInterval: 1 } });
  await publisher.publish(topic, "long", { qos: 1, properties: { messageExpiryInterval: 100 } });
  await sleep(2_100);
  const awake = await Client.connect(durable);
  const message = await awake.next();
  assert.equal(message.text, "long");
  assert.ok(message.properties.messageExpiryInterval >= 95 && message.properties.messageExpiryInterval <= 98);
  await awake.close({ reasonCode: 0, properties: { sessionExpiryInterval: 0 } });
  const gone = await Client.connect(durable);
  assert.equal(gone.connack.sessionPresent, false, "DISCONNECT has changed the expiry to 0");
  await gone.close();
  await publisher.close();
}

async function wills() {
  const topic = unique("will");
  const watcher = await Client.connect();
  await watcher.subscribe(`${topic}/#`, { qos: 2 });
  for (const protocolVersion of VERSIONS) {
    const will = { topic: `${topic}/${protocolVersion}`, payload: Buffer.from("gone"), qos: 1, retain: false };
    const mortal = await Client.connect({ protocolVersion, will });
    await mortal.vanish();
    assert.equal((await watcher.next()).topic, `${topic}/${protocolVersion}`);
    const polite = await Client.connect({ protocolVersion, will });
    await polite.close();
  }
  await watcher.hearsNothing();
  const will = { topic: `${topic}/late`, payload: Buffer.from("late"), qos: 2, retain: true, properties: { willDelayInterval: 1, contentType: "text/plain" } };
  const mortal = await Client.connect({ will, properties: { sessionExpiryInterval: 60 } });
  const started = Date.now();
  await mortal.vanish();
  const message = await watcher.next();
  assert.ok(Date.now() - started > 900 && message.properties.contentType === "text/plain");
  const told = await Client.connect({ will: { topic: `${topic}/told`, payload: Buffer.from("told"), qos: 0, retain: false } });
  await told.close({ reasonCode: 4 });
  assert.equal((await watcher.next()).text, "told");
  await watcher.close();
}

async function sharedSubscriptions() {
  for (const protocolVersion of VERSIONS) {
    const topic = unique("jobs");
    const members = [];
    for (let n = 0; n < 5; n++) {
      const member = await Client.connect({ protocolVersion }, n % 2 ? TCP : WEBSOCKET);
      await member.subscribe(`$share/workers/${topic}/#`);
      members.push(member);
    }
    const publisher = await Client.connect({ protocolVersion });
    for (let n = 0; n < 100; n++) await publisher.publish(`${topic}/${n % 7}`, `${n}`, { qos: 1 });
    await sleep(QUIET);
    const shares = members.map(({ heard }) => heard.map(({ text }) => Number(text)));
    assert.deepEqual(shares.flat().sort((a, b) => a - b), Array.from({ length: 100 }, (_, n) => n));
    for (const share of shares) assert.ok(share.length >= 15 && share.length <= 25, `${share.length}`);
    for (const one of [...members, publisher]) await one.close();
  }
}

async function reasonCodes() {
  const client = await Client.connect();
  const topic = unique("nobody");
  const acknowledgements = [];
  client.mqtt.on("packetreceive", (packet) => acknowledgements.push(packet));
  await client.publish(topic, "x", { qos: 1 });
  assert.deepEqual([acknowledgements[0].cmd, acknowledgements[0].reasonCode], ["puback", 0x10]);
  await within(client.mqtt.unsubscribeAsync(topic), "UNSUBACK");
  assert.deepEqual([acknowledgements[1].cmd, [...acknowledgements[1].granted]], ["unsuback", [0x11]]);
  assert.deepEqual(await client.subscribe({ [topic]: { qos: 0 }, [`${topic}/+`]: { qos: 2 } }), [0, 2]);
  await client.close();
}

async function connackTells() {
  const client = await Client.connect({ clientId: "", keepalive: 60_000, properties: { requestResponseInformation: true } });
  const { assignedClientIdentifier, receiveMaximum, serverKeepAlive } = client.connack.properties;
  assert.ok(assignedClientIdentifier && receiveMaximum > 0 && serverKeepAlive < 60_000);
  await client.close();
}

async function windows() {
  const topic = unique("window");
  const client = await Client.connect({ properties: { receiveMaximum: 1, maximumPacketSize: 200 } });
  await client.subscribe(topic, { qos: 2 });
  const publisher = await Client.connect();
  await publisher.publish(topic, "x".repeat(500), { qos: 1 });
  for (let n = 0; n < 30; n++) await publisher.publish(topic, `${n}`, { qos: (n % 2) + 1 });
  assert.deepEqual(await client.texts(30), Array.from({ length: 30 }, (_, n) => `${n}`));
  await client.close();
  await publisher.close();
}

async function requestAndResponse() {
  const [service, answers] = [unique("service"), unique("answers")];
  const server = await Client.connect({}, WEBSOCKET);
  await server.subscribe(service);
  server.next().then(({ text, properties: { responseTopic, correlationData } }) =>
    server.publish(responseTopic, text.toUpperCase(), { qos: 1, properties: { correlationData } }),
  );
  const client = await Client.connect();
  await client.subscribe(answers);
  await client.publish(service, "question", { qos: 1, properties: { responseTopic: answers, correlationData: Buffer.from([7]) } });
  const answer = await client.next();
  assert.deepEqual([answer.text, [...answer.properties.correlationData]], ["QUESTION", [7]]);
  await client.close();
  await server.close();
}

// The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677).
class Scram {
  constructor(user, password) {
    this.password = password;
    this.first = `n=${user},r=${randomBytes(18).toString("base64")}`;
  }

  options() {
    const properties = { authenticationMethod: "SCRAM-SHA-256", authenticationData: Buffer.from(`n,,${this.first}`) };
    return { properties, handleAuth: (packet, done) => done(undefined, this.answer(packet)) };
  }

  answer({ properties: { authenticationMethod, authenticationData } }) {
    const challenge = authenticationData.toString();
    const [, nonce, salt, rounds] = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(challenge);
    const hmac = (key, text) => createHmac("sha256", key).update(text).digest();
    const salted = pbkdf2Sync(this.password, Buffer.from(salt, "base64"), Number(rounds), 32, "sha256");
    const last = `c=biws,r=${nonce}`;
    const key = hmac(salted, "Client Key");
    const text = `${this.first},${challenge},${last}`;
    const signature = hmac(createHash("sha256").update(key).digest(), text);
    const proof = key.map((byte, n) => byte ^ signature[n]).toString("base64");
    this.verifier = `v=${hmac(hmac(salted, "Server Key"), text).toString("base64")}`;
    return { cmd: "auth", reasonCode: 0x18, properties: { authenticationMethod, authenticationData: Buffer.from(`${last},p=${proof}`) } };
  }
}

async function enhancedAuthentication() {
  const scram = new Scram("tourist", "pencil");
  const client = await Client.connect(scram.options());
  assert.equal(client.connack.properties.authenticationData.toString(), scram.verifier, "the broker knows the user's key");
  const topic = unique("authenticated");
  await client.subscribe(topic);
  await client.publish(topic, "in", { qos: 1 });
  assert.deepEqual(await client.texts(1), ["in"]);
  await client.close();
  for (const wrong of [new Scram("tourist", "pen"), new Scram("nobody", "pencil")]) {
    await assert.rejects(Client.connect(wrong.options()), ({ code }) => code === 0x87 || code === 0x86);
  }
}

const STOPS = [
  enhancedAuthentication,
  everyVersionAndTransport,
  largeMessages,
  sessionsResume,
  takeoverIsTold,
  retained,
  subscriptionOptions,
  propertiesPass,
  overlappingFilters,
  aliasesBothWays,
  expiry,
  wills,
  sharedSubscriptions,
  reasonCodes,
  connackTells,
  windows,
  requestAndResponse,
];

for (const stop of STOPS) {
  await stop();
  console.log(`ok: mqtt.js, ${stop.name}`);
}
process.exit(0);
