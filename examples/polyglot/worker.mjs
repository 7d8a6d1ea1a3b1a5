// npm install ioredis@6.0.0 && node worker.mjs redis://localhost default:orders orders
import { randomUUID } from "node:crypto";
import { STATUS_CODES } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";

const handlers = new Map(); // yours
handlers.set("order.get", async (headers, payload) => ({ id: JSON.parse(payload).id, by: "node" }));

const [url, topic, group] = process.argv.slice(2), member = randomUUID(), lease = process.env.LEASE_MS ?? 30_000;
const [stream, inboxes, dead] = [`{${topic}}:in`, `{${topic}}:re:`, `{${topic}}:dead`], none = Buffer.alloc(0);
const line = /^(?=.{1,512}$)(?!- )([\w.:-]{1,128}) (?!- )([!-~]{1,64}) ([\w.-]{1,64}) (-|\d{1,16})( [!-~]+)*$/;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const db = new Redis(url, { protocol: 2, socketTimeout: 10_000, maxRetriesPerRequest: 1 });
let [stopping, cursor, skew] = [false, "0-0", 0];
process.on("SIGTERM", () => { stopping = true; });
db.on("error", (error) => console.error(error.message));
const now = () => Math.round(Date.now() + skew); // deadlines are in the server's clock

function parse(fields) {
  const known = fields.flatMap((name, at) => (at % 2 || !/^[mhp]$/.test(name) ? [] : [[`${name}`, fields[at + 1]]]));
  const { m = none, h = none, p = none } = Object.fromEntries(known), text = utf8.decode(h) || "{}";
  const tokens = line.exec(m.toString("latin1")), headers = Object.entries(JSON.parse(text));
  const isObject = /^\s*\{/.test(text) && headers.every(([, value]) => typeof value === "string");
  if (!tokens || !isObject || new Map(known).size < known.length || h.length > 16_384 || p.length > 1_048_576)
    throw new Error("a field m, h or p is missing, repeated, too long or not as the protocol says");
  return [...tokens.slice(1, 5), Object.fromEntries(headers.map(([name, value]) => [name.toLowerCase(), value])), p];
}

async function work([entry, fields]) {
  const settle = db.multi();
  let reply, event, id, inbox, deadline, headers, payload;
  try {
    [event, id, inbox, deadline, headers, payload] = parse(fields);
    const live = event !== "cancel" && (deadline === "-" || Number(deadline) + 100 >= now());
    if (live && (headers["only.group"] ?? group) === group) {
      const answer = await handlers.get(event)(headers, payload);
      reply = ["m", `reply ${id} - -`, "h", '{"status":"200"}', "p", JSON.stringify(answer)];
    }
  } catch (error) { // what happened is for the dead letter, not for the caller
    const [reason, status] = handlers.has(event) ? ["failed", 502] : event ? ["no-handler", 501] : ["malformed", 400];
    const letter = { reason, error: `${error}`.slice(0, 1000), group, member, attempts: reason === "failed" ? 1 : 0 };
    const d = JSON.stringify({ ...letter, at: now(), entry: `${entry}` });
    // Before the ack: it may come twice, but is never lost.
    await db.xadd(dead, "*", ...fields, "d", d);
    const head = JSON.stringify({ status: `${status}`, "content-type": "application/problem+json" });
    const problem = JSON.stringify({ title: STATUS_CODES[status], status });
    reply = event && ["m", `error ${id} - -`, "h", head, "p", problem];
  }
  // Nobody is told of what is malformed, too late or for another group.
  if (reply && inbox !== "-") settle.xadd(inboxes + inbox, "NOMKSTREAM", "*", ...reply);
  await settle.xack(stream, group, entry).exec();
}

while (!stopping) {
  try {
    await db.xgroup("CREATE", stream, group, 0, "MKSTREAM").catch(() => {}); // it is there already
    while (!stopping) {
      const [, [next, claimed], [seconds, micros]] = await Promise.all([
        // A sign of life, for Redis before 7.2: a look at the part of its own history where nothing is.
        db.callBuffer("XREADGROUP", "GROUP", group, member, "STREAMS", stream, "18446744073709551615-0"),
        db.callBuffer("XAUTOCLAIM", stream, group, member, lease, cursor, "COUNT", 16),
        db.time(),
      ]);
      [cursor, skew] = [next, seconds * 1000 + micros / 1000 - Date.now()];
      const read = ["GROUP", group, member, "COUNT", 16, "BLOCK", 1000, "STREAMS", stream, ">"];
      const entries = claimed.length ? claimed : (await db.callBuffer("XREADGROUP", ...read))?.[0][1] ?? [];
      await Promise.all(entries.map(work));
    }
  } catch (error) { // an outage or a flush; what is not acked comes again when its lease is over
    console.error(error.message);
    await sleep(500);
  }
}
const left = await db.xpending(stream, group, "-", "+", 1, member);
if (left.length === 0) await db.xgroup("DELCONSUMER", stream, group, member);
await db.quit();
