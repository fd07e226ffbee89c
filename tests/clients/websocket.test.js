'use strict'
const assert = require('node:assert/strict')
const { test, before, after } = require('node:test')
const WebSocket = require('ws')
const { start, login } = require('./relay')

let relay
before(async () => { relay = await start() })
after(() => relay.stop())

/** A client whose messages can be waited for. */
function connect(query, { protocols = [], ...options } = {}) {
  const ws = new WebSocket(`ws://127.0.0.1:${relay.port}/ws?${query}`, protocols, options)
  const came = []
  const waiting = []
  ws.on('message', (data, binary) => {
    const message = binary ? data : data.toString()
    waiting.length ? waiting.shift()(message) : came.push(message)
  })
  ws.next = () => came.length ? Promise.resolve(came.shift()) : new Promise(resolve => waiting.push(resolve))
  return new Promise((resolve, reject) => ws.on('open', () => resolve(ws)).on('error', reject))
}

test('a notification arrives', async () => {
  const ws = await connect(login('room'))
  await relay.notify('room', 'héllo 𝄞')
  const { id, ...message } = JSON.parse(await ws.next())
  assert.deepEqual(message, { event: 'newMsg', source: 'demo', data: 'héllo 𝄞', room_id: 'room' })
  assert.ok(id)
  ws.close()
})

test('postMsg reaches the others and is acknowledged', async () => {
  const [one, other] = await Promise.all([connect(login('chat')), connect(login('chat'))])
  one.send(JSON.stringify({ event: 'postMsg', data: { a: [1, null] }, room_ids: 'chat', ack: 1 }))
  const message = JSON.parse(await other.next())
  assert.deepEqual(message.data, { a: [1, null] })
  const own = [JSON.parse(await one.next()), JSON.parse(await one.next())]
  assert.deepEqual(own[0], message)
  assert.deepEqual(own[1], { event: 'ack', ack: 1, code: 1, msg: '', data: { id: message.id } })
  one.close()
  other.close()
})

test('with format=text frames are the data, text and binary', async () => {
  const [one, other] = await Promise.all([connect(login('t', { format: 'text' })), connect(login('t', { format: 'text' }))])
  one.send('plain')
  assert.equal(await other.next(), 'plain')
  one.send(Buffer.from([0, 255, 1]))
  assert.deepEqual(await other.next(), Buffer.from([0, 255, 1]))
  one.close()
  other.close()
})

test('compression is offered and declined', async () => {
  const ws = await connect(login('z'), { perMessageDeflate: true })
  assert.equal(ws.extensions, '')
  const long = 'x'.repeat(100000)
  await relay.notify('z', long)
  assert.equal(JSON.parse(await ws.next()).data, long)
  ws.close()
})

test('the first subprotocol that is offered is chosen', async () => {
  const ws = await connect(login('room'), { protocols: ['v2.chat', 'chat'] })
  assert.equal(ws.protocol, 'v2.chat')
  ws.close()
})

test('who is refused learns why', async () => {
  const ws = new WebSocket(`ws://127.0.0.1:${relay.port}/ws?${login('room', { sign: 'x' })}`)
  const answer = await new Promise(resolve => ws.on('unexpected-response', (_, answer) => resolve(answer)))
  const body = await new Promise(resolve => answer.on('data', resolve))
  assert.equal(answer.statusCode, 401)
  const { explanation, ...rest } = JSON.parse(body)
  const reason = 'sign must have 32 hexadecimal digits with md5'
  assert.deepEqual(rest, { code: 0, msg: 'sign verify failed!', data: '', reason })
  assert.equal(explanation.hashed, 'demoroom<sign_key>')
  ws.on('error', () => {}).terminate()
})

test('a closing handshake has its code', async () => {
  const ws = await connect(login('room'))
  ws.close(1000, 'bye')
  const code = await new Promise(resolve => ws.on('close', resolve))
  assert.equal(code, 1000)
})
