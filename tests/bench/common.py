"""What the scripts of this folder share: servers to measure, the loads, and how figures are told."""

import json
import os
import platform
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
TARGET = os.path.abspath(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")))
PEERS = os.path.join(ROOT, "tests/bench/peers")
# The load: whatever takes these arguments and prints such an object can stand in its place.
LOAD = os.path.join(TARGET, "release/examples/load")
BENCH = os.path.join(TARGET, "release/relay-bench")
RELAY = os.path.join(TARGET, "release/relay")
DEMO_KEY = "try4dfs%#fs!#$2334ds(%B)"
# No load takes longer; the slowest takes a third of it.
LOAD_SECONDS = 45
START_SECONDS = 20

RELAY_TOML = f"""listen = ["127.0.0.1:0"]
[sources.demo]
sign_key = "{DEMO_KEY}"
[admin]
token = "t"
"""


class Failed(Exception):
    """Why something could not be measured."""


class Target:
    """A server to measure, and how the load speaks with it."""

    def __init__(self, key, name, command, load=(), messages=(300, 2000)):
        self.key = key
        self.name = name
        # From a folder of its own to a command line.
        self.command = command
        self.load = list(load)
        # How many, one at a time and 32 in flight: about two seconds, and the cost of each does not depend on it.
        self.messages = messages


def relay(folder):
    config = os.path.join(folder, "relay.toml")
    with open(config, "w") as file:
        file.write(RELAY_TOML)
    return [RELAY, "--config", config]


def node(script):
    return lambda folder: ["node", os.path.join(PEERS, script)]


SOCKETIO = ["--speaks", "socketio4"]


class Server:
    """A target that runs, with a folder of its own; ended by `stop`."""

    def __init__(self, target, settle=0.5):
        self.target = target
        self.folder = tempfile.mkdtemp(prefix="relay-compare-")
        command = target.command(self.folder)
        command, self.addr = command if isinstance(command, tuple) else (command, None)
        environment = {**os.environ, "NODE_ENV": "production"}
        environment.pop("RELAY_CONFIG", None)
        self.said = []
        begin = time.monotonic()
        self.child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        )
        try:
            # Who never says that it listens is not waited for.
            patience = threading.Timer(START_SECONDS, self.child.kill)
            patience.daemon = True
            patience.start()
            if self.addr is None:
                for line in self.child.stderr:
                    self.said.append(line)
                    found = re.search(r"listening on (\S+)", line)
                    if found:
                        self.addr = found[1]
                        break
            patience.cancel()
            # From before the fork, which is some of it.
            self.start_seconds = time.monotonic() - begin
            threading.Thread(target=lambda: self.said.extend(self.child.stderr), daemon=True).start()
            if self.addr is None or not self.answers():
                raise Failed(f"{target.name} does not start: {''.join(self.said)}")
            # What it still does after it listens is not for the first measurement.
            time.sleep(settle)
        except BaseException:
            self.stop()
            raise

    def answers(self):
        host, port = self.addr.rsplit(":", 1)
        for _ in range(50):
            try:
                socket.create_connection((host, int(port)), 1).close()
                return True
            except OSError:
                time.sleep(0.1)
        return False

    def pids(self):
        """It and its children, as nginx has them."""
        pids = [self.child.pid]
        for pid in pids:
            with open(f"/proc/{pid}/task/{pid}/children") as file:
                pids += map(int, file.read().split())
        return pids

    def resident(self):
        """Bytes."""
        with open(f"/proc/{self.child.pid}/status") as file:
            return int(re.search(r"VmRSS:\s*(\d+)", file.read())[1]) * 1024

    def load(self, job, *options):
        """What tests/bench/load.rs found."""
        where = ["--addr", self.addr, "--pids", ",".join(map(str, self.pids()))]
        return self.run(job, [LOAD, job, *where, *self.target.load, *map(str, options)], LOAD_SECONDS)

    def bench(self, mode, *options, seconds=LOAD_SECONDS):
        """What `relay-bench` found."""
        where = ["--addr", self.addr, "--pid", str(self.child.pid), "--timeout", str(seconds), "--json"]
        return self.run(mode, [BENCH, mode, *where, *map(str, options)], seconds + 10)

    def run(self, job, command, seconds):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.target.name}, {job}: not done within {seconds} s") from None
        if done.returncode != 0:
            raise Failed(f"{self.target.name}, {job}: {done.stdout}{done.stderr}{''.join(self.said)}")
        return json.loads(done.stdout)

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def prepare(clients, *products):
    """Allows for so many clients, builds what is measured and measured with, and makes being ended end the servers too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < clients + 1000:
        sys.exit(f"{clients} clients need as many descriptors, and {hard} are allowed: ulimit -Hn")
    # Apart, so that no feature of a library that only the load wants gets into relay.
    for product in products:
        subprocess.run(["cargo", "build", "--quiet", "--locked", "--release", *product], cwd=ROOT, check=True)


def peers_missing():
    """Why no server of tests/bench/peers can run, if so."""
    if not shutil.which("node"):
        return "there is no node"
    if not os.path.exists(os.path.join(PEERS, "node_modules")):
        return "npm ci was not run in tests/bench/peers"
    return None


def version(command, pattern):
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    except OSError:
        return ""
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else ""


def package(name):
    with open(os.path.join(PEERS, "node_modules", name, "package.json")) as file:
        return json.load(file)["version"]


def write_json(path, found):
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w") as file:
        json.dump(found, file, indent=1)
        file.write("\n")


def machine():
    with open("/proc/cpuinfo") as file:
        model = re.search(r"model name\s*:\s*(.*)|CPU part\s*:\s*(.*)", file.read())
    model = next(filter(None, model.groups())) if model else platform.machine()
    with open("/proc/meminfo") as file:
        memory = int(re.search(r"MemTotal:\s*(\d+)", file.read())[1]) // 1024
    return f"{model}, {os.cpu_count()} processors, {memory} MiB, Linux {platform.release()}"


def in_turn(number, things):
    """Forwards and backwards, so that a machine that grows slower does so for all."""
    return things if number % 2 == 0 else things[::-1]


def spread(values, form):
    low, middle, high = (form(value) for value in (min(values), statistics.median(values), max(values)))
    return middle if low == high else f"{middle} ({low}–{high})"
