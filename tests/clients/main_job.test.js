'use strict'
// What relay is for, on the processor of RELAY_BIN: tests/arm runs this with emulated ones, and beyond 2038.
const assert = require('node:assert/strict')
const { execFile } = require('node:child_process')
const { after, before, test } = require('node:test')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { promisify } = require('node:util')
const WebSocket = require('ws')
const io = require('socket.io-client-4.8')
const { start, configuration, login, until, md5, KEY } = require('./relay')

const TOKEN = 'a-token-of-the-test'
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'relay-job-'))
const args = configuration(`[admin]\ntoken = "${TOKEN}"\n[message_log]\ndir = "${folder}"\n`)
/** RELAY_YEAR says which year relay sees, if it is not this one. */
const YEAR = process.env.RELAY_YEAR || String(new Date().getFullYear())

let relay
before(async () => { relay = await start(0, args) })
after(() => fs.rmSync(folder, { recursive: true }))

/** Posts with curl; the answer's body. */
async function curl(...options) {
  const { stdout } = await promisify(execFile)('curl', ['--silent', '--show-error', '--fail', ...options])
  return stdout
}

/** Posts a signed notification; with a time, if there is one. */
async function notify(data) {
  const fields = { source: 'demo', room_id: 'job', data, sign: md5(`demojob${data}${KEY}`) }
  const form = Object.entries(fields).flatMap(([name, value]) => ['--data-urlencode', `${name}=${value}`])
  const answer = JSON.parse(await curl(...form, `${relay.url}/api/notify`))
  assert.equal(answer.code, 1)
}

const metrics = () => curl('--header', `Authorization: Bearer ${TOKEN}`, `${relay.url}/metrics`)

test('a WebSocket and a Socket.IO client that began with polling get what curl posts', async () => {
  const ws = new WebSocket(`ws://127.0.0.1:${relay.port}/ws?${login('job')}`)
  const plain = []
  ws.on('message', text => plain.push(JSON.parse(text).data))
  await new Promise((resolve, reject) => ws.on('open', resolve).on('error', reject))
  const socket = io(`${relay.url}/?${login('job')}`, { transports: ['polling', 'websocket'], forceNew: true, timeout: 30000 })
  const messages = []
  socket.on('newMsg', message => messages.push(message.data))
  await until('the login', () => socket.connected)
  await notify('first')
  await until('the upgrade', () => socket.io.engine.transport.name === 'websocket')
  await notify('sécond 𝄞')
  await until('both messages', () => plain.length === 2 && messages.length === 2)
  assert.deepEqual([plain, messages], [['first', 'sécond 𝄞'], ['first', 'sécond 𝄞']])

  relay.child.kill('SIGHUP')
  await until('the configuration', () => relay.log.some(line => line.includes('configuration re-read')))
  await notify('third')
  await until('the third', () => plain.length === 3 && messages.length === 3)
  socket.close()
  ws.close()
})

test('the memory that relay counts is that of two clients', async () => {
  const bytes = Number(/^relay_memory_bytes (\d+)$/m.exec(await metrics())[1])
  assert.ok(bytes > 50e3 && bytes < 4e6, `${bytes} bytes`)
})

test('dates are of this year', async () => {
  const head = await curl('--head', `${relay.url}/`)
  assert.match(head, new RegExp(`^date: .* ${YEAR} `, 'im'))
  const days = () => fs.readdirSync(folder, { recursive: true }).map(String)
  await until('the message log', () => days().some(name => name.startsWith(YEAR)))
  const files = days().map(name => path.join(folder, name)).filter(name => fs.statSync(name).isFile())
  const lines = files.flatMap(file => fs.readFileSync(file, 'utf8').trim().split('\n'))
  assert.ok(lines.length >= 3, 'three messages')
  // The local time, with the offset of the time zone.
  const zone = process.env.TZ === 'TEST-5:30' ? '\\+05:30' : ''
  for (const line of lines) assert.match(line, new RegExp(`"${YEAR}-\\d\\d-\\d\\dT[\\d:]{8}${zone}`))
})

test('it ends cleanly', async () => {
  assert.equal(await relay.stop(), 0)
})
