'use strict'
// socket.io-client of four generations, over polling, over a WebSocket, and from the one to the other.
const assert = require('node:assert/strict')
const { describe, test, before, after, afterEach } = require('node:test')
const fs = require('node:fs')
const { start, configuration, login, steadyTest, until, KEY } = require('./relay')

const VERSIONS = ['2.0', '2.5', '3.1', '4.8']
const TRANSPORTS = [['polling'], ['websocket'], ['polling', 'websocket']]
const CONFIGURATION = `
[socketio]
ping_interval = 0.3
ping_timeout = 1.5
[limits]
message_rate = 0
[namespaces."/custom"]
auth = "open"
source = "demo"
welcome = { event = "auth", data = "$auth" }
[[namespaces."/custom".rules]]
event = "message"
send = "self"
as = "message-back"
[[namespaces."/custom".rules]]
event = "message-with-ack"
send = "drop"
ack = "echo"
`

for (const version of VERSIONS) for (const transports of TRANSPORTS) describe(`${version} ${transports.join(' then ')}`, () => {
  const io = require(`socket.io-client-${version}`)
  const old = version.startsWith('2')
  const args = configuration(CONFIGURATION)
  let relay
  const sockets = []

  before(async () => { relay = await start(0, args) })
  afterEach(() => sockets.splice(0).forEach(socket => socket.close()))
  after(async () => assert.equal(await relay.stop(), 0))

  /** A socket that keeps what came, by event. */
  function open(room_ids, more = {}, { namespace = '/', ...options } = {}) {
    const socket = io(`${relay.url}${namespace}?${login(room_ids, more)}`, {
      transports, forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 100, timeout: 20000, ...options
    })
    sockets.push(socket)
    socket.came = {}
    for (const event of ['newMsg', 'sys_error', 'connect', 'connect_error', 'error', 'disconnect', 'auth', 'message-back']) {
      socket.came[event] = []
      socket.on(event, (...args) => socket.came[event].push(args.length > 1 ? args : args[0]))
    }
    return socket
  }
  const came = (socket, event, count = 1) =>
    until(`${count} ${event}`, () => socket.came[event].length >= count && socket.came[event])
  async function connected(...args) {
    const socket = open(...args)
    await came(socket, 'connect')
    if (transports.length === 2) await until('the upgrade', () => socket.io.engine.transport.name === 'websocket')
    return socket
  }

  steadyTest('connects, and a notification arrives once', async () => {
    const socket = await connected('room')
    await relay.notify('room', 'héllo 𝄞 😀')
    const [{ id, ...message }] = await came(socket, 'newMsg')
    assert.deepEqual(message, { source: 'demo', data: 'héllo 𝄞 😀', room_id: 'room', from_sys: true })
    assert.ok(id)
    await relay.notify('room', 'second')
    assert.equal((await came(socket, 'newMsg', 2)).length, 2)
  })

  steadyTest('a notification is not lost while the transport changes', async () => {
    const socket = open('early')
    await came(socket, 'connect')
    for (let i = 0; i < 50; i++) await relay.notify('early', String(i))
    const messages = await came(socket, 'newMsg', 50)
    assert.deepEqual(messages.map(message => message.data), Array.from({ length: 50 }, (_, i) => String(i)))
  })

  steadyTest('who is refused learns why', async () => {
    const socket = open('room', { sign: 'x' })
    if (old) {
      assert.deepEqual(await came(socket, 'sys_error'), ['sign verify failed!'])
      assert.deepEqual(await came(socket, 'disconnect'), ['io server disconnect'])
    } else {
      const [error] = await came(socket, 'connect_error')
      assert.equal(error.message, 'sign verify failed!')
    }
  })

  steadyTest('postMsg, with and without an acknowledgement', async () => {
    const [one, other] = await Promise.all([connected('a'), connected('b')])
    one.emit('postMsg', { text: 'ü', list: [1, null, { deep: true }] }, 'a,b')
    assert.deepEqual((await came(other, 'newMsg'))[0].data, { text: 'ü', list: [1, null, { deep: true }] })
    assert.equal((await came(one, 'newMsg'))[0].room_id, 'a')
    const ack = await new Promise(resolve => one.emit('postMsg', 'again', ['b'], resolve))
    assert.equal(ack.code, 1)
    assert.equal((await came(other, 'newMsg', 2))[1].id, ack.data.id)
    const refused = await new Promise(resolve => one.emit('postMsg', '', 'b', resolve))
    assert.deepEqual(refused, { code: 0, msg: 'data can not be null!', data: '' })
    one.emit('postMsg', 'x')
    assert.deepEqual(await came(one, 'sys_error'), ['room_id can not be null!'])
  })

  steadyTest('bytes both ways: bare, nested, empty, large', async () => {
    const [one, other] = await Promise.all([connected('bin'), connected('bin')])
    const large = Buffer.alloc(70000, 7)
    for (const data of [Buffer.from([0, 1, 255]), { a: [Buffer.from('x'), { b: Buffer.from('y') }], c: 1 }, Buffer.alloc(0), large]) {
      one.emit('postMsg', data, 'bin')
    }
    const messages = (await came(other, 'newMsg', 4)).map(message => message.data)
    assert.deepEqual(messages[0], Buffer.from([0, 1, 255]))
    assert.deepEqual(messages[1], { a: [Buffer.from('x'), { b: Buffer.from('y') }], c: 1 })
    assert.equal(messages[2].length, 0)
    assert.ok(large.equals(messages[3]))
    assert.equal((await came(one, 'newMsg', 4)).length, 4)
  })

  steadyTest('a message of 500 kB both ways', async () => {
    const socket = await connected('large')
    const data = 'x'.repeat(499000) + '€𝄞'.repeat(100)
    socket.emit('postMsg', data, 'large')
    assert.equal((await came(socket, 'newMsg'))[0].data, data)
    await relay.notify('large', data)
    assert.equal((await came(socket, 'newMsg', 2))[1].data, data)
  })

  steadyTest('a hundred rapid messages in order', async () => {
    const [one, other] = await Promise.all([connected('fast'), connected('fast')])
    for (let i = 0; i < 100; i++) one.emit('postMsg', i + 1, 'fast')
    const expected = Array.from({ length: 100 }, (_, i) => i + 1)
    for (const socket of [one, other]) {
      assert.deepEqual((await came(socket, 'newMsg', 100)).map(message => message.data), expected)
    }
  })

  steadyTest('two namespaces over one connection', async () => {
    const main = await connected('room')
    const custom = open('room', {}, { namespace: '/custom', forceNew: false })
    await came(custom, 'connect')
    assert.deepEqual(await came(custom, 'auth'), [{}])
    custom.emit('message', 1, '2', { 3: [true, Buffer.from('b')] })
    assert.deepEqual(await came(custom, 'message-back'), [[1, '2', { 3: [true, Buffer.from('b')] }]])
    const ack = await new Promise(resolve => custom.emit('message-with-ack', 'x', Buffer.from('y'), (...args) => resolve(args)))
    assert.deepEqual(ack, ['x', Buffer.from('y')])
    custom.close()
    main.emit('postMsg', 'still here', 'room')
    assert.equal((await came(main, 'newMsg'))[0].data, 'still here')
  })

  steadyTest('an unknown namespace is refused', async () => {
    const socket = open('room', {}, { namespace: '/nowhere' })
    const [error] = await came(socket, old ? 'error' : 'connect_error')
    assert.equal(old ? error : error.message, 'Invalid namespace')
  })

  if (!old) steadyTest('credentials in auth win over the query', async () => {
    const auth = Object.fromEntries(new URLSearchParams(login('secret')))
    const socket = open('room', { sign: 'x' }, { auth })
    await came(socket, 'connect')
    await relay.notify('secret', 'psst')
    assert.equal((await came(socket, 'newMsg'))[0].data, 'psst')
  })

  steadyTest('silence longer than interval and timeout ends nothing', async () => {
    const socket = await connected('quiet')
    await new Promise(resolve => setTimeout(resolve, 2200))
    await relay.notify('quiet', 'good morning')
    await came(socket, 'newMsg')
    assert.deepEqual(socket.came.disconnect, [])
  })

  steadyTest('a client that leaves is gone, and its rooms hear of it', async () => {
    const [one, other] = await Promise.all([connected('door', { watch_quit: 1 }), connected('door')])
    one.close()
    assert.deepEqual((await came(other, 'newMsg'))[0].data, { username: 'spring', key: 'user_quit', msg: 'spring退出群聊' })
  })

  steadyTest('a server that ends a session is obeyed', async () => {
    const socket = await connected('room')
    const text = fs.readFileSync(args[1], 'utf8')
    fs.writeFileSync(args[1], text.replace('[sources.demo]', '[sources.other]'))
    relay.child.kill('SIGHUP')
    await came(socket, 'disconnect')
    fs.writeFileSync(args[1], text)
    relay.child.kill('SIGHUP')
    await until('the source to be back', async () => (await relay.notify('room', 'x').then(() => true, () => false)))
  })

  steadyTest('after a restart everybody comes back to their rooms', async () => {
    const socket = await connected('home')
    assert.equal(await relay.stop(), 0)
    const reason = (await came(socket, 'disconnect')).flat()[0]
    assert.match(reason, /^transport (close|error)$/)
    relay = await start(relay.port, args)
    await came(socket, 'connect', 2)
    await relay.notify('home', 'welcome back')
    assert.equal((await came(socket, 'newMsg'))[0].data, 'welcome back')
  })
})

describe('what docs/clients.md shows', () => {
  for (const version of ['2.5', '4.8']) test(`to a page with ${version}`, async () => {
    const text = fs.readFileSync(require('node:path').join(__dirname, '../../docs/clients.md'), 'utf8')
    const shown = text.split('```js\n').map(block => block.split('```')[0]).filter(block => block.includes("'newMsg'") && !block.includes("'renew'"))
    assert.equal(shown.length, 1)
    const relay = await start()
    const [messages, answers] = [[], []]
    const io = require(`socket.io-client-${version}`)
    let socket
    const listen = (...args) => { socket = io(...args); return socket }
    const console = { log: (...args) => (args.length === 3 ? messages : answers).push(args), error: assert.fail }
    new Function('io', 'console', shown[0].replaceAll('http://127.0.0.1:4000', relay.url))(listen, console)
    await until('an answer', () => answers.length)
    await relay.notify('chat_room', 'from a backend')
    await until('the messages', () => messages.length === 2)
    assert.deepEqual(messages.map(([room, data]) => [room, data]), [['chat_room', { text: 'hello from Socket.IO' }], ['chat_room', 'from a backend']])
    assert.deepEqual(answers, [[{ code: 1, msg: '', data: { id: messages[0][2] } }]])
    socket.close()
    await relay.stop()
  })
})
