'use strict'
// Pages of Chromium that end in different ways, and a new page with the same login: whether it gets what was published meanwhile
// depends on the goodbye, and on recovery.unknowing.
const assert = require('node:assert/strict')
const fs = require('node:fs')
const http = require('node:http')
const path = require('node:path')
const { after, before, describe, test } = require('node:test')
const { chromium } = require('playwright-core')
const { configuration, login, start, until } = require('./relay')

const TOKEN = 'of the tests'
const VERSIONS = ['2.5', '4.8']
const SOURCES = { demo: 'return', user: 'user' }
const COUNT = 5
/** The next page is there, but its script is not. */
const COMMIT = { waitUntil: 'commit' }
/**
 * How a page ends, and for which `unknowing` the next one gets what was published meanwhile: over a WebSocket, and by polling,
 * where the end of a page looks like a loss. Each function resolves to the page that follows, if it is already there.
 */
const ENDS = [
  { name: 'is loaded again', websocket: ['user'], polling: ['return', 'user'], end: ({ page }) => page.reload(COMMIT).then(() => page) },
  { name: 'is left for another', websocket: ['user'], polling: ['return', 'user'], end: ({ page, url }) => page.goto(`${url}&2`, COMMIT).then(() => page) },
  { name: 'is closed', websocket: ['user'], polling: ['return', 'user'], end: ({ page }) => page.close() },
  { name: 'closes its socket', websocket: ['user'], polling: ['user'], end: ({ page }) => page.evaluate(() => { socket.close() }) },
  { name: 'dies with its browser', websocket: ['return', 'user'], polling: ['return', 'user'], kills: true, end: ({ kill }) => kill() }
]

let relay, site, shared
/** Pages that wait for their script, by address: so they connect when the test wants it. */
const waiting = new Map()

before(async () => {
  relay = await start(0, configuration(`
[admin]
token = "${TOKEN}"
[history]
count = 100
[recovery]
unknowing = "return"
[sources.user]
sign_key = "try4dfs%#fs!#$2334ds(%B)"
unknowing = "user"
`))
  site = http.createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://x')
    response.setHeader('Cache-Control', 'no-store')
    if (pathname === '/page') {
      response.setHeader('Content-Type', 'text/html; charset=utf-8')
      return response.end(`<!doctype html><title>x</title><script src="/client.js?${searchParams}"></script><script>
        var heard = [], connects = 0
        var socket = io(${JSON.stringify(`${relay.url}?${searchParams.get('login')}`)}, { transports: ['${searchParams.get('transport')}'] })
        socket.on('connect', function () { connects++ })
        socket.on('newMsg', function (message) { heard.push(message.data) })
      </script>`)
    }
    if (pathname !== '/client.js') return response.writeHead(404).end()
    const folder = path.join(__dirname, 'node_modules', `socket.io-client-${searchParams.get('version')}`, 'dist/socket.io.js')
    waiting.set(searchParams.get('login'), () => response.setHeader('Content-Type', 'text/javascript').end(fs.readFileSync(folder)))
  })
  await new Promise(resolve => site.listen(0, '127.0.0.1', resolve))
  shared = await launch()
})
after(async () => {
  await shared.kill()
  site.closeAllConnections()
  site.close()
  assert.equal(await relay.stop(), 0)
})

async function launch() {
  const server = await chromium.launchServer({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox'] })
  const browser = await chromium.connect(server.wsEndpoint())
  return { kill: () => server.kill(), context: () => browser.newContext() }
}

/** Lets the page with this login connect; it has what is there for it when it gets a message that is published now. */
async function connect(page, its, data) {
  await until('the page', () => waiting.has(its.login))
  waiting.get(its.login)()
  waiting.delete(its.login)
  await until('a connection', () => page.evaluate(() => window.connects === 1))
  await relay.notify(its.room, data, its.source)
  await until('a message', () => page.evaluate(data => heard.includes(data), data))
  return page.evaluate(() => heard)
}

/** Sessions with the login, without those of which relay knows that they are lost. */
async function live({ source, userid }) {
  const headers = { Authorization: `Bearer ${TOKEN}` }
  const answer = await fetch(`${relay.url}/api/online?${new URLSearchParams({ source, userid })}`, { headers })
  return (await answer.json()).list.filter(({ away }) => !away).length
}

async function check(t, { version, transport, source, end, kills, repeats }) {
  const room = t.name.replace(/\W+/g, '-'), userid = room
  const its = { room, userid, source, login: login(room, { source, userid }) }
  const url = `http://127.0.0.1:${site.address().port}/page?${new URLSearchParams({ version, transport, login: its.login })}`
  /** A browser, which is its own if it is to be killed. */
  async function begin() {
    const { context, kill } = kills ? await launch() : shared
    const tabs = await context()
    t.after(() => kills ? kill() : tabs.close())
    return { tabs, kill }
  }
  async function open(tabs) {
    const page = await tabs.newPage()
    await page.goto(url, COMMIT)
    return page
  }
  const { tabs, kill } = await begin(), page = await open(tabs)
  await connect(page, its, 'hello')
  assert.equal(await live(its), 1)

  const there = await end({ page, url, kill })
  await until('the end of the session', async () => await live(its) === 0)
  const missed = Array.from({ length: COUNT }, (_, i) => `missed ${i}`)
  for (const data of missed) await relay.notify(room, data, source)
  const next = there || await open(kills ? (await begin()).tabs : tabs)
  assert.deepEqual(await connect(next, its, 'the end'), [...repeats ? missed : [], 'the end'])
}

for (const [source, unknowing] of Object.entries(SOURCES)) {
  describe(`unknowing = "${unknowing}": when a page`, { concurrency: 4 }, () => {
    for (const version of VERSIONS) for (const transport of ['websocket', 'polling']) for (const { name, end, kills, ...by } of ENDS) {
      const repeats = by[transport].includes(unknowing)
      test(`${name}, the next ${repeats ? 'gets what it missed' : 'begins anew'} (${version}, ${transport})`, t =>
        check(t, { version, transport, source, end, kills, repeats }))
    }
  })
}
