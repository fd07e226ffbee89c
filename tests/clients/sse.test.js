'use strict'
// EventSource of a real browser (docs/protocol.md, Server-Sent Events).
const assert = require('node:assert/strict')
const net = require('node:net')
const { test, before, after } = require('node:test')
const { chromium } = require('playwright-core')
const { start, configuration, login, until } = require('./relay')

let pages, browser, page
before(async () => {
  pages = await start()
  const executablePath = process.env.CHROMIUM || '/usr/bin/chromium'
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
  page = await browser.newPage()
  await page.goto(pages.url + '/demo/')
})
after(async () => {
  await browser.close()
  await pages.stop()
})

/** A proxy that passes bytes on and keeps the requests; it hangs up where relay does, or is not there. */
async function listenBefore(relay) {
  const requests = []
  const server = net.createServer(client => {
    const upstream = net.connect(relay.port, '127.0.0.1')
    let request = ''
    client.on('data', bytes => {
      if (request === '') requests.push('')
      request += bytes
      requests[requests.length - 1] = request
    })
    client.pipe(upstream).pipe(client)
    for (const [one, other] of [[client, upstream], [upstream, client]]) one.on('error', () => other.destroy()).on('close', () => other.destroy())
  })
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  return { requests, url: `http://127.0.0.1:${server.address().port}`, close: () => server.close() }
}

/** Opens `window.source`, which keeps what it gets in `window.got`, and its states after errors in `window.states`. */
const open = (url, names = [], options = {}) => page.evaluate(([url, names, options]) => {
  if (window.source) window.source.close()
  const source = window.source = new EventSource(url, options)
  window.got = []
  window.states = []
  window.opened = 0
  const keep = e => window.got.push([e.type, e.data, e.lastEventId])
  source.onmessage = keep
  source.onopen = () => window.opened++
  source.onerror = () => window.states.push(source.readyState)
  for (const name of names) source.addEventListener(name, keep)
}, [url, names, options])
const got = () => page.evaluate(() => window.got)
const states = () => page.evaluate(() => window.states)
const opened = count => until('open', () => page.evaluate(count => window.opened >= count, count))

test('an EventSource gets messages and events', async t => {
  const relay = await start(0, configuration('[admin]\ntoken = "token of the test"\n'))
  t.after(() => relay.stop())
  for (const [format, options] of [['', {}], ['&format=text', { withCredentials: true }]]) {
    await open(`${relay.url}/sse?${login('room')}${format}`, ['refreshPage', 'disconnect'], options)
    await opened(1)
    await relay.notify('room', 'one\r\ntwo\n 你好 𝄞')
    const [type, data, id] = await until('a message', async () => (await got())[0])
    const text = format ? data : JSON.parse(data).data
    assert.deepEqual([type, text], ['message', format ? 'one\ntwo\n 你好 𝄞' : 'one\r\ntwo\n 你好 𝄞'])
    if (!format) assert.equal(JSON.parse(data).id, id)
    const token = 'token of the test'
    await fetch(relay.url + '/api/refresh', { method: 'POST', body: new URLSearchParams({ token, source: 'demo' }) })
    assert.deepEqual(await until('an event', async () => (await got())[1]), ['refreshPage', 'null', id], 'the id stays')
    await fetch(relay.url + '/api/disconnect', { method: 'POST', body: new URLSearchParams({ token, source: 'demo', userid: '7' }) })
    const end = await until('the end', async () => (await got())[2])
    assert.deepEqual([end[0], JSON.parse(end[1])], ['disconnect', { code: 1008, reason: 'disconnected by the operator' }])
  }
  await page.evaluate(() => window.source.close())
  await relay.stop()
})

test('an EventSource comes back after a restart and says what it has', async t => {
  let relay = await start(0, configuration(''))
  t.after(() => relay.stop())
  const port = relay.port
  const proxy = await listenBefore(relay)
  await open(`${proxy.url}/sse?${login('room')}`)
  await opened(1)
  const header = request => (/\r\nlast-event-id: (\S+)\r\n/i.exec(request) || [])[1]
  assert.equal(header(proxy.requests[0]), undefined)

  // It knows its position although no message has come.
  await relay.stop()
  relay = await start(port, configuration(''))
  await opened(2)
  const first = header(proxy.requests.at(-1))
  assert.match(first, /^[0-9a-v]{17}$/)

  await relay.notify('room', 'after the restart')
  const [, data, id] = await until('a message', async () => (await got())[0])
  assert.equal(JSON.parse(data).data, 'after the restart')
  assert.ok(id > first)
  await relay.stop('SIGKILL')
  relay = await start(port, configuration(''))
  await opened(3)
  assert.equal(header(proxy.requests.at(-1)), id)
  assert.ok((await states()).every(state => state === 0), 'it was never closed for good')
  await page.evaluate(() => window.source.close())
  proxy.close()
  await relay.stop()
})

test('an EventSource comes back to a full relay, but not after a refusal', async t => {
  const relay = await start(0, configuration('[limits]\nconnections = 3\n'))
  t.after(() => relay.stop())
  const query = login('room')
  const others = await Promise.all([1, 2, 3].map(async () => {
    const other = net.connect(relay.port, '127.0.0.1')
    other.write(`GET /sse?${query}&format=lines HTTP/1.1\r\nHost: relay\r\n\r\n`)
    await new Promise(resolve => other.once('data', resolve))
    return other
  }))
  await open(`${relay.url}/sse?${query}`)
  await until('an error', async () => (await states()).length > 0)
  assert.equal((await states())[0], 0)
  others.slice(1).forEach(other => other.destroy())
  // An EventSource calls the answer of a full relay open, too, so it is a message that shows the difference.
  await until('a message', async () => {
    await relay.notify('room', 'a free place').catch(() => {})
    return (await got()).length > 0
  })
  others[0].destroy()
  await open(`${relay.url}/sse?${query.replace(/sign=\w+/, 'sign=wrong')}`)
  // As long as the places of those that have just left are not free, the answer is still that relay is full.
  await until('a refusal', async () => (await states()).at(-1) === 2)
  await relay.stop()
})
