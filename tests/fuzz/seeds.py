"""Writes the seeds of all fuzz targets below a folder: the vectors of proto/examples, records, answers, Redis' replies,
and SIP messages, among them the torture messages of RFC 4475 (../torture.py). What libFuzzer makes of them stands in
corpus/.

Usage: seeds.py FOLDER"""
import base64
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
import torture  # noqa: E402

EXAMPLES = os.path.join(HERE, "..", "..", "proto", "examples")


def chunk(data):
    data = data.encode() if isinstance(data, str) else data
    return len(data).to_bytes(2, "little") + data


def vectors(name):
    for v in json.load(open(os.path.join(EXAMPLES, name))):
        if "base64" in v:
            yield base64.b64decode(v["base64"])
        elif "text" in v:
            yield v["text"].encode()
        else:
            parts = [v["message"], *v.get("then", [])]
            yield b"".join(p.encode() if isinstance(p, str) else json.dumps(p, separators=(",", ":")).encode() for p in parts)


def payloads():
    return list(vectors("good-from-kamailio.json")) + list(vectors("bad-from-kamailio.json"))


REST = ("From: \"Alice\" <sip:alice@example.org>;tag=a1\r\nTo: <sip:bob@example.org>\r\nCall-ID: call-1@caller.example"
        "\r\nCSeq: 1 %s\r\nMax-Forwards: 70\r\n%sContent-Length: 0\r\n\r\n")
VIA = "Via: SIP/2.0/UDP 198.51.100.9:5060;branch=z9hG4bK-caller-1\r\n"
TM = "Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK0001.00000000000000000000000000000001.0\r\n"

PLAIN = [f"{m} sip:bob@192.0.2.10 SIP/2.0\r\n{VIA}{REST % (m, '')}" for m in ("INVITE", "CANCEL", "ACK", "BYE")] + [
    f"INVITE sip:bob@203.0.113.5:5060 SIP/2.0\r\n{TM}{VIA}{REST % ('INVITE', 'Route: <sip:r1;lr>,<sip:r2;lr>' + chr(13) + chr(10))}",
    f"SIP/2.0 486 Busy\r\n{TM}{VIA}{REST % ('INVITE', '')}",
    f"SIP/2.0 200 OK\r\n{TM.strip()},{VIA[5:]}{REST % ('INVITE', '')}".replace("To: <sip:bob@example.org>",
                                                                              "t: <sip:bob@example.org>;tag=b1"),
    f"ACK sip:b SIP/2.0\nv: SIP/2.0/UDP h;branch=b\ni: c@x\nCSeq: 7 ACK\nf: <sip:a>\n ;tag=1\nt: <sip:b>\n\n",
]

SIP = [m.encode() if isinstance(m, str) else m for m in PLAIN] + list(torture.messages().values()) + [
    PLAIN[0].replace("call-1", "call-\0").encode(), PLAIN[0].replace("Alice", "\0").encode()] + [
    b"SIP/2.0/UDP [2001:db8::9]:5060;rport;branch=z9hG4bK-1;i=1", b"\"A <x>\" <sip:a@h:5060;lr?b=c>;x=y;tag=1",
    b"Alice Smith <tel:0123>;tag=1", b"17 INVITE"]


def record(whole=True, **more):
    r = {"owner": 2, "inc": "200.1", "state": "ringing", "code": 180, "done": False, "at": 1800000000000,
         "call_id": "c0@x", "cseq": 1, "branch": "z9hG4bK-c0", "sent_by": "198.51.100.9:5060",
         "src": "udp:198.51.100.9:5060", "dst": "udp:192.0.2.10:5060",
         "branches": [{"i": 0, "code": 180, "via": "SIP/2.0/UDP 192.0.2.3:5060;branch=z9hG4bKt0.0",
                       "to": "udp:203.0.113.5:5060", "sock": "udp:192.0.2.10:5060", "ruri": "sip:b@x",
                       "route": "<sip:r;lr>", "kept": "32 64 a i7 "}]}
    if whole:
        r |= {"vars": {"a": "1"}, "far_from": "<sip:n>;tag=1", "req": PLAIN[0]}
    return json.dumps(r | more)


NODE_TEXT = '{"id":2,"name":"node2","sip":"192.0.2.2:5060","inc":"200.1","beat":7,"up":true}'
RECORDS = [record(), record(False), record(done=True), record(req={"base64": "SU5WSVRF/w=="}), NODE_TEXT,
           record(src="udp:1.1.1.1:5060\r\nX: y"), record(inc="a\r\nb"), record(call_id={"base64": "YQBi"}),
           NODE_TEXT.replace("192.0.2.2", "a\\r\\nb"), record(cseq=-1, at=-1), record(branches=[])]
RECORDS += [head + record()[len('{"owner": 2, "inc": "200.1"'):] for head in (
    '{"epoch":7,"owner":2,"inc":"200.1","from":"6 1 100.1","taking":true', '{"owner":2,"inc":"200.1"')]

CALL = {"call_id": "c0@x", "node": "2", "inc": "200.1", "caller": "sip:a@x", "callee": "sip:b@x", "from_tag": "a1",
        "to_tag": "b1", "tx": "kamsync:tx:{c0@x}:1:z9hG4bK-c0", "trying": "1800000000000", "ringing": "1800000001000",
        "answered": "1800000002000", "code": "200", "state": "answered", "at.2": "1800000000000", "var.a": "v1"}


def pairs(d):
    return b"".join(chunk(k) + chunk(v) for k, v in d.items())


CALLS = [b"\0" + pairs(CALL), b"\1" + pairs(CALL | {"ended": "1800000009000", "how": "completed"}),
         b"\0" + pairs({"var." + str(i): str(i) for i in range(40)}),
         b"\0" + pairs({"trying": "-9223372036854775808", "a\0b": "\0", "var.": "", "code": "99999999999999999999"})]


def resp(*parts):
    out = b"*%d\r\n" % len(parts)
    for p in parts:
        out += p if isinstance(p, bytes) else b"$%d\r\n%s\r\n" % (len(p), p.encode())
    return out


def commands(*replies):
    return b"".join(b"\x88" + chunk(r) for r in replies)


def announced(*replies):
    return b"".join(b"\x89" + chunk(r) for r in replies)


SUBSCRIBED = announced(resp("subscribe", "kamsync:nodes", b":1\r\n"), resp("subscribe", "kamsync:to:all", b":2\r\n"))
LOADED = commands(b"$40\r\n" + b"a" * 40 + b"\r\n")
REDIS = [
    b"\0\0" + LOADED + b"\0" + commands(b"+OK\r\n") + b"\1" + commands(b"$2\r\n{}\r\n") + b"\2" + commands(b"$-1\r\n"),
    b"\0\0" + LOADED + b"\3" + commands(resp("0", resp("kamsync:tx:{c}:1:b", "kamsync:call:{c}"))),
    b"\0\0" + LOADED + b"\3" + commands(resp("0", resp(b":1\r\n", b"$-1\r\n", b"*0\r\n"))),
    b"\0\0" + LOADED + b"\4" + commands(b"$7\r\nwritten\r\n") + b"\5" + commands(resp("node", "1")),
    b"\0\0" + LOADED + b"\4" + commands(b"-NOSCRIPT x\r\n", b"-ERR \x1b[2J\r\n"),
    b"\0\0" + LOADED + b"\6" + commands(resp(resp("1-1", resp("node", "1")))) + b"\6" + commands(b"*-1\r\n"),
    b"\0\0" + LOADED + b"\x07" + commands(b"$-1\r\n+OK\r\n:1\r\n:1\r\n:1\r\n"),
    b"\0\0" + LOADED + b"\x09" + commands(resp("1", "2"), b"$2\r\n{}\r\n", b"$-1\r\n"),
    b"\0\0" + LOADED + b"\x09" + commands(resp(b":1\r\n", b"*-1\r\n")),
    b"\0\0" + LOADED + SUBSCRIBED + announced(resp("message", "kamsync:nodes", "{}"), resp("message", "kamsync:to:all", "{}")),
    b"\0\0" + announced(resp("unsubscribe", "kamsync:nodes", b":0\r\n"), b"+OK\r\n"),
    b"\0\0" + announced(resp("unsubscribe", "kamsync:nodes")), b"\0\0" + announced(resp(b":1\r\n", b":2\r\n")),
    b"\0\0" + announced(resp("message")), b"\0\0" + commands(b"+OK\r\n+OK\r\n+OK\r\n"), b"\0\0" + b"\0\1\x80\x82\0",
    b"\0\0" + LOADED + b"\x0b" + commands(b":0\r\n") + b"\1" + commands(b"$5\r\nab") + b"\x80",
    b"\0\0" + LOADED + b"\3" + commands(b"*2147483647\r\n"),
]

CONFIG = [open(os.path.join(HERE, "..", "..", "daemon", "kamsyncd.conf"), "rb").read()] + [c.encode() for c in (
    "store = redis://127.0.0.1:6379/1\nsecret_file=/proc/self/fd/101\n\0" + "0123456789abcdef0123456789abcdef\n",
    "store=redis://[::1]\nsecret_file=/proc/self/fd/101\nold_secret_file=/proc/self/fd/101\n\0" + "s" * 256,
    "store=redis://h:4294967297/4294967296\nsecret_file=/proc/self/fd/101\n\0" + "s" * 20, "kamailio=[::1]:8448\n",
    "[kamsync]\nheartbeat_ms=100\nnode_ttl_ms=200 ; c\nname=a\x1bb\n", "kamailio=127.0.0.1:99999999999\n", "x\n", "[y]\na=1\n",
    "lookup_ms = 99999999999999999999\n", "name = " + "n" * 300 + "\n", "secret_file=/proc/self/fd/101\n\0short\n")]

REQUESTS = [b"\x05" + json.dumps(r).encode() + b"\n" for r in (
    {"cmd": "status"}, {"cmd": "nodes"}, {"cmd": "calls", "node": 1, "state": "trying", "caller": "a", "limit": 5},
    {"cmd": "call", "call_id": "c0@x"}, {"cmd": "tx", "call_id": {"base64": "YzBAeA=="}}, {"cmd": "cdr", "count": 3},
    {"cmd": "cdr", "after": "1-1"}, {"cmd": "trace", "call_id": "c0@x"}, {"cmd": 5}, [], {"cmd": "cdr", "count": 0},
    {"cmd": "status", "pad": "x" * (4095 - len('{"cmd": "status", "pad": ""}'))})] + [b"\0{}x\n", b"\0" + b"x" * 5000]

URLS = [u.encode() for u in (
    "/healthz", "/readyz", "/metrics", "/", "*", "/v1/status", "/v1/counters", "/v1/nodes?", "/v1/call/c0@x", "/v1/tx/%63%300@x",
    "/v1/calls?node=2&state=ringing&caller=+49&callee=%C3%BC&limit=1000", "/v1/calls?limit=0", "/v1/calls?node=1&node=1&&x=",
    "/v1/call/a%2Fb%3f/c", "/v1/trace/%ff%fe", "/v1/trace/%00", "/v1/tx/%", "/v1/cdr?count=3", "/v1/cdr?after=1-1&count=1000",
    "/v1/cdr?after=18446744073709551616-1", "/v1/cdr?after=-", "/v1/calls?1&2&3&4&5&6&7&8&9", "/" + "a" * 5000)]

CALL_ANSWER = {"call_id": "c0@x", "state": "ended", "node": 1, "caller": "sip:\u00fc@x", "callee": {"base64": "/w=="},
               "trying": 1800000000000, "ringing": 1800000001000, "answered": 1800000002000, "ended": 1800000009000,
               "how": "completed", "code": 200, "by": "caller", "pdd_ms": 1000, "duration_ms": 7000, "nodes": [1, 2],
               "vars": {"a": "\u001b[2J"}, "id": "1-1"}
ANSWERS = [bytes([k]) + (json.dumps(a) + "\n").encode() for k in (0, 1, 3) for a in (
    {"ok": True, "version": "1", "name": "n", "node": 1, "inc": "1.1", "kamailio": "up", "counters": {"a\u007f": 1}},
    {"ok": True, "nodes": [{"id": 1, "name": "\u202ea", "sip": "1", "state": "up", "seen_ms": 5}]},
    {"ok": True, "calls": [CALL_ANSWER], "total": 7, "silent": [3, "\u009b"]},
    {"ok": True, "call": CALL_ANSWER, "trace": [{"at": 1800000000500, "node": 2, "text": "x\u0000y"}]},
    {"ok": True, "txns": [json.loads(record())]}, {"ok": True, "cdr": [CALL_ANSWER]},
    {"ok": False, "error": "no \u001b]0;x\u0007"}, {"ok": False, "error": {"base64": "G1sy"}}, {"ok": 1}, [],
    {"ok": True, "trace": [{"at": 1, "node": [], "text": {"base64": "?"}}], "txns": [{"req": {"base64": "/w=="}}]})] + [
    b"\1{\"ok\":true", b"\1", b"\1\xff\xfe\n"]

B64 = base64.b64encode(PLAIN[1].encode()).decode()
TOLD_TEXTS = ['{"t":"handover","msg":"%s"}' % B64, '{"t":"over","call_id":"c0@x","from_tag":"a1"}', '{"t":"taken","node":2,"call_id":"c0@x","from_tag":"a1"}',
              '{"t":"ask","from":2,"token":7,"q":{"cmd":"calls"}}', '{"t":"ask","from":2,"q":{"cmd":"tx","call_id":"c"}}',
              '{"t":"answer","node":2,"token":1,"a":{"calls":[{"trying":5},5],"total":9223372036854775807}}',
              '{"t":"answer","node":3,"token":1,"a":{"calls":[{"trying":4}],"total":9}}',
              '{"t":"answer","node":2,"token":2,"a":{"txns":[{}]}}', '{"t":"ask","from":0,"token":1,"q":{"cmd":"trace"}}']
TOLD = [chunk(t) + chunk("") * 7 + m for t in TOLD_TEXTS for m in (SIP[0], b"x")] + [
    b"".join(chunk(t) for t in TOLD_TEXTS) + SIP[5]]

# Steps of fuzz_engine.c by their numbers there.
(BRANCH, REPLY, STRAY, EVENT, TAKEN, BYTES, FRAME, ACKS, HELLO, GOT, CLAIMED, SCANNED, NODE, DONE, CALL_GOT, ARCHIVED,
 STORE, TOLDS, ASK, TIME, STANDSTILL) = range(21)
ANSWER_ABSENT, FOUND = 0, 1


def steps(*parts):
    return b"".join(p if isinstance(p, bytes) else bytes(p) for p in parts)


ENGINE = [
    steps([0, BRANCH, 0, 0, 1, DONE, 8, 0, REPLY, 0, 0, 0, 2, REPLY, 0, 0, 2, 3, DONE, 255, 0, TIME, 200, TIME, 255]),
    steps([0, STRAY, 0, 0, 1, GOT, 1, 0, 4, ACKS, 15, TIME, 20]),
    steps([0, NODE, 0x10, STRAY, 0, 0, 1, GOT, 1, 0, 4, GOT, 1, 0, 4, CLAIMED, 1, 0, ACKS, 15, TAKEN, 1, 1, TIME, 30]),
    steps([0, NODE, 0x10, SCANNED, 3, GOT, 1, 0, 4, GOT, 0, 0, 0, CLAIMED, 1, 0, BRANCH, 0, 8, 1, TIME, 250, ACKS, 15]),
    steps([0, NODE, 0x10, STRAY, 0, 1, 1, GOT, 1, 0, 4, STRAY, 0, 8 + 16, 2, GOT, 1, 0, 4, CLAIMED, 1, 0, TIME, 3]),
    steps([2, STRAY, 0, 2, 1, CLAIMED, 0x80, 0], chunk("2 200.1"), [STRAY, 1, 2, 2, CLAIMED, 1, 0, TIME, 100]),
    steps([0, STRAY, 8, 32, 1, CALL_GOT, 1, 0, 255, 15, 3], chunk("trying"), chunk("-9223372036854775808"),
          chunk("at.1"), chunk("7"), chunk("x\0"), chunk("\xff"), [TIME, 5]),
    steps([0, EVENT, 6, 1, EVENT, 3, 2, EVENT, 4, 3, TIME, 5, CALL_GOT, 1, 0, 0x1B, 1, 0, DONE, 0, 0, TIME, 255]),
    steps([0, STORE, STRAY, 0, 0, 1, TIME, 200, STORE, TIME, 200, HELLO, 1, TIME, 20, HELLO, 1, HELLO, 0, HELLO, 16]),
    steps([0, ASK, 0, 0, ASK, 1, 1, ASK, 2, 2, ASK, 3, 3, ASK, 4, 4, ASK, 5, 5, ASK, 6, 6, ARCHIVED, 128], chunk("1-1"),
          [255, 15, 0, CALL_GOT, 1, 0, 255, 15, 0, TIME, 255]),
    steps([0, BRANCH, 0, 0, 1, STANDSTILL, 9, CLAIMED, 0, 0, TIME, 9, GOT, 1, 0, 32, TIME, 200]),
] + [steps([0, FRAME], chunk(p), [TIME, 50]) for p in payloads()[:30]] + [
    steps([0, TOLDS], chunk(t), [TIME, 50]) for t in TOLD_TEXTS] + [
    steps([0, NODE, 128], chunk(NODE_TEXT.replace("192.0.2.2", "a\\r\\nb").replace(":7", ":70")), [TIME, 50])]

SENT_AGAIN = (b"-MOVED 1 127.0.0.1:3\r\n", b"-MOVED 99999 x:0\r\n", b"-ASK 1 127.0.0.1:3\r\n", b"-TRYAGAIN x\r\n",
              b"-CLUSTERDOWN x\r\n", b"-NOSCRIPT x\r\n", b"+OK\r\n")


def to_all(answer):
    """On each of the six connections."""
    return b"".join(bytes([138 + end]) + chunk(answer) for end in range(6))


CLUSTER = [b"\0\0\0" + to_all(b"$40\r\n" + b"a" * 40 + b"\r\n") + bytes([question]) + to_all(answer) + bytes([question]) + to_all(b"+OK\r\n" + answer)
           for question in (0, 1, 3, 4) for answer in SENT_AGAIN]

NAMES = [b"memory://", b"redis://h", b"redis://u%40:p%25@h:1/2", b"rediss://[2001:db8::1]:6380", b"unix:///run/redis.sock",
         b"sentinel://:p@a,b:2,[::1]:3/name/4", b"rediss+sentinel://a/n", b"cluster://a,b", b"redis://u:p/q@h", b"redis://%0a@h",
         b"redis://u:p@q@h", b"redis://h?db=1", b"u:p@h", b"sentinel://a,/n"]

TARGETS = {
    "frame": [b"\7" + b"".join(b"%d:%s," % (len(p), p) for p in payloads()[i:i + 3]) for i in range(0, 60, 3)] + [
        b"\0" + t for t in (b"0:,", b"00:,", b"1:a", b"262145:", b"5:ab,", b"999999999999999999999:", b"x", b"3:abc;")],
    "msg": payloads(), "sip": SIP, "record": [r.encode() for r in RECORDS], "call": CALLS, "redis": REDIS, "redis_cluster": CLUSTER,
    "key": [bytes([a, b]) + b"".join(map(chunk, c)) for a, b, c in (
        (1, 1, ("a", "a", "b", "b")), (1, 2, ("a", "a", "b", "b")), (1, 1, ("a:1", "a", "b", "1:b")),
        (1, 1, ("{}", "%7B%7D", "\0", "%00")), (1, 1, ("a b", "a%20b", "\xff", '"')))],
    "config": CONFIG, "store_name": NAMES, "control": REQUESTS, "http": URLS, "ctl": ANSWERS, "messages": TOLD, "engine": ENGINE,
}


def main(folder):
    for target, seeds in TARGETS.items():
        os.makedirs(os.path.join(folder, target), exist_ok=True)
        for i, seed in enumerate(seeds):
            with open(os.path.join(folder, target, f"seed-{i:03}"), "wb") as f:
                f.write(seed)


if __name__ == "__main__":
    main(*sys.argv[1:])
