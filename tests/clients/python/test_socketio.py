"""python-socketio against the real relay: the same cases for generation 5 (Engine.IO 4) and 4 (Engine.IO 3)."""

import hashlib
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.parse
import urllib.request
from importlib.metadata import version

import requests
import socketio

HERE = os.path.dirname(os.path.abspath(__file__))
BINARY = os.environ.get("RELAY_BIN", os.path.join(HERE, "../../../target/release/relay"))
KEY = "try4dfs%#fs!#$2334ds(%B)"
OLD = version("python-socketio").startswith("4.")
# An end that is announced comes at once, one that a ping finds takes longer: less than a ping's interval.
AT_ONCE = 15
TRANSPORTS = [["polling"], ["websocket"], ["polling", "websocket"]]
CONFIGURATION = f"""
[socketio]
ping_interval = 20
ping_timeout = 20
[limits]
message_rate = 0
[namespaces."/custom"]
auth = "open"
source = "demo"
[[namespaces."/custom".rules]]
event = "message"
send = "self"
as = "message-back"
[[namespaces."/custom".rules]]
event = "message-with-ack"
send = "drop"
ack = "echo"
[sources.demo]
sign_key = "{KEY}"
"""


def md5(text):
    return hashlib.md5(text.encode()).hexdigest()


def until(what, ask, patience=90):
    end = time.monotonic() + patience
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.01)


class Relay:
    """The real binary, with the configuration or else the demo setting."""

    def __init__(self, config, port=0, tls=False):
        self.tls = tls
        addresses = [f"127.0.0.1:{port}", *(["tls://127.0.0.1:0"] if tls else [])]
        listen = [word for address in addresses for word in ("--listen", address)]
        command = [BINARY, *(["--config", config] if config else []), *listen]
        environment = {name: value for name, value in os.environ.items() if name != "RELAY_CONFIG"}
        self.child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)

    def ready(self):
        self.port = self.listening("")
        self.url = f"http://127.0.0.1:{self.port}"
        self.client_url = f"https://127.0.0.1:{self.listening('tls://')}" if self.tls else self.url
        self.reader = threading.Thread(target=self.child.stderr.read, daemon=True)
        self.reader.start()

    def listening(self, scheme):
        for line in self.child.stderr:
            found = re.search(rf"listening on {scheme}127\.0\.0\.1:(\d+)", line)
            if found:
                return int(found[1])
        raise AssertionError("relay ended")

    def notify(self, room, data):
        fields = {"source": "demo", "room_id": room, "data": data, "sign": md5("demo" + room + data + KEY)}
        with urllib.request.urlopen(f"{self.url}/api/notify", urllib.parse.urlencode(fields).encode(), 30) as answer:
            return json.load(answer)["code"] == 1

    def stop(self):
        try:
            self.child.terminate()
            return self.child.wait(90)
        finally:
            self.child.kill()
            self.child.wait()


class Client:
    """A client, and what came to it by event."""

    def __init__(self, relay, transports, room="room", sign=None, namespaces=None, authority=None):
        session = requests.Session()
        # The environment would replace the authority (REQUESTS_CA_BUNDLE).
        session.verify, session.trust_env = authority or True, False
        # Generation 4 asks ssl_verify instead, and its WebSocket only the environment.
        more = {"ssl_verify": authority} if OLD and authority else {"http_session": session}
        self.io = socketio.Client(reconnection_delay=0.1, reconnection_delay_max=0.2, randomization_factor=0, **more)
        self.came = {}
        for event in ["newMsg", "sys_error", "connect", "connect_error", "disconnect"]:
            self.keep(event)
        for event in ["message-back", "connect"]:
            self.keep(event, "/custom")
        fields = {"source": "demo", "room_ids": room, "userid": "7", "username": "spring", "watch_quit": "1"}
        fields["sign"] = sign or md5("demo" + room + KEY)
        self.url = f"{relay.client_url}?{urllib.parse.urlencode(fields)}"
        self.options = {"transports": transports, **({"namespaces": namespaces} if namespaces else {})}
        if OLD:
            # It would drop a disconnection that one of its threads handles before connect() has returned.
            self.connected, handle = threading.Event(), self.io._handle_disconnect
            self.io._handle_disconnect = lambda namespace: self.connected.wait(90) and handle(namespace)

    def connect(self):
        self.io.connect(self.url, **self.options)
        if OLD:
            self.connected.set()
        # It handles each packet in a thread of its own, so that bytes may overtake the packet they belong to.
        trigger = self.io.eio._trigger_event
        self.io.eio._trigger_event = lambda *args, **more: trigger(*args, **{**more, "run_async": False})

    def keep(self, event, namespace="/"):
        came = self.came.setdefault((event, namespace), [])
        self.io.on(event, lambda *args: came.append(args[0] if len(args) == 1 else args), namespace=namespace)

    def wait(self, event, count=1, namespace="/", patience=90):
        came = self.came[event, namespace]
        return until(f"{count} {event}", lambda: len(came) >= count and came, patience)

    def call(self, event, args, namespace="/"):
        answers = []
        self.io.emit(event, args, namespace=namespace, callback=lambda *args: answers.append(args))
        return until(f"the answer to {event}", lambda: answers)[0]


class Cases:
    """Every case; each transport is a class of its own."""

    transports = None

    def setUp(self):
        signal.signal(signal.SIGALRM, self.took_too_long)
        signal.alarm(120)
        self.addCleanup(signal.alarm, 0)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.config = os.path.join(folder.name, "relay.toml")
        self.clients = []
        self.configure(CONFIGURATION)
        self.start(self.config)

    def tearDown(self):
        # Before relay ends: generation 4 never stops trying to come back.
        for client in self.clients:
            client.io.disconnect()

    def took_too_long(self, *_):
        raise AssertionError("the test took too long")

    def configure(self, text):
        with open(self.config, "w") as file:
            file.write(text)

    def start(self, config, port=0, tls=False):
        self.relay = Relay(config, port, tls)
        self.addCleanup(self.stop, self.relay)
        self.relay.ready()

    def stop(self, relay):
        self.assertEqual(relay.stop(), 0)

    def client(self, *args, **more):
        client = Client(self.relay, self.transports, *args, **more)
        self.clients.append(client)
        return client

    def connect(self, *args, **more):
        client = self.client(*args, **more)
        client.connect()
        client.wait("connect")
        self.assertEqual(client.io.transport(), self.transports[-1])
        return client

    def test_a_notification_arrives_once(self):
        client = self.connect()
        self.relay.notify("room", "héllo 𝄞 😀")
        self.relay.notify("room", "second")
        first, second = client.wait("newMsg", 2)
        self.assertTrue(first.pop("id"))
        shape = {"source": "demo", "data": "héllo 𝄞 😀", "room_id": "room", "from_sys": True}
        self.assertEqual((first, second["data"]), (shape, "second"))
        time.sleep(0.1)
        self.assertEqual(len(client.came["newMsg", "/"]), 2)

    def test_tls(self):
        folder = os.path.dirname(self.config)
        certificate, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=relay", "-addext",
             "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
            check=True, stderr=subprocess.DEVNULL,
        )
        self.configure(f'{CONFIGURATION}\n[[tls.certificates]]\ncert_file = "{certificate}"\nkey_file = "{key}"\n')
        self.start(self.config, tls=True)
        if OLD:
            # It stays: a thread of the client that reads the environment fails if a name goes away meanwhile.
            os.environ["WEBSOCKET_CLIENT_CA_BUNDLE"] = certificate
        client = self.connect(authority=certificate)
        for data in ["first", "x" * 100_000]:
            self.relay.notify("room", data)
        self.assertEqual([len(message["data"]) for message in client.wait("newMsg", 2)], [5, 100_000])
        client.io.emit("postMsg", ("y" * 100_000, "room"))
        self.assertEqual(len(client.wait("newMsg", 3)[2]["data"]), 100_000)
        if OLD:
            os.environ["WEBSOCKET_CLIENT_CA_BUNDLE"] = ""
        with self.assertRaises(socketio.exceptions.ConnectionError):
            self.client().connect()

    def test_the_demo_setting(self):
        self.start(None)
        one, other = self.connect(namespaces=["/"]), self.connect(namespaces=["/"])
        self.assertTrue(self.relay.notify("room", "from the backend"))
        one.wait("newMsg")
        one.io.emit("postMsg", ("from a page", "room"))
        for client in (one, other):
            data = [message["data"] for message in client.wait("newMsg", 2)]
            self.assertEqual(data, ["from the backend", "from a page"])

    def test_a_refused_client_learns_why(self):
        if OLD:
            client = self.client(sign="x")
            client.connect()
            client.wait("disconnect", patience=AT_ONCE)
            self.assertEqual(client.came["sys_error", "/"], ["sign verify failed!"])
            self.relay.notify("room", "for members only")
            time.sleep(0.2)
            self.assertEqual(client.came["newMsg", "/"], [])
            return
        client = self.client(sign="x")
        # The error says that it failed, the event says why.
        with self.assertRaisesRegex(socketio.exceptions.ConnectionError, "namespaces failed to connect"):
            client.connect()
        (error,) = client.came["connect_error", "/"]
        self.assertEqual(error["message"], "sign verify failed!")
        self.assertEqual(error["data"]["reason"], "sign must have 32 hexadecimal digits with md5")

    def test_post_msg_with_and_without_an_acknowledgement(self):
        one, other = self.connect("a"), self.connect("b")
        one.io.emit("postMsg", ({"text": "ü", "list": [1, None]}, "a,b"))
        self.assertEqual(other.wait("newMsg")[0]["data"], {"text": "ü", "list": [1, None]})
        self.assertEqual(one.wait("newMsg")[0]["room_id"], "a")
        (answer,) = one.call("postMsg", ("again", ["b"]))
        self.assertEqual(answer, {"code": 1, "msg": "", "data": {"id": other.wait("newMsg", 2)[1]["id"]}})
        (answer,) = one.call("postMsg", ("", "b"))
        self.assertEqual(answer, {"code": 0, "msg": "data can not be null!", "data": ""})
        one.io.emit("postMsg", "x")
        self.assertEqual(one.wait("sys_error"), ["room_id can not be null!"])

    def test_bytes_both_ways(self):
        one, other = self.connect("bin"), self.connect("bin")
        sent = [b"\x00\x01\xff", {"a": [b"x", {"b": b"y"}], "c": 1}, b"", b"\x07" * 70_000]
        # Generation 4 takes bytes of no length that come to it for nothing.
        expected = [None if OLD and data == b"" else data for data in sent]
        for count, sender in enumerate((one, other), 1):
            for data in sent:
                sender.io.emit("postMsg", (data, "bin"))
            for client in (one, other):
                came = client.wait("newMsg", count * len(sent))
                self.assertEqual([message["data"] for message in came], expected * count)

    def test_a_message_of_500_kb(self):
        client = self.connect()
        data = "x" * 499_000 + "€𝄞" * 100
        client.io.emit("postMsg", (data, "room"))
        self.assertEqual(client.wait("newMsg")[0]["data"], data)
        self.relay.notify("room", data)
        self.assertEqual(client.wait("newMsg", 2)[1]["data"], data)

    def test_a_hundred_rapid_messages_in_order(self):
        one, other = self.connect(), self.connect()
        for number in range(100):
            one.io.emit("postMsg", (number, "room"))
        for client in (one, other):
            self.assertEqual([message["data"] for message in client.wait("newMsg", 100)], list(range(100)))

    def test_two_namespaces(self):
        client = self.connect(namespaces=["/", "/custom"])
        client.wait("connect", namespace="/custom")
        client.io.emit("message", (1, "2", {"3": [True, b"b"]}), namespace="/custom")
        back = client.wait("message-back", namespace="/custom")
        self.assertEqual(list(back[0]), [1, "2", {"3": [True, b"b"]}])
        self.assertEqual(list(client.call("message-with-ack", ("x", b"y"), "/custom")), ["x", b"y"])
        self.relay.notify("room", "main too")
        self.assertEqual(client.wait("newMsg")[0]["data"], "main too")

    def test_silence_ends_nothing(self):
        times = "ping_interval = 0.5\nping_timeout = 2\n"
        self.configure(CONFIGURATION.replace("ping_interval = 20\nping_timeout = 20\n", times))
        self.start(self.config)
        client = self.connect()
        time.sleep(3)
        self.relay.notify("room", "good morning")
        client.wait("newMsg")
        self.assertEqual(client.came["disconnect", "/"], [])

    def test_a_client_that_leaves_is_gone(self):
        one, other = self.connect(), self.connect()
        # What it is about to send when it leaves, it may forget: let it come to rest.
        time.sleep(0.2)
        one.io.disconnect()
        data = other.wait("newMsg", patience=AT_ONCE)[0]["data"]
        self.assertEqual(data, {"username": "spring", "key": "user_quit", "msg": "spring退出群聊"})

    def test_a_server_that_ends_a_session_is_obeyed(self):
        client = self.connect()
        self.configure(CONFIGURATION.replace("[sources.demo]", "[sources.other]"))
        self.relay.child.send_signal(signal.SIGHUP)
        client.wait("disconnect", patience=AT_ONCE)
        time.sleep(0.5)
        self.assertEqual(len(client.came["connect", "/"]), 1)

    def test_after_a_restart_a_client_comes_back(self):
        client = self.connect("home")
        self.relay.notify("home", "all threads of the client are at work")
        client.wait("newMsg")
        self.stop(self.relay)
        client.wait("disconnect", patience=AT_ONCE)
        self.start(self.config, self.relay.port)
        client.wait("connect", 2)
        self.relay.notify("home", "welcome back")
        self.assertEqual(client.wait("newMsg", 2)[1]["data"], "welcome back")
        time.sleep(0.1)
        self.assertEqual(len(client.came["newMsg", "/"]), 2)


for names in TRANSPORTS:
    name = "_then_".join(names)
    globals()[name] = type(name, (Cases, unittest.TestCase), {"transports": names})
del name, names
