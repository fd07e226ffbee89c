"""A backend for relay's hooks (hooks.toml): it admits clients, answers their events and sends events to rooms.

HOOK_SECRET='change me' PORT=8080 python3 backend.py
"""
import hashlib
import hmac
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ.get("HOOK_SECRET", "change me").encode()
USERS = {"token-of-li": ("1", "Li"), "token-of-wang": ("2", "Wang")}
PRICES = {"tea": 3, "coffee": 4}
orders = 0
answered = {}
lock = threading.Lock()


def is_from_relay(headers, body):
    """Check the signature, and that the call is recent: ts in the body is signed, so an old call cannot be replayed."""
    right = "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(right.encode(), headers.get("X-Relay-Signature", "").encode()):
        return False
    stamps = [int(headers.get("X-Relay-Timestamp", 0)), json.loads(body)["ts"]]
    return all(abs(time.time() - ts) <= 300 for ts in stamps)


def decide(call):
    global orders
    if call["event"] == "connect":
        # Socket.IO 3 and later clients send auth; older ones and plain WebSocket clients use the query.
        user = USERS.get(((call["auth"] or {}).get("token") or call["query"].get("token")))
        if user is None:
            return {"allow": False, "error": "wrong token"}
        # Without a userid in the answer, relay would use the one that the client claims.
        came = {"event": "came", "args": [user[1]], "to": {"room": "lobby"}}
        return {"userid": user[0], "username": user[1], "join": ["lobby"], "emit": [came]}
    if call["event"] == "disconnect":
        print("disconnect", call.get("userid"), call.get("username"), flush=True)
        return {}
    first, rooms = (call["args"] or [None])[0], call["rooms"]
    if call["name"] == "ask":
        return {"ack": [{"of": first, "price": PRICES.get(first) if isinstance(first, str) else None}]}
    if call["name"] == "order":
        orders += 1
        return {"ack": [{"number": orders, "of": first}]}
    if call["name"] == "room":
        # One room: a comma would separate several.
        return {"leave": rooms, "join": [str(first).replace(",", "")], "ack": ["ok"]}
    if call["name"] == "say":
        return {"emit": [{"event": "said", "args": [call["username"], first], "to": {"room": room}} for room in rooms]}
    return {}


def answer(call):
    """Relay retries a call when it does not know whether the call arrived. A retry has the same Idempotency-Key, which the
    signed body repeats as id; it gets the first answer again, so that an order is not counted twice."""
    with lock:
        if call["id"] not in answered:
            answered[call["id"]] = decide(call)
            if len(answered) > 10000:
                del answered[next(iter(answered))]
        return answered[call["id"]]


class Handler(BaseHTTPRequestHandler):
    # Relay reuses connections, which needs HTTP/1.1. Without TCP_NODELAY, an answer can wait for an ACK of the one before.
    protocol_version = "HTTP/1.1"
    timeout = 75
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        known = is_from_relay(self.headers, body)
        text = json.dumps(answer(json.loads(body))).encode() if known else b""
        self.send_response(200 if known else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 8080))), Handler)
server.daemon_threads = True
print("listening on", server.server_address[1], flush=True)
server.serve_forever()
