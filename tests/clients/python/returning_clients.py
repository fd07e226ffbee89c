"""Clients of python-socketio that do not say what they have had. Reads lines of JSON, [number of the client, "open" or "close",
{"url": …, "transports": […]}], and prints what happens in the same form: connect, loss, message, answer."""

import json
import sys
import threading
import time

import socketio

CHATTER = 0.2
printing = threading.Lock()
clients = {}


def say(number, name, value=""):
    with printing:
        sys.stdout.write(json.dumps([number, name, value]) + "\n")
        sys.stdout.flush()


def run(number, url, transports, headers):
    client = clients[number] = socketio.Client()
    # It would handle each packet in a thread of its own, so that messages overtake each other.
    trigger = client.eio._trigger_event
    client.eio._trigger_event = lambda *args, **more: trigger(*args, **{**more, "run_async": False})
    client.on("connect", lambda: say(number, "connect", {"id": client.get_sid() if hasattr(client, "get_sid") else client.sid}))
    client.on("disconnect", lambda *_: say(number, "loss"))
    client.on("newMsg", lambda message: say(number, "message", [message["id"], message["data"]]))
    client.connect(url, transports=transports, headers=headers)
    while True:
        time.sleep(CHATTER)
        if client.connected:
            try:
                client.emit("postMsg", ("", "a"), callback=lambda *_: say(number, "answer"))
            except socketio.exceptions.SocketIOError:
                # It was lost just now.
                pass


for line in sys.stdin:
    number, command, value = json.loads(line)
    if command == "open":
        threading.Thread(target=run, args=(number, value["url"], value["transports"], value["headers"]), daemon=True).start()
    if command == "close":
        clients[number].disconnect()
