"""Starts a relay and runs the cases of the Autobahn test suite against it: fuzz.py BINARY SUITE [ID...].

It does what the suite's own fuzzing client does, which needs Python 2: the same cases and the same WebSocket library, in its
version for Python 3. Ends with a line of counts, and with status 1 if a case failed.
"""
import asyncio
import collections
import multiprocessing
import os
import re
import subprocess
import sys
import threading
import time

import txaio

txaio.use_asyncio()

from autobahn.asyncio.websocket import WebSocketClientFactory, WebSocketClientProtocol  # noqa: E402
from autobahn.websocket import protocol  # noqa: E402

import cases  # noqa: E402
from cases import raw, text  # noqa: E402

# Cases of the suite that are not about compression.
COUNT = 301
# Seconds after which the fuzzer ends a connection that relay should have ended. The suite has 0.5 and 1, which a busy machine
# can need. It must be less than the 5 s that relay gives a peer.
KILL = 3
# Seconds of a whole case.
PATIENCE = 120


class Masker:
    """Autobahn's masker in Python takes a second for some megabytes."""

    def __init__(self, mask, length=None):
        self.mask, self.at = mask, 0

    def pointer(self):
        return self.at

    def reset(self):
        self.at = 0

    def process(self, data):
        length, begin = len(data), self.at % 4
        key = (self.mask * (length // 4 + 2))[begin:begin + length]
        self.at += length
        return (int.from_bytes(data, 'little') ^ int.from_bytes(key, 'little')).to_bytes(length, 'little')


protocol.create_xor_masker = Masker
# Between the pieces of a frame that is sent in pieces. The event loop would make a millisecond of ten microseconds.
protocol.WebSocketProtocol._QUEUED_WRITE_DELAY = 0


class Fuzzer(WebSocketClientProtocol):
    """The interface that cases use (`FuzzingProtocol` of the suite)."""

    def __init__(self, case, done, errors):
        super().__init__()
        self.connectionWasOpen = self.createWirelog = False
        self.txFrameStats = collections.Counter()
        self.done, self.errors, self.sent = done, errors, None
        self.case = case(self)

    def onOpen(self):
        self.connectionWasOpen = True
        self.case.onOpen()

    def onMessage(self, payload, isBinary):
        # The cases about size do not compare what comes back.
        if self.case.reportTime and payload != self.sent():
            self.errors.append(f'{len(payload)} bytes came back that were not sent')
        self.case.onMessage(text(payload), isBinary)

    def onPong(self, payload):
        self.case.onPong(text(payload))

    def onClose(self, wasClean, code, reason):
        self.case.onClose(wasClean, code, reason)

    def connection_lost(self, error):
        super().connection_lost(error)
        self.case.onConnectionLost(self.failedByMe)
        if not self.done.done():
            self.done.set_result(None)

    def logTxFrame(self, frameHeader, payload, repeatLength, chopsize, sync):
        self.txFrameStats[frameHeader.opcode] += 1

    def logRxFrame(self, frameHeader, payload):
        pass

    def sendFrame(self, opcode, payload='', payload_len=None, **more):
        payload = raw(payload)
        if payload_len is not None and opcode in (1, 2):
            self.sent = lambda: (payload * (payload_len // len(payload) + 1))[:payload_len]
        super().sendFrame(opcode, payload=payload, payload_len=payload_len, **more)

    def sendMessage(self, payload, isBinary=False, **more):
        payload = raw(payload)
        super().sendMessage(payload, isBinary, **more)
        self.sent = lambda: payload

    def sendMessageFrameData(self, payload, sync=False):
        return super().sendMessageFrameData(raw(payload), sync)

    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        super().sendCloseFrame(code, raw(reasonUtf8), isReply)

    def enableWirelog(self, enable):
        pass

    def later(self, delay, action):
        asyncio.get_running_loop().call_later(
            delay, lambda: self.state != protocol.WebSocketProtocol.STATE_CLOSED and action())

    def continueLater(self, delay, action, tag=None):
        self.later(delay, action)

    def killAfter(self, delay):
        self.later(max(delay, KILL), self._fail_connection)

    def closeAfter(self, delay):
        self.later(delay, self.sendClose)


async def run_case(port, name, case):
    """The name of a case, and its behavior, at the end too, with texts."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    url = f'ws://127.0.0.1:{port}/ws?format=text&room_ids={name}'
    factory = WebSocketClientFactory(url, useragent='autobahn')
    factory.setProtocolOptions(
        failByDrop=False, openHandshakeTimeout=30, closeHandshakeTimeout=10, serverConnectionDropTimeout=KILL,
        # They are compared with what was sent.
        utf8validateIncoming=False)
    factory.logFrames, factory.logOctets = True, False
    errors = []
    factory.protocol = lambda: Fuzzer(case, done, errors)
    transport, fuzzer = await loop.create_connection(factory, '127.0.0.1', port)
    try:
        await asyncio.wait_for(done, PATIENCE)
    except asyncio.TimeoutError:
        transport.abort()
        errors.append(f'not done within {PATIENCE} s')
    run = fuzzer.case
    behavior = 'ERROR' if errors else run.behavior
    return name, behavior, run.behaviorClose, '; '.join([*errors, run.result, run.resultClose])


async def run_all(port, todo, at_once):
    turn, errors = asyncio.Semaphore(at_once), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))

    async def one(name, case):
        async with turn:
            return await run_case(port, name, case)

    results = await asyncio.gather(*(one(name, case) for name, case in todo))
    # Of an error in a callback nobody knows in which case it was.
    return results + [('a callback', 'ERROR', 'ERROR', str(error)) for error in errors]


def run(job):
    port, suite, names, at_once = job
    known = cases.load(suite)
    return asyncio.run(run_all(port, [(name, known[name]) for name in names], at_once))


def start(binary):
    config = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'relay.toml')
    relay = subprocess.Popen([binary, '--config', config], stderr=subprocess.PIPE, text=True)
    for line in relay.stderr:
        found = re.search(r'listening on 127\.0\.0\.1:(\d+)', line)
        if found:
            threading.Thread(target=relay.stderr.read, daemon=True).start()
            return relay, int(found[1])
    sys.exit(f'{binary} does not listen')


def main(binary, suite, *chosen):
    begin = time.monotonic()
    names = list(cases.load(suite))
    assert len(names) == COUNT, f'the suite has {len(names)} cases'
    names = list(chosen) or names
    # Large messages keep a process busy for a second, in which it would see what comes for other cases too late.
    large = [name for name in names if name.startswith('9.')]
    small = [name for name in names if name not in large]
    relay, port = start(binary)
    try:
        with multiprocessing.Pool(2) as pool:
            results = sum(pool.map(run, [(port, suite, small, 16), (port, suite, large, 1)], chunksize=1), [])
    finally:
        relay.terminate()
        status = relay.wait()
    good = {'OK': 'ok', 'NON-STRICT': 'non-strict', 'INFORMATIONAL': 'informational'}
    counts = collections.Counter()
    for name, behavior, end, texts in results:
        strict = behavior != 'NON-STRICT' or name.startswith('6.4.')
        passed = behavior in good and strict and end in ('OK', 'INFORMATIONAL')
        counts[good[behavior] if passed else 'failed'] += 1
        if not passed or chosen:
            print(f'{name}: {behavior}, end {end}: {texts}')
    listed = ', '.join(f'{counts[kind]} {kind}' for kind in [*good.values(), 'failed'])
    print(f'autobahn: {len(results)} cases, {listed}, {time.monotonic() - begin:.0f} s')
    return bool(counts['failed'] or len(results) != len(names) or status)


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
