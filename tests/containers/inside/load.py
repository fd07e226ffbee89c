"""load.py PORT THREADS: sends signed notifications, each on a connection of its own, until SIGTERM. Then prints how many relay
accepted, how many failed, and why."""

import collections
import hashlib
import http.client
import signal
import sys
import threading
import urllib.parse

KEY = open('/etc/relay/keys/main').read().strip()
SIGN = hashlib.md5(('main' + 'load' + 'x' + KEY).encode()).hexdigest()
BODY = urllib.parse.urlencode({'source': 'main', 'room_id': 'load', 'data': 'x', 'sign': SIGN})
HEADERS = {'Content-Type': 'application/x-www-form-urlencoded', 'Connection': 'close'}

stop = threading.Event()


def send(port):
    try:
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=30)
        connection.request('POST', '/api/notify', BODY, HEADERS)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return 'accepted' if answer.status == 200 and '"code":1' in text else f'{answer.status} {text}'
    except Exception as error:
        return repr(error)


def work(port, results):
    while not stop.is_set():
        results[send(port)] += 1


signal.signal(signal.SIGTERM, lambda *_: stop.set())
results = [collections.Counter() for _ in range(int(sys.argv[2]))]
threads = [threading.Thread(target=work, args=(int(sys.argv[1]), own)) for own in results]
for thread in threads:
    thread.start()
while not stop.wait(0.1):
    pass
for thread in threads:
    thread.join()
total = sum(results, collections.Counter())
accepted = total.pop('accepted', 0)
print(f'accepted={accepted} failed={sum(total.values())}', *(f'{count} x {kind}' for kind, count in total.items()), sep='\n')
