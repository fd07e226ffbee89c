# A backend over https. Its argument is a JSON object with cert, key, and perhaps ca (clients need a certificate), most (the
# highest version of TLS) and end: how a response ends. It prints a line of JSON for everything that happens.
import json, socket, ssl, sys, threading

options = json.loads(sys.argv[1])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(options['cert'], options['key'])
if 'ca' in options:
    context.load_verify_locations(options['ca'])
    context.verify_mode = ssl.CERT_REQUIRED
if 'most' in options:
    context.maximum_version = getattr(ssl.TLSVersion, options['most'])
lock = threading.Lock()


def say(**what):
    with lock:
        print(json.dumps(what), flush=True)


def serve(raw):
    try:
        stream = context.wrap_socket(raw, server_side=True)
        say(connected=stream.version(), resumed=stream.session_reused)
        answer(stream)
    except (ssl.SSLError, OSError) as error:
        say(failed=str(error))


def answer(stream):
    file, end = stream.makefile('rb'), options.get('end', 'keep')
    while line := file.readline():
        headers = {}
        while header := file.readline().decode().strip():
            name, value = header.split(': ', 1)
            headers[name.lower()] = value
        call = json.loads(file.read(int(headers['content-length'])))
        say(called=call['event'], host=headers['host'])
        body = json.dumps({'ack': ['yes', 'x' * options.get('size', 0)]}).encode()
        length = b'' if end in ('close_notify', 'cut') else b'Content-Length: %d\r\n' % len(body)
        stream.sendall(b'HTTP/1.1 200 OK\r\n' + length + b'\r\n' + body)
        if end == 'keep':
            continue
        if 'notify' in end:
            stream.unwrap()
        stream.shutdown(socket.SHUT_RDWR)
        return


listener = socket.create_server(('127.0.0.1', 0))
say(port=listener.getsockname()[1])
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
