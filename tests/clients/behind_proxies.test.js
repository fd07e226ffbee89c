'use strict'
// The proxy configurations of docs/operations.md, each in front of a relay of its own, with real clients of three
// generations: visitors keep their address, come back after a restart of relay, and survive 100 silent seconds. relay pings
// after 25 s and proxies cut silent connections after 60 s; both are the real ones, since a proxy may round, or have
// another timeout that scaled ones would not meet. All proxies are silent at the same time.
const assert = require('node:assert/strict')
const { describe, test } = require('node:test')
const fs = require('node:fs')
const os = require('node:os')
const https = require('node:https')
const path = require('node:path')
const WebSocket = require('ws')

const { start, configuration, login, until, md5, KEY } = require('./relay')
const { blocks, freePort, startProxy } = require('./proxy')

const TOKEN = 'a token of the operators'
const VERSIONS = ['2.5', '3.1', '4.8']
const TRANSPORTS = [['polling'], ['websocket'], ['polling', 'websocket']]
const FORM = { 'Content-Type': 'application/x-www-form-urlencoded' }
/** Milliseconds; SILENCE shortens it while you work on this file. */
const SILENCE = 1000 * (process.env.SILENCE || 100)
const ALL = blocks('docs/operations.md')

test('the page has a block for each proxy', () => {
  assert.deepEqual(ALL.map(({ kind }) => kind).sort(), ['apache', 'caddy', 'haproxy', 'nginx'])
})

describe('behind a proxy', { concurrency: true }, () => {
  for (const block of ALL) test(block.kind, () => behind(block))
})

async function behind(block) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'relay-proxy-'))
  const args = configuration(`[admin]\ntoken = "${TOKEN}"\n`)
  fs.writeFileSync(args[1], 'trusted_proxies = ["127.0.0.1"]\n' + fs.readFileSync(args[1], 'utf8'))
  let relay, proxy
  const clients = []
  try {
    const port = await freePort()
    relay = await start(port, args)
    // apache2 gives up root for this user, which must be able to enter.
    fs.chmodSync(directory, 0o755)
    proxy = await startProxy(block, port, directory)
    await visit(block, proxy, clients, { restart: async meanwhile => {
      assert.equal(await relay.stop(), 0)
      await meanwhile()
      relay = await start(port, args)
    } })
  } catch (error) {
    error.message += `\n${block.kind}: ${proxy ? proxy.said().slice(-4000) : ''}`
    throw error
  } finally {
    clients.forEach(client => client.close())
    if (proxy) await proxy.stop()
    if (relay) await relay.stop('SIGKILL')
    fs.rmSync(directory, { recursive: true, force: true })
    fs.rmSync(path.dirname(args[1]), { recursive: true, force: true })
  }
}

async function visit(block, proxy, clients, { restart }) {
  const notify = (data, room_id = 'room') => {
    const body = new URLSearchParams({ source: 'demo', room_id, data, sign: md5('demo' + room_id + data + KEY) })
    return proxy.request('POST', '/api/notify', body.toString(), FORM)
  }
  const accepted = async data => assert.equal((await notify(data)).text.slice(0, 10), '{"code":1,')
  for (const version of VERSIONS) for (const transports of TRANSPORTS) {
    clients.push(socketIo(proxy, version, transports))
  }
  clients.push(plain(proxy), lines(proxy, notify))
  const all = (what, test) => until(what, () => {
    const missing = clients.filter(client => !test(client))
    return missing.length === 0
  }).catch(error => {
    const missing = clients.filter(client => !test(client)).map(client => `${client.name} ${JSON.stringify(client.errors)}`)
    throw new Error(`${error.message}: ${missing.join(', ')}`)
  })
  await all('connections', client => client.connects === 1 && client.isReady())

  // Everybody gets a message that came through the proxy, and relay knows each visitor's own address.
  await accepted('one')
  await all('a message', client => client.messages.includes('one'))
  const online = JSON.parse((await proxy.request('GET', `/api/online?source=demo&token=${encodeURIComponent(TOKEN)}`)).text)
  assert.deepEqual(online.list.map(({ ip }) => ip), clients.map(() => '127.0.0.5'))
  for (const client of clients) client.send(`from ${client.name}`)
  await all('the messages of all', client => clients.every(({ name }) => client.messages.includes(`from ${name}`)))

  // The operators' pages need the token, and the proxy passes it on in the query and in the header.
  const status = async (target, headers) => (await proxy.request('GET', target, undefined, headers)).status
  assert.equal(await status('/online?source=demo'), 401)
  assert.equal(await status(`/online?source=demo&token=${encodeURIComponent(TOKEN)}`), 200)
  assert.equal(await status('/api/stats', { Authorization: 'Bearer ' + TOKEN }), 200)
  assert.equal(await status('/js/node_im.min.js'), 200)
  assert.equal(await status('/demo/chat.html'), 200)

  // A body of nearly limits.body arrives; a larger one is refused by relay or by the proxy.
  const large = 'x'.repeat(900_000)
  await accepted(large)
  await all('a large message', client => client.messages.includes(large))
  const huge = await notify('x'.repeat(3_000_000)).catch(error => ({ status: error.code }))
  assert.ok([413, 'EPIPE', 'ECONNRESET'].includes(huge.status), `${huge.status}`)
  await accepted('still there')

  // relay restarts: everybody comes back, and no error of the proxy stays.
  await restart(async () => {
    await all('the loss', client => client.losses > 0)
    const down = await proxy.request('GET', '/healthz')
    assert.ok(down.status >= 500, `${down.status}`)
  })
  // HAProxy needs a check that succeeds.
  await all('the return', client => client.connects > 1 && client.isReady())
  for (let count = 0; count < 20; count++) assert.equal(await status('/healthz'), 200)

  // 100 s without a word of anybody: nobody is cut.
  const before = clients.map(client => client.losses)
  await new Promise(resolve => setTimeout(resolve, SILENCE))
  assert.deepEqual(clients.map(client => client.losses), before, JSON.stringify(clients.map(({ name, errors }) => [name, errors])))
  await accepted('after the silence')
  await all('a message after the silence', client => client.messages.includes('after the silence'))
}

/** A client of Socket.IO through the proxy. */
function socketIo(proxy, version, transports) {
  const io = require(`socket.io-client-${version}`)
  const socket = io(`${proxy.url}?${login('room')}`, {
    transports, agent: proxy.agent, rejectUnauthorized: false, forceNew: true,
    reconnectionDelay: 100, reconnectionDelayMax: 500, timeout: 20000
  })
  const client = { name: `${version} ${transports.join('+')}`, connects: 0, losses: 0, messages: [], errors: [] }
  socket.on('connect', () => { client.connects++ })
  socket.on('disconnect', why => { client.losses++; client.errors.push(why) })
  for (const event of ['connect_error', 'sys_error', 'error']) {
    socket.on(event, error => client.errors.push(String(error && error.message || error)))
  }
  socket.on('newMsg', message => client.messages.push((typeof message === 'string' ? JSON.parse(message) : message).data))
  client.isReady = () => socket.connected && (transports.length === 1 || socket.io.engine.transport.name === 'websocket')
  client.send = data => socket.emit('postMsg', data, 'room')
  client.close = () => socket.close()
  return client
}

/** A plain WebSocket through the proxy, which reconnects. */
function plain(proxy) {
  const client = { name: 'plain', connects: 0, losses: 0, messages: [], errors: [] }
  let socket, closed, timer
  const open = () => {
    socket = new WebSocket(`${proxy.url.replace('http', 'ws')}/ws?${login('room')}`, { agent: proxy.agent })
    let opened = false
    socket.on('open', () => { opened = true; client.connects++ })
    socket.on('message', text => {
      const frame = JSON.parse(text)
      if (frame.event === 'newMsg') client.messages.push(frame.data)
    })
    socket.on('error', error => client.errors.push(error.message))
    socket.on('close', code => {
      if (opened) { client.losses++; client.errors.push(code) }
      if (!closed) timer = setTimeout(open, 200)
    })
  }
  open()
  client.isReady = () => socket.readyState === WebSocket.OPEN
  client.send = data => socket.send(JSON.stringify({ event: 'postMsg', data, room_ids: 'room' }))
  client.close = () => { closed = true; clearTimeout(timer); socket.terminate() }
  return client
}

/** A stream of lines through the proxy, which must not collect them. It connects again at its end. */
function lines(proxy, notify) {
  const client = { name: 'lines', connects: 0, losses: 0, messages: [], errors: [] }
  let request, closed, timer, opened
  const open = () => {
    request = https.get(`${proxy.url}/sse?format=lines&${login('room')}`, { agent: proxy.agent }, answer => {
      if (answer.statusCode !== 200) client.errors.push(answer.statusCode)
      else { opened = true; client.connects++ }
      let rest = ''
      answer.setEncoding('utf8').on('error', () => {}).on('data', text => {
        const all = (rest + text).split('\n')
        rest = all.pop()
        if (opened) client.messages.push(...all.filter(line => line !== '').map(line => JSON.parse(line).data))
      })
    })
    request.on('error', error => client.errors.push(error.message))
    request.on('close', () => {
      if (opened) { client.losses++; client.errors.push('the end'); opened = false }
      if (!closed) timer = setTimeout(open, 200)
    })
  }
  open()
  client.isReady = () => opened
  client.send = notify
  client.close = () => { closed = true; clearTimeout(timer); request.destroy() }
  return client
}
