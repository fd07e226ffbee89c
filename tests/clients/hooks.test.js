'use strict'
// The business backend is asked: the backends of `examples/` with real clients, and the Socket.IO protocol's own cases with
// a backend in the place of rules.
const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const { createHmac } = require('node:crypto')
const { once } = require('node:events')
const fs = require('node:fs')
const http = require('node:http')
const net = require('node:net')
const os = require('node:os')
const path = require('node:path')
const { describe, test, before, after, afterEach } = require('node:test')
const WebSocket = require('ws')
const { start, configuration, until } = require('./relay')
const { example, open: openSocket, connect: connectSocket, FOLDER } = require('./examples')

const sockets = []
afterEach(() => sockets.splice(0).forEach(socket => socket.close()))
const keep = socket => { sockets.push(socket); return socket }
const open = (...args) => keep(openSocket(...args))
const connect = async (...args) => keep(await connectSocket(...args))

/** A port that is free now. */
async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  return port
}

const BACKENDS = {
  'backend.js': () => ['node', 'backend.js'],
  'backend.php': port => ['php', '-S', `127.0.0.1:${port}`, 'backend.php'],
  'backend.py': () => ['python3', 'backend.py'],
}

/** An example's backend, once it takes connections. */
async function startBackend(name, secret = 'change me', port = 0) {
  port ||= await freePort()
  const [program, ...args] = BACKENDS[name](port)
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'relay-test-'))
  const env = { ...process.env, PORT: String(port), HOOK_SECRET: secret, HOOK_STATE: path.join(folder, 'state.json') }
  const child = spawn(program, args, { cwd: FOLDER, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const backend = { port, url: `http://127.0.0.1:${port}/`, output: '' }
  for (const stream of [child.stdout, child.stderr]) stream.on('data', text => { backend.output += text })
  const ended = once(child, 'exit')
  await until(`${name} to listen`, () => {
    if (child.exitCode !== null) throw new Error(`${name} has ended:\n${backend.output}`)
    const probe = net.connect(port, '127.0.0.1')
    return new Promise(resolve => probe.on('connect', () => resolve(true)).on('error', () => resolve(false)))
      .finally(() => probe.destroy())
  })
  backend.stop = async () => {
    child.kill('SIGKILL')
    await ended
    fs.rmSync(folder, { recursive: true })
  }
  return backend
}

const hooks = (backend, more = '') => example('hooks.toml', more, { 'http://127.0.0.1:8080/': backend.url })

for (const name of Object.keys(BACKENDS)) describe(`examples/${name}`, () => {
  let backend, relay
  before(async () => {
    backend = await startBackend(name)
    relay = await start(0, hooks(backend))
  })
  after(async () => {
    assert.equal(await relay.stop(), 0)
    await backend.stop()
  })

  for (const version of ['2.5', '4.8']) {
    /** Newer clients send the token in `auth`, older ones in the query. */
    const shop = token => version === '2.5'
      ? [version, `${relay.url}/shop?token=${token}`] : [version, `${relay.url}/shop`, { auth: { token } }]

    test(`${version}: allowed and refused`, async () => {
      const li = await connect(...shop('token-of-li'))
      assert.deepEqual(await li.came('came'), [['Li']])
      const wrong = open(...shop('no such token'))
      const why = await new Promise(resolve => wrong.once(version === '2.5' ? 'error' : 'connect_error', resolve))
      assert.equal(why.message ?? why, 'wrong token')
      const without = open(version, `${relay.url}/shop`)
      const again = await new Promise(resolve => without.once(version === '2.5' ? 'error' : 'connect_error', resolve))
      assert.equal(again.message ?? again, 'wrong token')
      assert.deepEqual([wrong.connected, without.connected], [false, false])
      const wang = await connect(...shop('token-of-wang'))
      assert.deepEqual(await li.came('came', 2), [['Li'], ['Wang']])
      assert.deepEqual(await wang.came('came'), [['Wang']])
      assert.deepEqual(wrong.events, [])
    })

    test(`${version}: questions, rooms, events for others`, async () => {
      const [li, wang] = await Promise.all(['token-of-li', 'token-of-wang'].map(token => connect(...shop(token))))
      assert.deepEqual(await li.ask('ask', 'tea'), [{ of: 'tea', price: 3 }])
      assert.deepEqual(await wang.ask('ask', 'milk'), [{ of: 'milk', price: null }])
      assert.deepEqual(await li.ask('ask'), [{ of: null, price: null }].map(answer => name === 'backend.js' ? { price: null } : answer))
      li.emit('say', { text: 'hello ü' })
      assert.deepEqual(await wang.came('said'), [['Li', { text: 'hello ü' }]])
      assert.deepEqual(await li.came('said'), [['Li', { text: 'hello ü' }]])
      assert.deepEqual(await wang.ask('room', 'back,room'), ['ok'])
      assert.deepEqual(await li.ask('room', 'backroom'), ['ok'])
      const other = await connect(...shop('token-of-li'))
      other.emit('say', 'in the lobby')
      assert.deepEqual(await other.came('said'), [['Li', 'in the lobby']])
      wang.emit('say', 'in the back')
      assert.deepEqual((await li.came('said', 2))[1], ['Wang', 'in the back'])
      assert.deepEqual((await wang.came('said', 2))[1], ['Wang', 'in the back'])
      await other.ask('ask', 'tea')
      assert.equal(other.named('said').length, 1)
    })

    test(`${version}: 200 questions of one client keep their order`, async () => {
      const li = await connect(...shop('token-of-li'))
      const answers = []
      for (let n = 0; n < 200; n++) {
        // So many may wait for the backend at a time.
        await until('the backend', () => n - answers.length < 50)
        li.emit('order', n, answer => answers.push(answer))
      }
      await until('all answers', () => answers.length === 200)
      assert.deepEqual(answers.map(answer => answer.of), Array.from({ length: 200 }, (_, n) => n))
      const { number } = answers[0]
      assert.deepEqual(answers.map(answer => answer.number - number), Array.from({ length: 200 }, (_, n) => n), 'booked once, in order')
    })

    test(`${version}: the backend hears who has left`, async () => {
      const told = () => backend.output.split('disconnect 2 Wang').length - 1
      const socket = await connect(...shop('token-of-wang'))
      await socket.ask('ask', 'tea')
      const others = told()
      socket.close()
      await until('the news', () => told() > others)
    })
  }

  test('plain WebSockets are asked about before the upgrade', async () => {
    const url = `${relay.url.replace('http', 'ws')}/ws?nsp=/shop`
    const refused = new WebSocket(`${url}&token=x`)
    refused.on('error', () => {})
    const answer = await new Promise(resolve => refused.on('unexpected-response', (_, answer) => resolve(answer)))
    const body = JSON.parse(await new Promise(resolve => answer.on('data', resolve)))
    assert.deepEqual([answer.statusCode, body], [401, { code: 0, msg: 'wrong token', data: '' }])
    refused.terminate()
    const ws = keep(new WebSocket(`${url}&token=token-of-li`))
    const came = []
    ws.on('message', data => came.push(JSON.parse(data)))
    await once(ws, 'open')
    ws.send(JSON.stringify({ event: 'ask', data: 'coffee', ack: 1 }))
    await until('both', () => came.length === 2)
    assert.deepEqual(came, [
      { event: 'came', data: 'Li' }, { event: 'ack', ack: 1, code: 1, msg: '', data: { of: 'coffee', price: 4 } }])
  })

  test('a call that comes again is not counted again; a forged, old or unsigned one is refused', async () => {
    const post = async (body, { secret = 'change me', ts = Math.floor(Date.now() / 1000), sign = true } = {}) => {
      const signature = 'sha256=' + createHmac('sha256', secret).update(body).digest('hex')
      const headers = { 'Content-Type': 'application/json', 'X-Relay-Timestamp': String(ts) }
      if (sign) headers['X-Relay-Signature'] = signature
      const answer = await fetch(backend.url, { method: 'POST', body, headers })
      return answer.status === 200 ? answer.json() : (await answer.text(), answer.status)
    }
    const order = (id, ts = Math.floor(Date.now() / 1000)) => JSON.stringify({
      event: 'message', nsp: '/shop', userid: '1', username: 'Li', rooms: ['lobby'], name: 'order', args: ['tea'], ts, id })
    const first = await post(order('a'))
    assert.deepEqual(await post(order('a')), first)
    const next = await post(order('b'))
    assert.equal(next.ack[0].number, first.ack[0].number + 1)
    assert.equal(await post(order('c'), { secret: 'another' }), 401)
    assert.equal(await post(order('c'), { sign: false }), 401)
    assert.equal(await post(order('c'), { ts: 1000 }), 401)
    assert.equal(await post(order('c', 1000)), 401, 'the time that is signed counts')
    assert.equal((await post(order('c'))).ack[0].number, first.ack[0].number + 2)
  })
})

for (const name of Object.keys(BACKENDS)) test(`examples/${name} with another secret lets nobody in`, async () => {
  const backend = await startBackend(name, 'not what relay has')
  const relay = await start(0, hooks(backend))
  for (const [version, event] of [['2.5', 'error'], ['4.8', 'connect_error']]) {
    const socket = open(version, `${relay.url}/shop?token=token-of-li`)
    const why = await new Promise(resolve => socket.once(event, resolve))
    assert.equal(why.message ?? why, 'the backend does not answer!')
    assert.equal(socket.connected, false)
    socket.close()
  }
  const health = await (await fetch(`${relay.url}/healthz`)).text()
  assert.ok(!/token-of-li/.test(relay.log.join('\n') + health), 'tokens are not logged')
  assert.equal(await relay.stop(), 0)
  await backend.stop()
})

test('who is refused in / learns why, with old clients as sys_error', async () => {
  const backend = await startBackend('backend.js')
  const relay = await start(0, example('hooks.toml', '', { 'http://127.0.0.1:8080/': backend.url, '"/shop"': '"/"' }))
  const old = open('2.5', `${relay.url}/?token=x`)
  const left = new Promise(resolve => old.once('disconnect', resolve))
  assert.deepEqual(await old.came('sys_error'), [['wrong token']])
  assert.equal(await left, 'io server disconnect')
  const young = open('4.8', relay.url, { auth: { token: 'x' } })
  assert.equal((await new Promise(resolve => young.once('connect_error', resolve))).message, 'wrong token')
  const li = await connect('2.5', `${relay.url}/?token=token-of-li`)
  assert.deepEqual(await li.ask('ask', 'tea'), [{ of: 'tea', price: 3 }])
  assert.equal(await relay.stop(), 0)
  await backend.stop()
})

test('the backend goes away and comes back: clients stay, are told, and nobody else notices', async () => {
  let backend = await startBackend('backend.py')
  const more = '[namespaces."/chat"]\nauth = "open"\njoin = true\n[[namespaces."/chat".rules]]\nevent = "say"\nsend = "rooms"\n'
  const relay = await start(0, hooks(backend, more))
  const shop = `${relay.url}/shop?token=token-of-li`
  const [li, one, two] = await Promise.all(
    [shop, `${relay.url}/chat?room_ids=a`, `${relay.url}/chat?room_ids=a`].map(url => connect('4.8', url)))
  await backend.stop()
  const refused = { code: 0, msg: 'the backend does not answer!', data: '' }
  const asked = Array.from({ length: 10 }, () => li.ask('ask', 'tea'))
  const newcomer = open('4.8', shop, { reconnection: false })
  const why = new Promise(resolve => newcomer.once('connect_error', resolve))
  one.emit('say', 'meanwhile')
  assert.deepEqual(await two.came('say'), [['meanwhile']])
  for (const answer of await Promise.all(asked)) assert.deepEqual(answer, [refused])
  li.emit('say', 'to nobody')
  assert.deepEqual(await li.came('sys_error'), [[refused.msg]])
  assert.equal((await why).message, refused.msg)
  backend = await startBackend('backend.py', 'change me', backend.port)
  const right = answer => answer.price === 3 || assert.deepEqual(answer, refused)
  await until('an answer', async () => right((await li.ask('ask', 'tea'))[0]))
  newcomer.connect()
  await until('the newcomer', () => newcomer.connected)
  assert.ok(li.connected)
  assert.equal(await relay.stop(), 0)
  await backend.stop()
})

describe('a backend in the place of the rules of etc/conformance.toml', () => {
  let backend, relay, ports
  const calls = []
  before(async () => {
    const answers = {
      connect: ({ auth }) => ({ emit: [{ event: 'auth', args: [auth ?? {}] }] }),
      message: ({ name, args }) => name === 'message' ? { emit: { event: 'message-back', args, to: 'self' } }
        : name === 'message-with-ack' ? { ack: args } : {},
      disconnect: () => undefined,
    }
    ports = new Set()
    backend = http.createServer(async (request, response) => {
      ports.add(request.socket.remotePort)
      let body = ''
      for await (const part of request.setEncoding('utf8')) body += part
      const call = JSON.parse(body)
      assert.equal(request.headers['idempotency-key'], call.id)
      calls.push(call)
      const answer = answers[call.event](call)
      response.end(answer && JSON.stringify(answer))
    })
    backend.keepAliveTimeout = 75000
    await new Promise(resolve => backend.listen(0, '127.0.0.1', resolve))
    const namespace = name => `[namespaces."${name}"]\nauth = "hook"\nsource = "echo"\n` +
      `[[namespaces."${name}".rules]]\nevent = "*"\nsend = "hook"\n`
    relay = await start(0, configuration(`
[socketio]
ping_interval = 0.3
ping_timeout = 5
connect_timeout = 1
[hooks]
url = "http://127.0.0.1:${backend.address().port}/"
secret = "x"
${namespace('/')}${namespace('/custom')}`))
  })
  after(async () => {
    assert.equal(await relay.stop(), 0)
    backend.closeAllConnections()
    backend.close()
  })

  for (const version of ['2.0', '2.5', '3.1', '4.8']) for (const transport of ['polling', 'websocket']) for (const nsp of ['/', '/custom']) {
    const old = version.startsWith('2')
    test(`socket.io-client ${version} over ${transport} in ${nsp}`, async () => {
      const auth = old ? {} : { token: '123', deep: [1, null, 'ü'] }
      const socket = await connect(version, relay.url + nsp, { auth, transports: [transport] })
      assert.deepEqual(await socket.came('auth'), [[auth]])
      const args = [1, '2', { 3: [true, null, 1.5] }, Buffer.from([4, 5, 6]), { deep: [Buffer.from([255]), 'ü𝄞'] }]
      socket.emit('message', ...args)
      socket.emit('message', 'text only')
      socket.emit('message')
      await socket.came('message-back', 3)
      assert.deepEqual(socket.named('message-back'), [args, ['text only'], []])
      assert.deepEqual(await socket.ask('message-with-ack', 1, '2', { 3: [false] }), [1, '2', { 3: [false] }])
      assert.deepEqual(await socket.ask('message-with-ack', ...args), args)
      assert.deepEqual(await socket.ask('message-with-ack'), [])
      const told = calls.filter(call => call.event === 'disconnect').length
      const { socket_id } = calls.findLast(call => call.event === 'message')
      socket.close()
      await until('the end', () => calls.filter(call => call.event === 'disconnect').length > told)
      await until('its end', () => calls.some(call => call.event === 'disconnect' && call.socket_id === socket_id && call.nsp === nsp))
    })
  }

  /** Raw packets, as the suite of revision 5 has them. */
  async function raw(bytes) {
    const ws = keep(new WebSocket(`${relay.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`))
    const came = []
    const waiting = []
    ws.on('message', (data, binary) => {
      const packet = binary ? data : data.toString()
      if (packet === '2') return ws.send('3')
      waiting.length ? waiting.shift()(packet) : came.push(packet)
    })
    ws.next = () => new Promise((resolve, reject) => {
      if (came.length) return resolve(came.shift())
      waiting.push(resolve)
      const end = () => reject(new Error('the WebSocket was closed'))
      ws.gone ? end() : ws.once('close', end)
    })
    ws.on('close', () => { ws.gone = true })
    await once(ws, 'open')
    assert.match(await ws.next(), /^0\{/)
    return ws
  }

  test('the packets of the Socket.IO document, revision 5', async () => {
    let ws = await raw()
    ws.send('40')
    assert.match(await ws.next(), /^40\{"sid":"[^"]+"\}$/)
    assert.equal(await ws.next(), '42["auth",{}]')
    ws.send('40/custom,{"token":"123"}')
    assert.match(await ws.next(), /^40\/custom,\{"sid":"[^"]+"\}$/)
    assert.equal(await ws.next(), '42/custom,["auth",{"token":"123"}]')
    ws.send('42["message",1,"2",{"3":[true]}]')
    assert.equal(await ws.next(), '42["message-back",1,"2",{"3":[true]}]')
    ws.send('42456["message-with-ack",1,"2",{"3":[false]}]')
    assert.equal(await ws.next(), '43456[1,"2",{"3":[false]}]')
    ws.send('452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
    ws.send(Buffer.from([1, 2, 3]))
    ws.send(Buffer.from([4, 5, 6]))
    assert.deepEqual(JSON.parse((await ws.next()).replace(/^452-/, '')),
      ['message-back', { _placeholder: true, num: 0 }, { _placeholder: true, num: 1 }])
    assert.deepEqual([await ws.next(), await ws.next()], [Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6])])
    ws.send('452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
    ws.send(Buffer.from([1, 2, 3]))
    ws.send(Buffer.from([4, 5, 6]))
    assert.deepEqual(JSON.parse((await ws.next()).replace(/^462-789/, '')),
      [{ _placeholder: true, num: 0 }, { _placeholder: true, num: 1 }])
    assert.deepEqual([await ws.next(), await ws.next()], [Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6])])
    ws.send('41')
    ws.send('42["message","not heard"]')
    ws.send('42/custom,["message","message to /custom"]')
    assert.equal(await ws.next(), '42/custom,["message-back","message to /custom"]')
    ws.send('40/random')
    assert.equal(await ws.next(), '44/random,{"message":"Invalid namespace"}')
    ws = await raw()
    ws.send('40')
    await ws.next()
    await ws.next()
    ws.send('4abc')
    await until('the end of who sends nonsense', () => ws.gone)
    ws = await raw()
    await until('the end of who joins nothing', () => ws.gone)
  })

  test('connections to the backend are used again', () => {
    assert.ok(calls.length > 100 && ports.size <= calls.length / 4, `${ports.size} connections for ${calls.length} calls`)
  })
})
