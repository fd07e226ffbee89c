"""Shared by compare and goals: the servers to measure, the loads, and the formatting of results."""

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
# bench/examples/load. Any program with the same arguments and output can replace it.
LOAD = os.path.join(TARGET, "release/examples/load")
BENCH = os.path.join(TARGET, "release/relay-bench")
RELAY = os.path.join(TARGET, "release/relay")
DEMO_KEY = "try4dfs%#fs!#$2334ds(%B)"
# The time-out of a load, three times as long as the slowest one takes.
LOAD_SECONDS = 45
START_SECONDS = 20

RELAY_TOML = f"""listen = ["127.0.0.1:0"]
[sources.demo]
sign_key = "{DEMO_KEY}"
[admin]
token = "t"
"""


class Failed(Exception):
    """A measurement failed."""


class Target:
    """A server to measure, and the options of its load."""

    def __init__(self, key, name, command, load=(), messages=(300, 2000)):
        self.key = key
        self.name = name
        # A function from the server's temporary directory to its command line.
        self.command = command
        self.load = list(load)
        # The number of messages, one at a time and 32 in flight. They take about two seconds; the cost of a message does not
        # depend on their number.
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
    """A running target with a temporary directory. `stop` ends it."""

    def __init__(self, target, settle=0.5):
        self.target = target
        self.folder = tempfile.mkdtemp(prefix="relay-compare-")
        command = target.command(self.folder)
        command, self.addr = command if isinstance(command, tuple) else (command, None)
        environment = {**os.environ, "NODE_ENV": "production"}
        environment.pop("RELAY_CONFIG", None)
        self.log = []
        begin = time.monotonic()
        self.child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        )
        try:
            # A server that does not log its address in time is killed.
            watchdog = threading.Timer(START_SECONDS, self.child.kill)
            watchdog.daemon = True
            watchdog.start()
            if self.addr is None:
                for line in self.child.stderr:
                    self.log.append(line)
                    found = re.search(r"listening on (\S+)", line)
                    if found:
                        self.addr = found[1]
                        break
            watchdog.cancel()
            # From before the fork, which is a part of it.
            self.start_seconds = time.monotonic() - begin
            threading.Thread(target=lambda: self.log.extend(self.child.stderr), daemon=True).start()
            if self.addr is None or not self.answers():
                raise Failed(f"{target.name} does not start: {''.join(self.log)}")
            # The rest of its start-up must not count in the first measurement.
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
        """The process ids of the server and its children (nginx has workers)."""
        pids = [self.child.pid]
        for pid in pids:
            with open(f"/proc/{pid}/task/{pid}/children") as file:
                pids += map(int, file.read().split())
        return pids

    def resident(self):
        """Resident memory in bytes."""
        with open(f"/proc/{self.child.pid}/status") as file:
            return int(re.search(r"VmRSS:\s*(\d+)", file.read())[1]) * 1024

    def load(self, job, *options):
        """Runs bench/examples/load and returns its result."""
        where = ["--addr", self.addr, "--pids", ",".join(map(str, self.pids()))]
        return self.run(job, [LOAD, job, *where, *self.target.load, *map(str, options)], LOAD_SECONDS)

    def bench(self, mode, *options, seconds=LOAD_SECONDS):
        """Runs relay-bench and returns its report."""
        where = ["--addr", self.addr, "--pid", str(self.child.pid), "--timeout", str(seconds), "--json"]
        return self.run(mode, [BENCH, mode, *where, *map(str, options)], seconds + 10)

    def run(self, job, command, seconds):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.target.name}, {job}: timed out after {seconds} s") from None
        if done.returncode != 0:
            raise Failed(f"{self.target.name}, {job}: {done.stdout}{done.stderr}{''.join(self.log)}")
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
    """Raises the limit of descriptors for so many clients, builds the products, and makes SIGTERM stop the servers."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < clients + 1000:
        sys.exit(f"{clients} clients need {clients + 1000} file descriptors, but the hard limit is {hard}: raise 'ulimit -Hn'")
    # One cargo call each: in one call, a feature that the load enables in a library would also be enabled in relay.
    for product in products:
        subprocess.run(["cargo", "build", "--quiet", "--locked", "--release", *product], cwd=ROOT, check=True)


def peers_missing():
    """The reason why the servers of tests/bench/peers cannot run, if there is one."""
    if not shutil.which("node"):
        return "node is not installed"
    if not os.path.exists(os.path.join(PEERS, "node_modules")):
        return "the npm packages are missing: run npm ci in tests/bench/peers"
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
    """Forwards in even rounds, backwards in odd ones, so that a drift of the machine's speed affects all alike."""
    return things if number % 2 == 0 else things[::-1]


def spread(values, form):
    low, middle, high = (form(value) for value in (min(values), statistics.median(values), max(values)))
    return middle if low == high else f"{middle} ({low}–{high})"
