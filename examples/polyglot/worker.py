# pip install redis==8.1.0 && python3 worker.py redis://localhost default:orders orders
import contextlib, http, json, os, re, signal, sys, time, uuid, redis

HANDLERS = {b"order.get": lambda headers, payload: {"id": json.loads(payload)["id"], "by": "python"}}  # yours

(URL, TOPIC, GROUP), MEMBER, LEASE_MS = sys.argv[1:], uuid.uuid4().hex, int(os.environ.get("LEASE_MS", 30_000))
IN, INBOX, DEAD = f"{{{TOPIC}}}:in", f"{{{TOPIC}}}:re:", f"{{{TOPIC}}}:dead"
LINE = re.compile(rb"(?=.{1,512}\Z)(?!- )([\w.:-]{1,128}) (?!- )([!-~]{1,64}) ([\w.-]{1,64}) (-|\d{1,16})( [!-~]+)*")
db, stopping, cursor = redis.Redis.from_url(URL, protocol=2, socket_timeout=10), [], "0-0"
db.response_callbacks.clear()  # answers as they come: a dict would lose a repeated field
signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
now = lambda: int(time.time() * 1000 + skew)  # deadlines are in the server's clock

def parse(fields):
    known = [pair for pair in zip(fields[::2], fields[1::2]) if pair[0] in (b"m", b"h", b"p")]
    m, h, p = (dict(known).get(name, b"") for name in (b"m", b"h", b"p"))
    line, headers = LINE.fullmatch(m), json.loads(h.decode() or "{}")
    if not line or len(known) > len(dict(known)) or len(h) > 16_384 or len(p) > 1_048_576:
        raise ValueError("a field m, h or p is missing, repeated, too long or not as the protocol says")
    return *line.group(1, 2, 3, 4), {name.lower(): value + "" for name, value in headers.items()}, p

def work(entry, fields):
    settle, event, reply = db.pipeline(transaction=True), None, None
    try:
        event, id, inbox, deadline, headers, payload = parse(fields)
        live = event != b"cancel" and (deadline == b"-" or int(deadline) + 100 >= now())
        if live and headers.get("only.group", GROUP) == GROUP:
            answer = json.dumps(HANDLERS[event](headers, payload))
            reply = "m", b"reply %s - -" % id, "h", '{"status":"200"}', "p", answer
    except Exception as error:  # what happened is for the dead letter, not for the caller
        reason, status = ("failed", 502) if event in HANDLERS else ("no-handler", 501) if event else ("malformed", 400)
        letter = {"reason": reason, "error": repr(error)[:1000], "group": GROUP, "member": MEMBER,
                  "attempts": int(reason == "failed"), "at": now(), "entry": entry.decode()}
        # Before the ack: it may come twice, but is never lost.
        db.execute_command("XADD", DEAD, "*", *fields, "d", json.dumps(letter))
        head = {"status": str(status), "content-type": "application/problem+json"}
        problem = {"title": http.HTTPStatus(status).phrase, "status": status}
        reply = event and ("m", b"error %s - -" % id, "h", json.dumps(head), "p", json.dumps(problem))
    if reply and inbox != b"-":  # nobody is told of what is malformed, too late or for another group
        settle.execute_command("XADD", INBOX + inbox.decode(), "NOMKSTREAM", "*", *reply)
    settle.xack(IN, GROUP, entry).execute(raise_on_error=False)

while not stopping:
    try:
        with contextlib.suppress(redis.ResponseError):  # it is there already; what else is wrong, the next command says
            db.xgroup_create(IN, GROUP, 0, mkstream=True)
        while not stopping:
            look = db.pipeline(transaction=False)
            # A sign of life, for Redis before 7.2: a look at the part of its own history where nothing is.
            look.execute_command("XREADGROUP", "GROUP", GROUP, MEMBER, "STREAMS", IN, "18446744073709551615-0")
            look.execute_command("XAUTOCLAIM", IN, GROUP, MEMBER, LEASE_MS, cursor, "COUNT", 16)
            _, (cursor, entries, _), (seconds, micros) = look.time().execute()
            skew = int(seconds) * 1000 + int(micros) / 1000 - time.time() * 1000
            if not entries:  # nothing to take over
                read = "XREADGROUP", "GROUP", GROUP, MEMBER, "COUNT", 16, "BLOCK", 1000, "STREAMS", IN, ">"
                entries = (db.execute_command(*read) or [(IN, [])])[0][1]
            for entry, fields in entries:
                work(entry, fields)
    except redis.RedisError as error:  # an outage or a flush; what is not acked comes again when its lease is over
        print(error, file=sys.stderr)
        time.sleep(0.5)
if not db.execute_command("XPENDING", IN, GROUP, "-", "+", 1, MEMBER):
    db.xgroup_delconsumer(IN, GROUP, MEMBER)
