'use strict'
// The operators' console behind the proxies of docs/operations.md, with TLS at the proxy. Their timeouts are shortened from 60 s to
// 5 s, so that a stream that is silent for so long would end.
const assert = require('node:assert/strict')
const { after, before, describe, test } = require('node:test')
const { once } = require('node:events')
const fs = require('node:fs')
const https = require('node:https')
const os = require('node:os')
const path = require('node:path')
const { WebSocket } = require('ws')
const { KEY, configuration, login, md5, start, unlessStalled, until } = require('./relay')
const { blocks, freePort, startProxy } = require('./proxy')
const { TOKEN, close, launch, live, open, signIn, visit } = require('./console_page')

const BEARER = { Authorization: 'Bearer ' + Buffer.from(TOKEN).toString('latin1') }
const PAGE = 'docs/operations.md'
const ALL = blocks(PAGE)
/** What administrators often add: everything is compressed, also streams. */
const COMPRESSED = {
  nginx: text => text.replace('client_max_body_size', 'gzip on; gzip_types *; gzip_proxied any; client_max_body_size'),
  caddy: text => text.replace('reverse_proxy', 'encode zstd gzip\n    reverse_proxy'),
  haproxy: text => text.replace('option forwardfor', 'option forwardfor\n    compression algo gzip'),
  apache: text => ['filter', 'deflate'].map(name => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so\n`).join('') + text.replace('ProxyTimeout', 'SetOutputFilter DEFLATE\n    ProxyTimeout')
}

let browser
before(async () => { browser = await launch(['--host-resolver-rules=MAP relay.example.org 127.0.0.1']) })
after(() => browser.close())

/** Starts relay with this proxy in front of it, and calls `use({ proxy, relay, page, restart })`. */
async function behind({ kind, text }, { first = 'trusted_proxies = ["127.0.0.1"]\n', more = '' }, use) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'relay-places-')), args = configuration(`[admin]\ntoken = "${TOKEN}"\n${more}`, first)
  // apache2 gives up root for a user who must be able to enter.
  fs.chmodSync(directory, 0o755)
  const port = await freePort(), world = { pages: [] }
  try {
    world.relay = await start(port, args)
    world.proxy = await startProxy({ kind, text: text.replace(/\b60s\b|ProxyTimeout 60\b/g, found => found.replace('60', '5')) }, port, directory)
    world.open = async (url = world.proxy.url, options = {}) => {
      const page = await open(browser, { url }, { ignoreHTTPSErrors: true, token: '', ...options })
      world.pages.push(page)
      return page
    }
    world.restart = async meanwhile => {
      assert.equal(await world.relay.stop(), 0)
      await meanwhile()
      world.relay = await start(port, args)
    }
    await use(world)
    await close(...world.pages)
  } catch (error) {
    error.message += `\n${kind}: ${world.proxy ? world.proxy.said().slice(-3000) : ''}`
    throw error
  } finally {
    await Promise.all(world.pages.map(page => page.context().close().catch(() => {})))
    await world.proxy?.stop()
    await world.relay?.stop('SIGKILL')
    for (const folder of [directory, path.dirname(args[1])]) fs.rmSync(folder, { recursive: true, force: true })
  }
}

/** A stream of `/api/live` through the proxy: its lines with the times of their arrival, until `stop`. */
function stream(proxy, query) {
  const found = { query, lines: [], ended: null }
  const request = https.get(`${proxy.url}/api/live?${query}`, { agent: proxy.agent, headers: BEARER }, answer => {
    found.headers = answer.headers
    let rest = ''
    answer.setEncoding('utf8').on('data', text => {
      const lines = (rest + text).split('\n')
      rest = lines.pop()
      for (const line of lines) if (line.trim()) found.lines.push({ ...JSON.parse(line), at: Date.now() / 1000 })
    }).on('error', () => {}).on('close', () => { found.ended = `after ${found.lines.length} lines` })
  })
  request.on('error', error => { found.ended = String(error) })
  found.stop = () => request.destroy()
  found.samples = () => found.lines.filter(line => line.type === 'sample')
  return found
}
/** Waits for five samples in a row that came when they were made: a proxy that collects them would bring some too late. */
const prompt = stream => until(`prompt samples of ${stream.query}`, () => {
  assert.equal(stream.ended, null)
  const late = stream.samples().slice(-5).map(sample => sample.at - sample.values[0])
  return late.length === 5 && late.every(seconds => seconds < 2.5)
})
const streams = page => page.requests.filter(request => request.url().includes('/api/live')).length

describe('behind a proxy', { concurrency: true }, () => {
  const first = 'trusted_proxies = ["127.0.0.1"]\norigins = ["https://shop.example.org"]\n'
  for (const block of ALL) test(block.kind, unlessStalled(() => behind(block, { first }, operate)))
})

async function operate({ proxy, relay, restart, open }) {
  // The page is found without the slash, and asks for the token.
  const page = await open()
  await page.goto(proxy.url + '/console')
  await page.getByLabel('Admin token').waitFor()
  assert.equal(page.url(), proxy.url + '/console/')
  await signIn(page, 'this is wrong')
  await page.getByText('The admin token is wrong.').waitFor()
  await signIn(page, TOKEN)
  await live(page)

  // A visitor of the proxy is shown with its own address.
  const visitor = new WebSocket(`${proxy.url.replace('http', 'ws')}/ws?${login('room', { userid: 'visitor' })}`, { agent: proxy.agent })
  await once(visitor, 'open')
  const got = new Promise(resolve => visitor.on('message', text => { if (JSON.parse(text).event === 'newMsg') resolve(JSON.parse(text).data) }))
  await visit(page, '#sessions?search=visitor')
  await page.getByRole('row').filter({ hasText: '127.0.0.5' }).waitFor()

  // What is published here arrives there, and the tail shows it.
  await visit(page, '#tail?source=demo&room_id=room')
  await page.getByRole('button', { name: 'Publish…' }).click()
  const dialog = page.locator('dialog[open]')
  await dialog.getByText('1 session', { exact: true }).waitFor()
  await dialog.getByLabel('Data of the message').fill('from the console')
  await dialog.getByRole('button', { name: 'Publish', exact: true }).click()
  await dialog.getByText('Published. 1 session gets it.').waitFor()
  assert.equal(await got, 'from the console')
  await dialog.getByRole('button', { name: 'Close' }).click()
  await page.locator('.message').getByText('from the console').waitFor()
  visitor.terminate()
  // relay's `origins` do not list the console: its pages need not be listed, because they are relay's own.
  assert.deepEqual(relay.log.filter(line => line.includes('origin')), [])

  // Streams of each kind are prompt, and go on when nothing is published or logged for longer than the timeout of the proxy.
  await visit(page, '#log?level=error')
  await page.getByRole('heading', { name: 'Log' }).waitFor()
  await live(page)
  const before = streams(page), all = ['', 'log=error', 'source=demo&room_id=empty'].map(query => stream(proxy, query))
  await Promise.all(all.map(async one => {
    await prompt(one)
    assert.equal(one.headers['content-encoding'], undefined)
    await until('more samples', () => one.samples().length >= 10)
  }))
  assert.deepEqual(all.map(one => [one.query, one.ended]), all.map(one => [one.query, null]))
  all.forEach(one => one.stop())
  await live(page)
  assert.equal(streams(page), before)

  // Wrong tokens count for the address that sends them, whatever it says, and not for the proxy.
  const guess = (localAddress, number) => new Promise((resolve, reject) => https.get(`${proxy.url}/api/stats`, {
    agent: new https.Agent({ ...proxy.agent.options, localAddress }),
    headers: { Authorization: `Bearer wrong ${number}`, 'X-Forwarded-For': `203.0.113.${number}` }
  }, answer => answer.resume().on('end', () => resolve(answer.statusCode))).on('error', reject))
  const answers = []
  while (answers.at(-1) !== 429 && answers.length < 15) answers.push(await guess('127.0.0.5', answers.length))
  assert.deepEqual(answers, [...answers.slice(1).map(() => 401), 429])
  assert.equal(await guess('127.0.0.6', 1), 401)
  assert.ok(relay.log.some(line => line.includes('wrong admin tokens from 127.0.0.5')), relay.log.slice(-3).join('\n'))
  const other = await open()
  await signIn(other, 'short')
  await other.getByText('The admin token is wrong.').waitFor()

  // relay restarts, and then the proxy: the console says what is wrong, and goes on without a login.
  await visit(page, '#overview')
  await live(page)
  await restart(async () => {
    await page.getByText(/^relay is not reachable: the proxy answers 50[234]\./).waitFor()
    await visit(page, '#rooms')
    await page.locator('.problem').getByText(/^relay is not reachable: the proxy answers 50[234]\./).waitFor()
    await signIn(other, TOKEN)
    await other.getByText(/^relay is not reachable: the proxy answers 50[234]\./).waitFor()
  })
  await live(page)
  await proxy.stop()
  await page.getByText('relay is not reachable, trying again.').waitFor()
  await proxy.start()
  await live(page)
  assert.ok(await page.locator('.banner').isHidden())
}

describe('a proxy that compresses', { concurrency: true }, () => {
  for (const { kind, text } of ALL) {
    test(kind, () => behind({ kind, text: COMPRESSED[kind](text) }, {}, async ({ proxy, relay, open }) => {
      const page = await open()
      await signIn(page, TOKEN)
      await live(page)
      // It does compress what it should.
      const script = await page.evaluate(async () => (await fetch('console.js')).headers.get('content-encoding'))
      assert.ok(script, `${kind} does not compress`)
      // The numbers move in time, and a message is there before the next ones could push it out of a buffer.
      await visit(page, '#tail?source=demo&room_id=room')
      await page.getByRole('heading', { name: 'Room room' }).waitFor()
      await live(page)
      await relay.notify('room', 'at once')
      await page.locator('.message').getByText('at once').waitFor()
    }))
  }
})

/** A block of nginx in the docs that is a part of a server, by what it contains. */
function part(words) {
  const text = fs.readFileSync(path.join(__dirname, '../..', PAGE), 'utf8')
  const found = [...text.matchAll(/^```nginx\n(.*?)^```/gms)].map(([, block]) => block).filter(block => block.includes(words) && !block.includes('server {'))
  assert.equal(found.length, 1, words)
  return found[0]
}
const nginx = () => ALL.find(({ kind }) => kind === 'nginx')
/** The server of the docs with something in the place of its location, or before it. */
const server = (more, instead) => ({ kind: 'nginx', text: nginx().text.replace(/    location \/ \{.*?\n    \}\n/s, location => more + (instead ? '' : location)) })

describe('nginx in other ways', { concurrency: true }, () => {
  test('under a path of a site', async () => {
    const block = part('location /relay/')
    await behind(server(block + block.replaceAll('/relay/', '/other/'), true), {}, async ({ proxy, open }) => {
      const page = await open(proxy.url + '/relay')
      await page.goto(proxy.url + '/relay/console')
      await signIn(page, TOKEN)
      await live(page)
      assert.equal(page.url().split('#')[0], proxy.url + '/relay/console/')
      await visit(page, '#tail?source=demo&room_id=room')
      await page.getByRole('heading', { name: 'Room room' }).waitFor()
      await live(page)
      const body = new URLSearchParams({ source: 'demo', room_id: 'room', data: 'below', sign: md5('demo' + 'room' + 'below' + KEY) })
      const answer = await proxy.request('POST', '/relay/api/notify', body.toString(), { 'Content-Type': 'application/x-www-form-urlencoded' })
      assert.match(answer.text, /^\{"code":1,/)
      await page.locator('.message').getByText('below').waitFor()
      for (const { url } of page.requests.map(request => ({ url: request.url() }))) assert.ok(url.startsWith('data:') || url.startsWith(proxy.url + '/relay/'), url)
      // The same tab has no token for the relay under another path.
      await page.goto(proxy.url + '/other/console/')
      await page.getByLabel('Admin token').waitFor()
      await page.goto(proxy.url + '/relay/console/')
      await live(page)
    })
  })

  test('only for some addresses', async () => {
    const block = part('(console|api)')
    await behind(server(block.replace('192.0.2.0/24', '127.0.0.1')), {}, async ({ proxy, open }) => {
      const page = await open()
      await signIn(page, TOKEN)
      await live(page)
      // Another address gets neither the page nor a number.
      for (const target of ['/console/', '/console/console.js', '/api/stats']) assert.equal((await proxy.request('GET', target, undefined, BEARER)).status, 403, target)
    })
  })

  test('with the API refused: the console says that it is the proxy', () => behind(server(part('(api|metrics)')), {}, async ({ open }) => {
    const page = await open()
    await signIn(page, TOKEN)
    await page.getByText('The proxy refuses: HTTP 403.').waitFor()
  }))

  test('with a login of its own, by a cookie', () => {
    const gate = '    if ($cookie_gate != "open") { return 302 https://login.example.org/; }\n'
    return behind(server(gate), {}, async ({ proxy, open }) => {
      const page = await open(undefined, { storageState: { cookies: [{ name: 'gate', value: 'open', domain: proxy.name, path: '/', expires: -1, httpOnly: true, secure: true, sameSite: 'Lax' }], origins: [] } })
      await signIn(page, TOKEN)
      await live(page)
      // When that login ends, the console does not say that relay is away.
      await page.context().clearCookies()
      await visit(page, '#rooms')
      await page.getByText('The proxy leads to another page, perhaps to a login of its own. Load this page again.').waitFor()
    })
  })

  test('without the name of the host, for a relay that does not trust it', () => {
    const { kind, text } = nginx()
    return behind({ kind, text: text.replace(/proxy_set_header (Host|X-Forwarded-For) .*;/g, '') }, { first: 'origins = ["https://shop.example.org"]\n' }, async ({ relay, open }) => {
      const page = await open()
      await signIn(page, TOKEN)
      await live(page)
      await visit(page, '#sources')
      await page.getByRole('button', { name: 'Emit…' }).first().click()
      const dialog = page.locator('dialog[open]')
      await dialog.getByLabel('Name of the event').fill('news')
      await dialog.getByRole('button', { name: 'Emit', exact: true }).click()
      await dialog.getByText('Done: 0 sessions on this relay.').waitFor()
      assert.deepEqual(relay.log.filter(line => line.includes('origin')), [])
    })
  })
})

test('the address of [admin] has metrics, and not the console', async () => {
  const port = await freePort(), relay = await start(0, configuration(`[admin]\ntoken = "${TOKEN}"\nlisten = ["127.0.0.1:${port}"]\n`))
  try {
    for (const [target, status] of [['/metrics', 200], ['/console/', 404], ['/api/live', 404]]) {
      assert.equal((await fetch(`http://127.0.0.1:${port}${target}`, { headers: BEARER })).status, status, target)
    }
  } finally {
    await relay.stop()
  }
})
