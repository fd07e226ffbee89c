'use strict'
// Real clients of every kind that can say where they were, while the network between them and relay is cut (network.js): for 3,
// 14 and 60 s, at 50 messages a second, and with less history than a cut needs. After the first cut and after the others relay
// is killed and started anew. Each cut has a path of its own with a client of each kind on it, so that the longer cuts can be
// made at the same time. The clients are those that docs/clients.md shows, with their own settings; only relay's pings are
// frequent. CUTS=proxy makes the cuts by proxies, as on machines without network namespaces.
const assert = require('node:assert/strict')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { after, before, test } = require('node:test')
const { chromium } = require('playwright-core')
const { network } = require('./network')
const { publish } = require('./publisher')
const { BINARY, KEY, configuration, login, shown, start, until } = require('./relay')

const RATE = 50
/** How many messages one room keeps: fewer than a cut of 14 s needs. */
const SMALL = 20
/** The paths: for how many seconds each is cut, and the rooms of its clients. */
const PATHS = [[3, 'a,b'], [14, 'a,b'], [60, 'a,b'], [14, 'small,b']]
/** Messages go to these in turn, so that each path gets all. */
const TURNS = ['a,small', 'b']
const CONFIG = `
[websocket]
ping_interval = 5
ping_timeout = 5
[socketio]
ping_interval = 5
ping_timeout = 5
[history]
count = 20000
age = 3600
bytes = 4194304
rooms = [{ room = "small", count = ${SMALL} }]
`
/** Milliseconds until a client must be back. Chromium needs the longest: it probes a silent connection every 45 s. */
const PATIENCE = 240000
/** The script for a shell that docs/clients.md shows. */
const FOLLOW = shown('docs/clients.md', '## Server-Sent Events', "sh\ncat >follow.sh <<'END'").split('\nEND\n')[0]

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'relay-cuts-'))
const socketPath = path.join(directory, 'relay.sock')
const args = configuration(CONFIG)
const stops = []
let net, relay, life = 0, published
const clients = []

before(async () => {
  net = await network(PATHS.length, directory)
  await launch()
  await Promise.all(PATHS.map(([, rooms], at) => connect(at, net.paths[at].url, rooms)).concat(connectPlain(), connectPages()))
  await all('a connection', client => client.connects === 1)
  // Without an answer it is not known whether relay got it before it was killed.
  published = publish(socketPath, RATE, i => [TURNS[i % 2], { rooms: TURNS[i % 2].split(','), life, sure: false }], message => { message.sure = true })
})
after(async () => {
  if (published) await published.stop()
  for (const stop of stops.reverse()) await stop()
  if (relay) await relay.stop('SIGKILL')
  if (net) await net.stop()
  for (const name of [directory, path.dirname(args[1])]) fs.rmSync(name, { recursive: true, force: true })
})

async function launch() {
  const [host, port] = net.listen.split(':')
  const more = [...args, '--listen', `unix:${socketPath}`, '--allow-demo-keys']
  relay = await start(relay ? relay.port : port, more, { prefix: net.relay, host })
  net.connect(relay.port)
}

/** A client, and `note`, which gets what it says: ['connect'], ['message', [room, data]] and ['recovery', {…}]. */
function client(kind, at, more = {}) {
  const made = { kind, at, name: `${kind} on path ${at}`, rooms: PATHS[at][1].split(','), connects: 0, newest: -1, said: [], ...more }
  made.note = (name, value) => {
    if (name === 'connect') made.connects++
    if (name === 'message') {
      made.newest = Math.max(made.newest, Number(value[1]))
      // How long it took to come back.
      if (made.mended && !made.back && made.newest >= made.mended.number) made.back = Date.now() - made.mended.time
    }
    made.said.push([name, value])
  }
  made.gaps = () => made.said.filter(([name, its]) => name === 'recovery' && !its.recovered).map(([, its]) => its)
  clients.push(made)
  return made
}

/** The clients that are a process each. */
function connect(at, url, rooms) {
  // What it prints and what it complains about come by two pipes, so their order is not known.
  const listener = client('relay listen', at, { unordered: true })
  const words = ['--url', url, '--source', 'demo', '--key', KEY, '--since', '', rooms]
  net.run([BINARY, 'listen', ...words], line => listener.note('message', line.split('\t')), line => {
    const gap = /messages to (.*) may be missing/.exec(line)
    if (gap) listener.note('recovery', { recovered: false, rooms: gap[1].split(', ') })
    if (line.includes('listening to')) listener.note('connect')
  })

  const curl = client('curl', at)
  net.run(['bash', '-c', FOLLOW, 'follow.sh', `${url}/sse?${login(rooms)}&format=lines`], line => {
    const its = JSON.parse(line)
    if (its.event === 'newMsg') return curl.note('message', [its.room_id, its.data])
    curl.note('connect')
    curl.note('recovery', its)
  })
}

/** The plain WebSockets: one process for all. */
function connectPlain() {
  const plain = PATHS.map((_, at) => client('ws', at))
  const addresses = PATHS.map(([, rooms], at) => `${net.paths[at].url.replace('http', 'ws')}/ws?${login(rooms)}`)
  net.run([process.execPath, path.join(__dirname, 'plain_client.js'), ...addresses], line => {
    const [at, name, value] = JSON.parse(line)
    plain[at].note(name, value)
  }, line => plain.forEach(one => one.note('error', line)))
}

/** A page of Chromium for each path, with the script and an EventSource. */
async function connectPages() {
  const executablePath = net.wrap(process.env.CHROMIUM || '/usr/bin/chromium')
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
  let stopped = false, collected
  stops.push(() => browser.close(), () => { stopped = true; return collected })
  const example = shown('docs/clients.md', '## Server-Sent Events', 'html')
  const pages = await Promise.all(PATHS.map(async ([, rooms], at) => {
    const page = await browser.newPage()
    await page.goto(`${net.paths[at].url}/healthz`)
    await page.addScriptTag({ url: '/js/node_im.min.js' })
    const adapted = example.replace(/'http:\/\/127\.0\.0\.1:4000[^']*'/, JSON.stringify(`/sse?${login(rooms)}`))
    await page.evaluate(([address, example]) => {
      window.said = []
      const note = kind => (name, value) => window.said.push([kind, name, value])
      const script = note(0)
      XIN_NODE.init(address, {
        connected_callback: () => script('connect'),
        recovery_callback: recovery => script('recovery', recovery),
        receive_message_callback: ({ room_id, data }) => script('message', [room_id, data])
      })
      const source = note(1)
      class Watched extends EventSource {
        constructor(...args) {
          super(...args)
          this.addEventListener('open', () => source('connect'))
          this.addEventListener('recovery', e => source('recovery', JSON.parse(e.data)))
        }
      }
      const console = { log: (room, data) => source('message', [room, data]), warn: (text, rooms) => source('warning', [text, rooms]) }
      new Function('EventSource', 'console', example)(Watched, console)
    }, [`${net.paths[at].url}?${login(rooms)}`, adapted])
    const its = [client('node_im.js', at), client('EventSource', at)]
    page.collect = async () => {
      for (const [kind, name, value] of await page.evaluate(() => window.said.splice(0))) its[kind].note(name, value)
    }
    return page
  }))
  collected = (async () => {
    while (!stopped) {
      for (const page of pages) await page.collect()
      await new Promise(resolve => setTimeout(resolve, 500))
    }
  })()
}

/** Waits until something is true of all clients, or of those on a path. */
async function all(what, is, at) {
  const missing = () => clients.filter(one => (at === undefined || one.at === at) && !is(one))
  await until(what, () => missing().length === 0, PATIENCE).catch(error => {
    const words = missing().map(one => `${one.name} (${one.connects} connects, at ${one.newest}, ${JSON.stringify(one.said.slice(-3))})`)
    throw new Error(`${error.message}: ${words.join(', ')}`)
  })
}
/** Waits until all clients have what was published so far. */
async function caughtUp(at) {
  const last = published.sent.findLastIndex(({ sure }) => sure)
  await all('the newest message', ({ newest }) => newest >= last, at)
}

/**
 * Checks all that a client has had: each message of its rooms once and in order. Where `recovery` named the room, the last
 * messages of a killed relay may be missing, and any of the small room.
 */
function verify({ name, said, rooms, unordered, gaps }) {
  let newest = -1
  for (const [what, value] of said) {
    if (what !== 'message') continue
    const number = Number(value[1])
    assert.ok(number > newest, `${name}: ${number} came after ${newest}`)
    newest = number
  }
  for (const room of rooms) {
    const had = new Set()
    let from = 0, told = unordered ? gaps().filter(its => its.rooms.includes(room)).length : 0
    for (const [what, value] of said) {
      if (what === 'recovery' && !unordered && !value.recovered && value.rooms.includes(room)) told = 1
      if (what !== 'message' || value[0] !== room) continue
      const number = Number(value[1]), message = published.sent[number]
      assert.ok(message.rooms.includes(room) && !had.has(number), `${name}: ${number} in ${room}`)
      had.add(number)
      const lost = published.sent.slice(from, number).filter(one => one.sure && one.rooms.includes(room))
      from = number + 1
      if (!lost.length) {
        if (!unordered) told = 0
        continue
      }
      assert.ok(told > 0, `${name}: ${lost.length} messages of ${room} before ${number} are missing, and nobody said so`)
      told--
      // A relay that was started anew has kept all of its own.
      assert.ok(room === 'small' || lost.every(one => one.life < message.life), `${name}: ${lost.length} messages of ${room} before ${number} are missing`)
    }
  }
}

/** The small room alone can drop messages while relay repeats them, which is a gap of its own. */
function onlySmall(one, gaps) {
  for (const { rooms } of gaps) assert.deepEqual(rooms, ['small'], one.name)
}

/** relay is killed and started anew while messages flow: everybody comes back, and is told that something is missing. */
async function kill() {
  const count = new Map(clients.map(one => [one, one.gaps().length]))
  life++
  await relay.stop('SIGKILL')
  await launch()
  await all('the gap', one => one.gaps().length > count.get(one))
  await caughtUp()
  for (const one of clients) {
    const gaps = one.gaps().slice(count.get(one))
    assert.deepEqual(gaps[0].rooms, one.rooms, one.name)
    onlySmall(one, gaps.slice(1))
    verify(one)
  }
}

test('a cut of 3 s', async t => {
  if (net.kind === 'proxy') t.diagnostic(`SKIPPED: cuts in network namespaces (${net.why}); a proxy makes them`)
  else t.diagnostic('the cuts are made in network namespaces')
  await until('some messages', () => published.sent.length > RATE)
  await caughtUp()
  await cut(t, 0)
})

test('a relay that is killed while messages flow says so', kill)

test('longer cuts', { concurrency: true }, t => Promise.all(PATHS.slice(1).map(([seconds, rooms], at) =>
  t.test(`${seconds} s${rooms.includes('small') ? ', with less history' : ''}`, t => cut(t, at + 1)))))

test('a relay that is killed after the cuts says so', kill)

async function cut(t, at) {
  const [seconds] = PATHS[at], its = clients.filter(one => one.at === at)
  const count = new Map(its.map(one => [one, { connects: one.connects, said: one.said.length }]))
  net.paths[at].cut()
  // A message that is published from now on arrives when the path is mended, not before.
  const first = published.sent.length
  await until('the end of the cut', () => published.sent.length >= first + seconds * RATE, PATIENCE)
  for (const one of its) assert.ok(one.newest < first, `${one.name} got ${one.newest} during the cut, which began before ${first}`)
  for (const one of its) one.mended = { time: Date.now(), number: published.sent.length }
  net.paths[at].mend()
  await all('a message after the cut', one => one.back, at)
  await caughtUp(at)
  t.diagnostic(`a message came after a cut of ${seconds} s: ${its.map(one => `${one.kind} ${(one.back / 1000).toFixed(1)} s`).join(', ')}`)
  for (const one of its) {
    verify(one)
    const since = one.said.slice(count.get(one).said)
    const recoveries = since.filter(([name]) => name === 'recovery').map(([, its]) => its)
    // relay gives a silent client up after 10 s.
    if (seconds > 10) assert.ok(one.connects > count.get(one).connects, `${one.name} was not cut`)
    if (!one.rooms.includes('small')) {
      assert.ok(recoveries.every(({ recovered }) => recovered), `${one.name}: ${JSON.stringify(recoveries)}`)
      continue
    }
    const gaps = recoveries.filter(({ recovered }) => !recovered)
    assert.ok(gaps.length > 0, one.name)
    onlySmall(one, gaps)
    if (one.unordered || gaps.length > 1) continue
    // What follows is all of the other room, and of this one what was kept.
    const messages = since.slice(since.findIndex(([, its]) => its === gaps[0])).filter(([name]) => name === 'message').slice(0, gaps[0].missed)
    assert.equal(messages.length, gaps[0].missed, one.name)
    assert.equal(messages.filter(([, [room]]) => room === 'small').length, SMALL, one.name)
  }
}
