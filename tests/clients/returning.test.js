'use strict'
// Clients that do not say which messages they have had, and Socket.IO 4.6 and later, which says which session it had: after a
// cut of the network between them and relay (network.js) they get what they missed. There are clients of every generation and
// transport on direct connections, some of them behind nginx, tabs with one login, and logins that are given up.
const assert = require('node:assert/strict')
const { before, describe, test } = require('node:test')
const { FREQUENT, RARE, RATE, USUAL, program, stage } = require('./returning/stage')
const { unlessStalled } = require('./relay')

const POLLING = ['polling'], WEBSOCKET = ['websocket'], UPGRADE = ['polling', 'websocket']
/** CLIENTS=python, for example, chooses some while you work on this file. */
const CLIENTS = [
  ...['1.7', '2.0', '2.5', '3.1', '4.5', '4.8', 'python5'].flatMap(version =>
    [POLLING, WEBSOCKET, UPGRADE].map(transports => ({ version, transports }))),
  // By polling, python-socketio 4 does not come back by itself if a POST has failed.
  ...[WEBSOCKET, UPGRADE].map(transports => ({ version: 'python4', transports })),
  { version: 'ws', transports: [] }
].filter(({ version, transports }) => `${version} ${transports.join('+')}`.includes(process.env.CLIENTS || ''))

/** Opens clients, each with a login of its own, and begins to publish. */
async function everybody(its, clients) {
  clients.forEach((client, number) => its.open({ ...client, userid: String(number) }))
  await its.connected(its.clients)
  its.begin()
  await its.messages(2 * RATE)
  await its.caughtUp()
  await its.confirmed()
}

/** Cuts the path and checks everything. `noticed`: whether clients must connect again, or must not. */
async function cut(its, seconds, { dropped = false, noticed } = {}) {
  const before = its.clients.map(({ connections }) => connections.length)
  const time = await its.cutFor(0, seconds, dropped)
  await its.caughtUp()
  // Or the next cut is part of this one.
  await its.confirmed()
  its.report(`a cut of ${seconds} s${dropped ? ' that clients notice at once' : ''}: all back ${(time / 1000).toFixed(1)} s after it`)
  await its.right()
  for (const [index, { name, version, transports, connections, hasPid }] of its.clients.entries()) {
    // One that polls may have had no connection that could be broken.
    if (noticed === true && !(dropped && transports === POLLING)) assert.ok(connections.length > before[index], `${name} did not notice the cut`)
    // Requests of python-socketio time out after 5 s, and the proxies reset connections when they mend a path.
    if (noticed === false && its.net.kind !== 'proxy' && !version.startsWith('python')) {
      assert.equal(connections.length, before[index], `${name} connected again`)
    }
    const ids = connections.map(({ id }) => id)
    if (hasPid) {
      assert.deepEqual(ids, ids.map(() => ids[0]), `${name} has another id`)
      assert.deepEqual(connections.map(({ recovered }) => Boolean(recovered)), ids.map((_, index) => index > 0), name)
    } else if (version !== 'ws') {
      assert.equal(new Set(ids).size, ids.length, `${name}: ${ids}`)
    }
  }
}

/** nginx in front of relay, and what relay knows of it. */
const FRONTS = [
  { name: 'that sends X-Forwarded-For', front: 'proxy_set_header X-Forwarded-For $remote_addr;' },
  { name: 'that relay trusts', front: '', first: 'trusted_proxies = ["127.0.0.1"]' },
  { name: 'that relay does not know, with proof = "pong"', front: '', recovery: 'proof = "pong"' },
  // A test of the test: nginx acknowledges what no client gets.
  { name: 'that relay does not know, with proof = "tcp"', front: '', recovery: 'proof = "tcp"', loses: true },
  // Clients that say which message was the last get none twice, though pongs prove them late.
  {
    name: 'that relay trusts, with offsets = "all"', front: '', first: 'trusted_proxies = ["127.0.0.1"]', recovery: 'offsets = "all"',
    twice: 0, versions: ['4.8']
  }
]

const BROWSER = { 'User-Agent': 'a browser', Referer: 'http://127.0.0.1/page' }
const TABS = [
  { count: 2, kinds: [['2.5', WEBSOCKET]] },
  { count: 5, kinds: [['2.5', WEBSOCKET], ['1.7', POLLING], ['4.5', UPGRADE]] }
]
/** Messages of the time that relay waits for the answer of a session that it asks (recovery.hold), and more. */
const ASKED = 5 * RATE
const connects = its => its.clients.map(({ connections }) => connections.length)

/** Opens tabs while messages come, each after the one before is connected. They get all messages from then on. */
async function openTabs(its, count, kinds) {
  its.begin()
  for (let i = 0; i < count; i++) {
    const [version, transports] = kinds[i % kinds.length]
    const tab = its.open({ version, transports, userid: 'one', headers: BROWSER, at: i % its.net.paths.length })
    await its.connected([tab])
  }
  await its.messages(ASKED)
  await its.caughtUp()
}

// Not within a test: it blocks this process.
before(() => CLIENTS.forEach(({ version }) => program(version)))

describe('clients that return', { concurrency: true }, () => {
  test('miss nothing, with frequent pings', unlessStalled(async t => {
    const its = await stage(t, { times: FREQUENT })
    await everybody(its, CLIENTS)
    await cut(its, 3)
    // Some notice it, at one end or at both.
    await cut(its, 5)
    await cut(its, 14, { noticed: true })
  }))

  test('miss nothing, with the usual pings', unlessStalled(async t => {
    const its = await stage(t, { times: USUAL })
    await everybody(its, CLIENTS)
    // TCP alone repairs this.
    await cut(its, 3, { noticed: false })
    // relay still takes the old connections for living ones when the clients return.
    await cut(its, 5, { dropped: true, noticed: true })
    await cut(its, 60, { noticed: true })
  }))

  test('miss nothing if they give up before relay does', unlessStalled(async t => {
    // Nobody reads messages that TCP brings after that.
    const its = await stage(t, { times: RARE, twice: 12000 })
    await everybody(its, CLIENTS)
    await cut(its, 9)
    await cut(its, 8)
  }))

  test('miss nothing on another path while their old connection still brings packets', unlessStalled(async t => {
    // A client gives up 3 s after its next ping, relay 11 s after the client's last packet. Meanwhile packets arrive that the
    // client sent before it gave up.
    const its = await stage(t, { times: RARE, paths: 2, recovery: 'hold = 8' })
    const kinds = [['2.5', WEBSOCKET], ['1.7', UPGRADE], ['2.0', POLLING]]
    const open = at => kinds.map(([version, transports], number) =>
      its.open({ at, version, transports, userid: String(number), headers: BROWSER }))
    const old = open(0)
    await its.connected(old)
    its.begin()
    await its.messages(6 * RATE)
    await its.caughtUp(old)
    its.cut(0)
    await its.all('the loss', old, ({ notes }) => notes.loss)
    for (const one of old) one.end()
    const next = open(1)
    await its.messages(RATE / 2)
    its.net.paths[0].mend()
    await its.connected(next)
    await its.messages(10 * RATE)
    await its.caughtUp(next)
    for (const [index, { name, connections: [{ messages: [first] }] }] of next.entries()) {
      const { newest } = old[index]
      assert.ok(first.number <= newest + 1, `${name} begins with ${first.number} after ${newest}`)
      assert.ok(first.number > its.proven(old[index], 1), `${name} begins with ${first.number}, but had ${newest}`)
    }
    await its.right()
  }))

  test('miss nothing if the network fails again while they return', unlessStalled(async t => {
    // A cut in the middle of a replay repeats what was on its way.
    const its = await stage(t, { times: FREQUENT, twice: 10000 })
    await everybody(its, CLIENTS)
    for (const seconds of [0.3, 0.7, 1.1, 1.5, 2]) {
      its.cut(0)
      await its.messages(8 * RATE)
      its.net.paths[0].mend()
      await its.messages(seconds * RATE)
    }
    await cut(its, 8, { noticed: true })
  }))

  for (const { name, loses, versions = ['2.0', '4.8'], ...how } of FRONTS) {
    test(`${loses ? 'lose messages' : 'miss nothing'} behind nginx ${name}`, unlessStalled(async t => {
      const its = await stage(t, { times: FREQUENT, ...how })
      await everybody(its, versions.flatMap(version => [WEBSOCKET, POLLING].map(transports => ({ version, transports }))))
      if (!loses) {
        await cut(its, 8, { noticed: true })
        await cut(its, 3, { dropped: true, noticed: true })
        return
      }
      await its.cutFor(0, 8)
      await its.caughtUp()
      const [websocket, polling] = its.clients.map(one => its.judge(one).lost)
      assert.ok(websocket > 0)
      // The next poll proves the one before.
      assert.equal(polling, 0)
    }))
  }

  for (const { count, kinds } of TABS) test(`miss nothing in ${count} tabs with one login`, unlessStalled(async t => {
    // A tab may get what another has missed, which a busy machine may have delayed.
    const its = await stage(t, { times: FREQUENT, twice: 1000 })
    await openTabs(its, count, kinds)
    await its.right()
    assert.deepEqual(connects(its), Array(count).fill(1))
    const cuts = [[9, false], [2, true]]
    for (const [index, [seconds, dropped]] of cuts.entries()) {
      await its.cutFor(0, seconds, dropped)
      await its.messages(ASKED)
      await its.caughtUp()
      its.report(`a cut of ${seconds} s`)
      await its.right()
      assert.deepEqual(connects(its), Array(count).fill(index + 2))
    }
  }))

  test('miss nothing in two tabs that are cut at different times', unlessStalled(async t => {
    // The one that was cut last returns first. It may get what the other has missed, but may not take it away.
    const its = await stage(t, { times: FREQUENT, paths: 2, twice: 4000 })
    await openTabs(its, 2, TABS[0].kinds)
    its.cut(0)
    await its.messages(3 * RATE)
    its.cut(1)
    await its.messages(8 * RATE)
    await its.mend(1)
    await its.mend(0)
    await its.caughtUp()
    its.report('cuts of 11 s and 8 s')
    await its.right()
    assert.deepEqual(connects(its), [2, 2])
  }))

  test('miss nothing beside logins that are given up', unlessStalled(async t => {
    const its = await stage(t, { times: FREQUENT, paths: 2 })
    const kinds = [['2.5', WEBSOCKET], ['2.0', POLLING], ['4.5', UPGRADE], ['4.8', WEBSOCKET]]
    kinds.forEach(([version, transports], number) => its.open({ version, transports, userid: String(number), headers: BROWSER }))
    await its.connected(its.clients)
    its.begin()
    await its.messages(RATE)
    const ghosts = async at => {
      await its.reserve(at)
      await its.haunt(at)
    }
    // While all clients are connected.
    await ghosts(1)
    await its.messages(ASKED)
    await its.caughtUp()
    await its.right()
    assert.deepEqual(connects(its), [1, 1, 1, 1])
    // While they are away: some on a path that works, and some on theirs, which relay gets as soon as it is mended.
    await its.reserve(0)
    its.cut(0)
    await its.haunt(0)
    await its.messages(7 * RATE)
    await ghosts(1)
    await its.messages(RATE)
    await its.mend(0)
    await ghosts(1)
    await its.messages(ASKED)
    await its.caughtUp()
    its.report('a cut of 8 s')
    await its.right()
    assert.deepEqual(connects(its), [2, 2, 2, 2])
    // Later.
    await its.cutFor(0, 8)
    await ghosts(1)
    await its.messages(ASKED)
    await its.caughtUp()
    its.report('another')
    await its.right()
    assert.deepEqual(connects(its), [3, 3, 3, 3])
  }))
})
