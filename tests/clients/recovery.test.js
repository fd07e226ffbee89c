'use strict'
// The script of relay and the messages that it missed: behind a proxy that cuts its connections, and after a restart of relay.
const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const fs = require('node:fs')
const http = require('node:http')
const os = require('node:os')
const path = require('node:path')
const { after, afterEach, before, describe, test } = require('node:test')
const vm = require('node:vm')
const { chromium } = require('playwright-core')
const { WebSocket } = require('ws')
const { cutter } = require('./cutter')
const { PATIENCE, configuration, login, start, until } = require('./relay')

const HISTORY = '[history]\ncount = 1000\n[limits]\nper_address = 10000\n'

/** Publishes numbers, to rooms a and b in turns, one every `pause` ms. `at(number)` is called before each. */
async function publish(relay, count, pause, at = () => {}) {
  const begin = Date.now()
  for (let i = 0; i < count; i++) {
    await new Promise(resolve => setTimeout(resolve, Math.max(begin + i * pause - Date.now(), 0)))
    await at(i)
    await relay.notify('ab'[i % 2], String(i))
  }
}
const numbers = count => Array.from({ length: count }, (_, i) => String(i))

describe('in a browser', () => {
  let browser, site, relay
  const args = configuration(HISTORY), contexts = []

  before(async () => {
    relay = await start(0, args)
    browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox'] })
    site = http.createServer((request, response) => {
      response.setHeader('Content-Type', 'text/html; charset=UTF-8')
      response.end(`<!DOCTYPE html><title>x</title><script src="${relay.url}/js/node_im.min.js"></script>`)
    })
    await new Promise(resolve => site.listen(0, '127.0.0.1', resolve))
  })
  afterEach(() => Promise.all(contexts.splice(0).map(context => context.close())))
  after(async () => {
    await browser.close()
    site.close()
    assert.equal(await relay.stop(), 0)
  })

  /** A page whose client is connected to a url; `heard` is what it says. */
  async function open(url, { polls, listens, config = {} }) {
    const context = await browser.newContext()
    contexts.push(context)
    const page = await context.newPage()
    page.setDefaultTimeout(PATIENCE)
    await page.goto(`http://127.0.0.1:${site.address().port}`)
    await page.evaluate(([url, polls, listens, config]) => {
      if (polls) window.WebSocket = undefined
      Math.random = () => 0
      window.heard = { data: [], ids: [], recovery: [], order: [], connects: 0, losses: 0 }
      XIN_NODE.init(url, Object.assign({
        receive_message_callback: ({ data, id }) => {
          heard.data.push(data)
          heard.ids.push(id)
          heard.order.push(data)
        },
        connected_callback: () => heard.connects++,
        disconnected_callback: () => heard.losses++
      }, listens && {
        recovery_callback: recovery => {
          heard.recovery.push(recovery)
          heard.order.push('recovery')
        }
      }, config))
    }, [url, polls, listens, config])
    page.heard = () => page.evaluate(() => heard)
    await until('a connection', () => page.evaluate(() => XIN_NODE.connected()))
    return page
  }

  for (const polls of [false, true]) describe(polls ? 'by polling' : 'by WebSocket', () => {
    test('a page that was cut twice has every message once, in order', async t => {
      const proxy = await cutter(relay.port)
      t.after(() => proxy.stop())
      const address = `${proxy.url}?${login('a,b')}`
      const [plain, other, off] = [
        await open(address, { polls }),
        await open(address, { polls, listens: true }),
        await open(address, { polls, config: { recovery: false } })
      ]
      // Nobody is connected while the messages from 50 to 199 (three seconds) and from 300 to 349 are published.
      await publish(relay, 400, 20, async i => {
        if (i === 50 || i === 300) {
          proxy.refusing = true
          proxy.cut()
          for (const page of [plain, other, off]) await until('the loss', async () => !(await page.evaluate(() => XIN_NODE.connected())))
        }
        if (i === 200 || i === 350) proxy.refusing = false
        if (i === 299) for (const page of [plain, other, off]) await until('the return', () => page.evaluate(() => XIN_NODE.connected()))
      })
      assert.ok(proxy.refused > 0)
      for (const page of [plain, other]) {
        await until('the last message', async () => (await page.heard()).data.includes('399'))
        assert.deepEqual((await page.heard()).data, numbers(400))
      }
      const { recovery, order, connects, losses } = await other.heard()
      assert.deepEqual([connects, losses], [3, 2])
      assert.deepEqual(recovery.map(({ recovered, rooms }) => [recovered, rooms]), Array(3).fill([true, []]))
      assert.ok(recovery[0].missed === 0 && recovery[1].missed >= 150 && recovery[2].missed >= 50, JSON.stringify(recovery))
      assert.equal(order[0], 'recovery')
      assert.equal((await plain.heard()).recovery.length, 0)
      // Without recovery, a page loses them.
      await until('a message after the cuts', async () => (await off.evaluate(() => XIN_NODE.connected())) && (await relay.notify('a', 'end'), (await off.heard()).data.includes('end')))
      const { data } = await off.heard()
      assert.deepEqual(data.filter(number => number >= 50 && number < 200 || number >= 300 && number < 350), [])
    })

    test('a relay that was killed says what is missing, and is a new beginning', async t => {
      const proxy = await cutter(relay.port)
      t.after(() => proxy.stop())
      const page = await open(`${proxy.url}?${login('a,b')}`, { polls, listens: true })
      await publish(relay, 10, 0)
      await until('ten messages', async () => (await page.heard()).data.length === 10)
      proxy.refusing = true
      const { port } = relay
      await relay.stop('SIGKILL')
      relay = await start(port, args)
      await until('the loss', async () => (await page.heard()).losses === 1)
      await relay.notify('b', 'while it was away')
      proxy.refusing = false
      await until('the return', async () => (await page.heard()).recovery.length === 2)
      await relay.notify('a', 'after that')
      // What it has had of the new relay is not missing.
      await until('both', async () => (await page.heard()).data.length === 12)
      proxy.cut()
      await relay.notify('a', 'the last')
      await until('the last', async () => (await page.heard()).data.includes('the last'))
      const { data, recovery } = await page.heard()
      assert.deepEqual(data, [...numbers(10), 'while it was away', 'after that', 'the last'])
      assert.deepEqual(recovery.map(({ recovered, rooms }) => [recovered, rooms]), [[true, []], [false, ['a', 'b']], [true, []]])
      assert.deepEqual(recovery[1].missed, 1)
    })
  })

  test('a page may say in its address since when it wants messages', async () => {
    const url = `${relay.url}?${login('since')}`
    for (const data of ['one', 'two']) await relay.notify('since', data)
    const page = await open(`${url}&since=all`, { listens: true })
    await until('both', async () => (await page.heard()).data.length === 2)
    assert.equal((await page.heard()).recovery[0].missed, 2)
    await relay.notify('since', 'three')
    await until('three', async () => (await page.heard()).data.length === 3)
    // A page that says which message it has had gets those after it.
    const { ids } = await page.heard()
    const other = await open(`${url}&since=${ids[0]}`, {})
    await until('two messages', async () => (await other.heard()).data.length === 2)
    await relay.notify('since', 'four')
    await until('the last', async () => (await other.heard()).data.includes('four'))
    assert.deepEqual((await other.heard()).data, ['two', 'three', 'four'])
  })
})

describe('in Node', () => {
  /** A client whose delays are a hundredth of the usual ones, and what it says. */
  async function open(t, url) {
    const context = vm.createContext({ WebSocket, setTimeout, clearTimeout, setInterval, clearInterval, URL, Date, console, Math: Object.create(Math) })
    context.Math.random = () => -0.1
    vm.runInContext(fs.readFileSync(path.join(__dirname, '../../src/www/js/node_im.min.js'), 'utf8'), context)
    const heard = { data: [], recovered: [] }
    const client = context.NODE_IM
    client.init(url, {
      receive_message_callback: message => heard.data.push(message.data),
      recovery_callback: recovery => heard.recovered.push(recovery.recovered),
      connect_error_callback: () => {}
    })
    t.after(() => client.close())
    await until('a connection', () => client.connected())
    return heard
  }

  test('cut at any byte, and back at once', async t => {
    const relay = await start(0, configuration(HISTORY))
    t.after(() => relay.stop())
    const proxy = await cutter(relay.port)
    t.after(() => proxy.stop())
    const { data, recovered } = await open(t, `${proxy.url}?${login('a,b')}`)
    await publish(relay, 600, 3, i => { if (i % 40 === 7) proxy.cut() })
    await until('the last message', () => data.includes('599'))
    assert.deepEqual(data, numbers(600))
    assert.ok(recovered.length > 5 && recovered.every(Boolean), String(recovered))
  })

  test('reset during the handshakes of several attempts', async t => {
    const relay = await start(0, configuration(HISTORY))
    t.after(() => relay.stop())
    const proxy = await cutter(relay.port)
    t.after(() => proxy.stop())
    proxy.refusing = true
    const opened = open(t, `${proxy.url}?${login('a')}&since=all`)
    await until('three attempts', () => proxy.refused >= 3)
    await relay.notify('a', 'meanwhile')
    proxy.refusing = false
    const { data } = await opened
    await until('the message', () => data.length === 1)
    assert.deepEqual(data, ['meanwhile'])
  })

  test('from one relay of a cluster to another', async t => {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'relay-test-'))
    const socket = path.join(directory, 'redis')
    const redis = spawn('redis-server', ['--port', '0', '--unixsocket', socket, '--save', '', '--dir', directory], { stdio: 'ignore' })
    t.after(() => redis.kill('SIGKILL'))
    await until('Redis', () => fs.existsSync(socket))
    const relays = []
    for (let i = 0; i < 2; i++) {
      relays.push(await start(0, configuration(`${HISTORY}[redis]\nurl = "unix:${socket}"\n[admin]\ntoken = "of the tests"\n`)))
      t.after(() => relays[i].stop())
    }
    for (const { url } of relays) {
      const headers = { Authorization: 'Bearer of the tests' }
      await until('the cluster', async () => (await (await fetch(url + '/metrics', { headers })).text()).includes('\nrelay_redis_siblings 1\n'))
    }
    const proxy = await cutter(relays[0].port)
    t.after(() => proxy.stop())
    const { data, recovered } = await open(t, `${proxy.url}?${login('a,b')}`)
    // Messages of both, so that it knows ids of both.
    await publish({ notify: (room, data) => relays[data % 3 ? 0 : 1].notify(room, data) }, 600, 3, i => {
      if (i % 40 !== 7) return
      proxy.port = relays[Math.floor(i / 40) % 2].port
      proxy.cut()
    })
    await until('all messages', () => data.length >= 600)
    // The order of two senders may differ between relays.
    assert.deepEqual([...data].sort((a, b) => a - b), numbers(600))
    assert.ok(recovered.length > 5, String(recovered))
  })
})
