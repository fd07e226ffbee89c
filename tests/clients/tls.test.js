'use strict'
// Real clients over TLS: ws, socket.io-client 1.7 to 4, Chromium, Python, .NET (mono).
const assert = require('node:assert/strict')
const { execFileSync, spawn } = require('node:child_process')
const fs = require('node:fs')
const https = require('node:https')
const os = require('node:os')
const path = require('node:path')
const { test, before, after } = require('node:test')
const { chromium } = require('playwright-core')
const WebSocket = require('ws')
const { start, configuration, login, md5, KEY } = require('./relay')

let relay, port, ca, folder
before(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'relay-tls-'))
  const [cert, key] = ['cert.pem', 'key.pem'].map(name => path.join(folder, name))
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-addext', 'basicConstraints=critical,CA:FALSE',
    '-keyout', key, '-out', cert], { stdio: 'ignore' })
  ca = fs.readFileSync(cert)
  const more = `[[tls.certificates]]\ncert_file = "${cert}"\nkey_file = "${key}"\n`
  relay = await start(0, ['--listen', 'tls://127.0.0.1:0', ...configuration(more)])
  while (!port) {
    port = relay.log.map(line => /listening on tls:\/\/127\.0\.0\.1:(\d+)/.exec(line)).find(Boolean)?.[1]
    if (!port) await new Promise(resolve => setTimeout(resolve, 20))
  }
})
after(async () => {
  await relay.stop()
  fs.rmSync(folder, { recursive: true })
})

const url = scheme => `${scheme}://localhost:${port}`

test('ws: messages of all sizes, both ways, and the end', async () => {
  const ws = new WebSocket(`${url('wss')}/ws?${login('room')}`, { ca })
  await new Promise((resolve, reject) => ws.on('open', resolve).on('error', reject))
  for (const size of [1, 16384, 17000, 300000]) {
    const next = new Promise(resolve => ws.once('message', data => resolve(JSON.parse(data))))
    await relay.notify('room', 'x'.repeat(size))
    assert.equal((await next).data.length, size)
    const answer = new Promise(resolve => ws.once('message', data => resolve(JSON.parse(data))))
    ws.send(JSON.stringify({ event: 'postMsg', data: 'y'.repeat(size), room_ids: 'room' }))
    assert.equal((await answer).data.length, size)
  }
  const closed = new Promise(resolve => ws.on('close', resolve))
  ws.close(1000)
  assert.equal(await closed, 1000)
})

for (const version of ['1.7', '2.0', '2.5', '3.1', '4.8']) {
  for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
    test(`socket.io-client ${version} with ${transports}`, async () => {
      const io = require(`socket.io-client-${version}`)
      const query = Object.fromEntries(new URLSearchParams(login('sio')))
      const socket = io(url('https'), { transports, ca, query, rejectUnauthorized: true, forceNew: true, reconnection: false })
      await new Promise((resolve, reject) => socket.on('connect', resolve).on('connect_error', reject))
      if (transports.length === 2) {
        const engine = socket.io.engine
        while (engine.transport.name !== 'websocket') await new Promise(resolve => setTimeout(resolve, 20))
      }
      const next = new Promise(resolve => socket.on('newMsg', resolve))
      await relay.notify('sio', 'over TLS')
      assert.equal((await next).data, 'over TLS')
      socket.close()
    })
  }
}

test('Chromium: wss:// and https://', async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox'] })
  try {
    const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage()
    const answer = await page.goto(`${url('https')}/healthz`)
    assert.equal(answer.status(), 200)
    assert.equal((await answer.securityDetails()).protocol, 'TLS 1.3')
    const opened = page.evaluate(address => new Promise((resolve, reject) => {
      const ws = new WebSocket(address)
      ws.onmessage = event => { window.ended = new Promise(end => { ws.onclose = end }); resolve(event.data); ws.close() }
      ws.onerror = reject
    }), `${url('wss')}/ws?${login('page')}`)
    const timer = setInterval(() => relay.notify('page', 'to the page').catch(() => {}), 100)
    assert.equal(JSON.parse(await opened).data, 'to the page')
    clearInterval(timer)
    assert.equal(await page.evaluate(async () => (await window.ended).wasClean), true)
  } finally {
    await browser.close()
  }
})

test('Python: requests, their end, and continued sessions', async () => {
  const script = `
import ssl, socket, sys
context = ssl.create_default_context(cafile=sys.argv[2])
session = None
for number in range(2):
    plain = socket.create_connection(('localhost', int(sys.argv[1])))
    tls = context.wrap_socket(plain, server_hostname='localhost', session=session)
    tls.sendall(b'GET /healthz HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
    answer = b''
    while b'"ok"}' not in answer:
        answer += tls.recv(4096)
    assert tls.session_reused == (number == 1), number
    session = tls.session
    tls.unwrap().close()
print('fine')
`
  const child = spawn('python3', ['-c', script, port, path.join(folder, 'cert.pem')], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  for await (const part of child.stdout) said += part
  assert.equal(said.trim(), 'fine')
})

test('.NET (mono): requests, a WebSocket, and a certificate that is not trusted', async () => {
  const program = path.join(folder, 'tls.exe')
  execFileSync('mcs', [`-out:${program}`, path.join(__dirname, 'tls.cs')])
  // The store of trusted certificates of a user without others.
  const [home, trust] = ['home', 'home/.mono/new-certs/Trust'].map(name => path.join(folder, name))
  fs.mkdirSync(trust, { recursive: true })
  const hash = execFileSync('openssl', ['x509', '-noout', '-hash', '-in', path.join(folder, 'cert.pem')]).toString().trim()
  const run = async () => {
    const text = 'from .NET 中😀'
    const fields = { source: 'demo', room_id: 'net', data: text, sign: md5('demo' + 'net' + text + KEY) }
    const post = JSON.stringify({ event: 'postMsg', data: 'y'.repeat(50000), room_ids: 'net' })
    const child = spawn('mono', [program, `localhost:${port}`, login('net'), new URLSearchParams(fields).toString(), post],
      { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, HOME: home, XDG_CONFIG_HOME: home } })
    const said = ['', '']
    child.stdout.on('data', part => { said[0] += part })
    child.stderr.on('data', part => { said[1] += part })
    const code = await new Promise(resolve => child.on('close', resolve))
    return { code, lines: said[0].trim().split('\n'), errors: said[1] }
  }
  const refused = await run()
  assert.notEqual(refused.code, 0)
  assert.match(refused.errors, /CERTIFICATE_VERIFY_FAILED/)
  fs.copyFileSync(path.join(folder, 'cert.pem'), path.join(trust, `${hash}.0`))
  const { code, lines, errors } = await run()
  assert.equal(code, 0, errors)
  assert.equal(JSON.parse(lines[1]).code, 1)
  assert.equal(JSON.parse(lines[2]).data, 'from .NET 中😀')
  assert.deepEqual([lines[0], JSON.parse(lines[3]).data.length, lines[4]], ['open', 50000, 'NormalClosure'])
})

test('an https agent continues its session', async () => {
  const agent = new https.Agent({ ca, keepAlive: false, maxCachedSessions: 10 })
  const reused = []
  for (let n = 0; n < 3; n++) {
    reused.push(await new Promise((resolve, reject) => {
      const request = https.get({ host: 'localhost', port, path: '/healthz', agent }, answer => {
        const was = request.socket.isSessionReused()
        answer.resume().on('end', () => resolve(was))
      }).on('error', reject)
    }))
  }
  assert.deepEqual(reused.slice(1), [true, true])
})
