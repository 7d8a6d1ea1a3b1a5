// Programs as users of the TypeScript package @streamerson/core write them: with its topics, readers, writers and awaiters.
//
//   original.cjs client PORT NAMESPACE TOPIC          asks what its input says, a line each: EVENT PAYLOAD
//   original.cjs load PORT NAMESPACE TOPIC REQUESTS   asks so often, many at a time, and counts
//   original.cjs worker PORT NAMESPACE TOPIC          answers, with a plain reader and a Writable
//   original.cjs member PORT NAMESPACE TOPIC GROUP    answers, as a member of a group
//   original.cjs reader PORT NAMESPACE TOPIC in|out   prints what it reads
//   original.cjs writer PORT NAMESPACE TOPIC in|out   writes what its input says, a line each: TYPE ID PAYLOAD
const { createInterface } = require("node:readline");
const { setTimeout: sleep } = require("node:timers/promises");
const { StreamingDataSource, Topic, ids, streamAwaiter } = require("@streamerson/core");

const [role, port, namespace, name, argument] = process.argv.slice(2);
const topic = new Topic({ namespace, topic: name });
const silent = { info() {}, warn: console.error, error: console.error };
const channel = () => new StreamingDataSource({ port: Number(port), host: "127.0.0.1", logger: silent }).connect();
const lines = () => createInterface({ input: process.stdin, crlfDelay: Infinity });
const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
/** Once all is written. */
const end = () => process.stdout.write("", () => process.exit());

/** Says so once the reader's first read waits at the server: what comes before it, a plain reader does not see. */
async function ready(read, write) {
  while (!/ cmd=xread/.test(await write.client.call("CLIENT", "LIST", "ID", read.clientId))) await sleep(5);
  print("ready");
}

async function awaiter() {
  const [readChannel, writeChannel] = await Promise.all([channel(), channel()]);
  const [outgoingStream, incomingStream] = [topic.consumerKey(), topic.producerKey()];
  const options = { readChannel, writeChannel, outgoingStream, incomingStream, logger: silent, timeout: 60_000 };
  const awaiter = streamAwaiter(options);
  awaiter.readResponseStream();
  await ready(readChannel, writeChannel);
  return awaiter;
}

async function client() {
  const { dispatch } = await awaiter();
  for await (const line of lines()) {
    const [, event, payload] = /^(\S+) (.*)$/.exec(line);
    print(await dispatch(payload, event, "web-1"));
  }
  end();
}

async function load() {
  const { dispatch } = await awaiter();
  const count = { answered: 0, wrong: 0, lost: 0 };
  let next = 0;
  const ask = async () => {
    while (next < Number(argument)) {
      const id = next++;
      try {
        const answer = await dispatch(JSON.stringify({ id, text: `№ ${id}` }), "order.get", "web-1");
        count[answer.id === id ? "answered" : "wrong"] += 1;
      } catch (error) {
        console.error(error);
        count.lost += 1;
      }
      const ended = count.answered + count.wrong + count.lost;
      if (ended % 1000 === 0) print(`${ended} ended`);
    }
  };
  await Promise.all(Array.from({ length: 64 }, ask));
  print(count);
  end();
}

/** What a worker answers; an event is printed. */
function answer(event) {
  const { messageType, messageDestination, messageHeaders, payload } = event;
  if (!messageDestination) print({ type: messageType, payload });
  if (messageType === "order.headers") return { payload, headers: messageHeaders };
  return payload?.id === undefined ? { echo: payload, by: "original" } : { id: payload.id, by: "original" };
}

async function worker() {
  const [read, write] = await Promise.all([channel(), channel()]);
  const replies = write.getWriteStream({ stream: topic.producerKey() });
  ready(read, write);
  for await (const event of read.getReadStream({ topic })) {
    const payload = answer(event);
    if (event.messageDestination) replies.write({ ...event, payload });
  }
}

async function member() {
  const [read, write] = await Promise.all([channel(), channel()]);
  const group = { groupId: argument, groupMemberId: ids.guuid() };
  await write.client.xgroup("CREATE", topic.consumerKey(), argument, "0", "MKSTREAM").catch(() => {});
  print("ready");
  const options = { stream: topic.consumerKey(), last: "0", blockingTimeout: 1000, consumerGroupInstanceConfig: group };
  for await (const event of read.getReadStream(options)) {
    const { messageId, messageDestination, messageSourceId, streamMessageId } = event;
    const reply = JSON.stringify(answer(event));
    if (messageDestination) write.writeToStream(messageDestination, undefined, "resp", messageId, reply, messageSourceId);
    write.markProcessedByGroup(topic, argument, streamMessageId);
  }
}

const key = () => (argument === "in" ? topic.consumerKey() : topic.producerKey());

async function reader() {
  const [read, write] = await Promise.all([channel(), channel()]);
  ready(read, write);
  for await (const event of read.getReadStream({ stream: key() })) {
    const { messageType: type, messageId: id, messageSourceId: source, messageHeaders: headers, payload } = event;
    print({ type, id, source, headers, protocol: event.messageProtocol, payload });
  }
}

async function writer() {
  const write = await channel();
  const writable = write.getWriteStream({ topic });
  for await (const line of lines()) {
    const [, type, id, payload] = /^(\S+) (\S+) (.*)$/.exec(line);
    if (type === "resp") writable.write({ messageId: id, payload: JSON.parse(payload), messageSourceId: "" });
    else print(await write.writeToStream(key(), undefined, type, id, payload, "web-1"));
  }
  await new Promise((done) => writable.end(done));
  end();
}

process.on("SIGTERM", () => process.exit());
({ client, load, worker, member, reader, writer })[role]();
