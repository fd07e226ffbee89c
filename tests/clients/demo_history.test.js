'use strict'
// The demo pages about history in a real browser: late joiners, cuts and restarts of relay, and six kinds of client in one room
// beside the real clients that they stand for.
const assert = require('node:assert/strict')
const { execFileSync, spawn } = require('node:child_process')
const readline = require('node:readline')
const { after, before, test } = require('node:test')
const { chromium } = require('playwright-core')
const { WebSocket } = require('ws')
const { cutter } = require('./cutter')
const { PATIENCE, start, login, until } = require('./relay')

const EVIL = '<img src=x onerror="document.title=\'evil\'"><b>bold</b>'

let relay, browser
before(async () => {
  relay = await start()
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox'] })
})
after(async () => {
  await browser.close()
  assert.equal(await relay.stop(), 0)
})

/** A page on a fresh profile, with what went wrong in it. */
async function open(path, base = relay.url) {
  const context = await browser.newContext({ locale: 'en-US' })
  const page = await context.newPage()
  page.setDefaultTimeout(PATIENCE)
  page.wrong = []
  page.on('pageerror', error => page.wrong.push(String(error)))
  page.on('console', line => {
    // What the browser itself says of a relay that is away.
    const away = /WebSocket connection to|net::ERR_/.test(line.text())
    if (line.type() === 'error' && !away) page.wrong.push(line.text())
  })
  await page.goto(`${base}/demo/${path}`)
  await connected(page)
  return page
}
const connected = page => page.locator('.state.on').waitFor()
const close = async (...pages) => {
  for (const page of pages) {
    assert.deepEqual(page.wrong, [], page.url())
    assert.notEqual(await page.title(), 'evil')
    await page.context().close()
  }
}
const away = pages => Promise.all(pages.map(page => until('the page to notice', async () => !await page.locator('.state.on').count())))
const notify = async (room, texts) => { for (const text of texts) await relay.notify(room, text) }
const texts = (count, from = 0) => Array.from({ length: count }, (_, i) => `message ${from + i}`)
const ids = page => page.locator('[data-id]').evaluateAll(all => all.map(e => e.getAttribute('data-id')))
const bubbles = page => page.locator('[data-id] .bub').allTextContents()
const same = (page, expected) => until(`${expected.length} messages`, async () => JSON.stringify(await bubbles(page)) === JSON.stringify(expected))
  .catch(async error => assert.deepEqual(await bubbles(page), expected, error.message))
const say = async (page, text) => {
  await page.locator('#text').fill(text)
  await page.locator('#text').press('Enter')
}
const noted = (page, text) => page.getByText(text, { exact: true }).last().waitFor()

test('history: whoever comes later sees the last 50 messages, and then all that follow', async () => {
  await notify('history_room', texts(60))
  const one = await open('history.html')
  await same(one, texts(50, 10))
  await noted(one, 'the last 50 messages, from before you came')
  await noted(one, '↑ said before you came')
  await say(one, EVIL)
  await same(one, [...texts(50, 10), EVIL])
  await until('the tick', async () => /✓/.test(await one.locator('.me small').last().textContent()))
  const two = await open('history.html?name=li')
  await same(two, [...texts(49, 11), EVIL])
  await say(two, 'hello 你好 𝄞')
  await same(one, [...texts(50, 10), EVIL, 'hello 你好 𝄞'])
  await two.reload()
  await same(two, [...texts(48, 12), EVIL, 'hello 你好 𝄞'])
  assert.equal(await two.locator('.m.me').count(), 1, 'after a reload its own message is still its own')
  // Another room is another chat.
  const other = await open('history.html?room=' + encodeURIComponent('房间 2'))
  await say(other, 'elsewhere')
  await same(other, ['elsewhere'])
  await close(one, two, other)
})

test('history: pages that come while others talk lose nothing and double nothing', async () => {
  const room = 'busy', pages = [], sent = []
  let stop = false
  const talk = (async () => {
    for (let i = 0; !stop; i++) {
      await relay.notify(room, `message ${i}`)
      sent.push(`message ${i}`)
      // Not as fast as relay can: a browser on a busy machine would fall behind, and then relay leaves messages out.
      await new Promise(resolve => setTimeout(resolve, 10))
    }
  })()
  for (let i = 0; i < 4; i++) pages.push(await open('history.html?room=' + room))
  stop = true
  await talk
  const all = await Promise.all(pages.map(async page => {
    await until('the last', async () => (await bubbles(page)).at(-1) === sent.at(-1))
    return { texts: await bubbles(page), ids: await ids(page) }
  }))
  for (const page of all) {
    const count = page.texts.length
    assert.ok(count >= Math.min(50, sent.length), String(count))
    assert.deepEqual(page.texts, sent.slice(-count), 'each once, in order')
    assert.deepEqual(page.ids, all[0].ids.slice(-count))
    assert.equal(new Set(page.ids).size, count)
  }
  await close(...pages)
})

test('history: a cut, and a button that disconnects, lose nothing', async () => {
  const proxy = await cutter(relay.port)
  try {
    const room = 'cut', page = await open('history.html?room=' + room, proxy.url), other = await open('history.html?room=' + room)
    await notify(room, texts(5))
    await same(page, texts(5))
    proxy.refusing = true
    proxy.cut()
    await away([page])
    await notify(room, texts(3, 5))
    await say(page, 'written without a connection')
    await noted(page, 'waiting for connection')
    proxy.refusing = false
    const whole = [...texts(8), 'written without a connection']
    await same(page, whole)
    await noted(page, 'connected again, missed: 3')
    await same(other, whole)
    await page.locator('#cut').click()
    await noted(page, 'disconnected')
    await say(page, 'written while away')
    await notify(room, texts(2, 8))
    assert.deepEqual(await bubbles(page), whole)
    await page.locator('#cut').click()
    whole.push(...texts(2, 8), 'written while away')
    await same(page, whole)
    await same(other, whole)
    await noted(page, 'connected again, missed: 2')
    assert.deepEqual(await ids(page), await ids(other))
    assert.equal(await page.locator('.gap').count(), 0, 'nothing is missing')
    await close(page, other)
  } finally {
    await proxy.stop()
  }
})

test('history: after a restart of relay the page says that messages are missing, and goes on', async () => {
  const room = 'restarted', one = await open('history.html?room=' + room), two = await open('history.html?room=' + room)
  await notify(room, texts(3))
  for (const page of [one, two]) await same(page, texts(3))
  assert.equal(await relay.stop(), 0)
  await away([one, two])
  await say(one, 'said meanwhile')
  relay = await start(relay.port)
  await notify(room, ['first after the restart'])
  await Promise.all([one, two].map(connected))
  for (const page of [one, two]) {
    await noted(page, 'Some messages are missing here: relay was restarted, or more was said than it keeps.')
    await until('both', async () => (await bubbles(page)).length === 5)
  }
  // How soon the page is back decides which of the two is first, but it is the same one for all.
  const order = await bubbles(one)
  assert.deepEqual([order.slice(0, 3), order.slice(3).sort()], [texts(3), ['first after the restart', 'said meanwhile']])
  assert.deepEqual([await bubbles(two), await ids(two)], [order, await ids(one)])
  const late = await open('history.html?room=' + room)
  await same(late, order.slice(3))
  assert.equal(await late.locator('.gap').count(), 0)
  // A client that was away for longer than the room keeps is told too.
  await two.locator('#cut').click()
  await notify(room, texts(105, 3))
  await two.locator('#cut').click()
  await same(two, [...order, ...texts(100, 8)])
  assert.equal(await two.locator('.gap').count(), 2)
  await close(one, two, late)
})

test('history: the commands that the page shows work', async () => {
  const page = await open('history.html?room=' + encodeURIComponent("it's & so on"))
  await page.locator('#term').evaluate(e => { e.open = true })
  await say(page, 'from the page')
  await same(page, ['from the page'])
  assert.match(execFileSync('bash', ['-c', (await page.locator('#write').textContent()).replace('curl ', 'curl -s ')]).toString(), /"code":1/)
  await same(page, ['from the page', 'hello from curl'])
  const reader = spawn('bash', ['-c', 'exec ' + (await page.locator('#read').textContent()).replace('curl ', 'curl -s ')], { stdio: ['ignore', 'pipe', 'inherit'] })
  const lines = []
  readline.createInterface({ input: reader.stdout }).on('line', line => { if (line) lines.push(JSON.parse(line)) })
  await until('both', () => lines.filter(line => line.event === 'newMsg').length === 2)
  await say(page, 'and live')
  await until('the third', () => lines.length === 4)
  await same(page, ['from the page', 'hello from curl', 'and live'])
  assert.deepEqual(lines.slice(1).map(line => line.id), await ids(page))
  assert.equal(lines[0].event, 'recovery')
  reader.kill()
  await close(page)
})

/** A row of the price board: price, and how it came. */
async function price(page, room) {
  const row = page.locator('#board tr', { has: page.locator('th small', { hasText: new RegExp(`^${room}$`) }) })
  const visible = async locator => (await locator.innerText()).replace(/\s+/g, ' ').trim()
  return { price: await row.locator('.price > span').first().textContent(), how: (await visible(row.locator('td').last())).replace(/^[\d:]+ ?/, '') }
}
const shows = (page, room, expected, how) => until(`${room} ${expected} ${how}`, async () => {
  const now = await price(page, room)
  return now.price === expected && now.how === how
}).catch(async error => assert.deepEqual(await price(page, room), { price: expected, how }, error.message))

test('prices: the last values are there at once, and change live', async () => {
  await notify('price-gold', ['1970', '1980'])
  const page = await open('prices.html')
  await shows(page, 'price-gold', '1980', 'kept by relay')
  await shows(page, 'price-oil', '–', 'not yet')
  // From the page.
  await page.locator('#what').selectOption('price-tea')
  await page.locator('#price').fill('12.5')
  await page.locator('#price').press('Enter')
  await shows(page, 'price-tea', '12.5', 'live')
  // By the command that the page shows.
  await page.locator('#what').selectOption('price-gold')
  await page.locator('#price').fill('1999')
  const command = await page.locator('#cmd').textContent()
  assert.match(command, /^curl -H 'Authorization: Bearer demo' -d source=demo -d room_id=price-gold -d data=1999 http:\S+\/api\/notify$/)
  assert.match(execFileSync('bash', ['-c', command.replace('curl ', 'curl -s ')]).toString(), /"code":1/)
  await shows(page, 'price-gold', '1999', 'live')
  assert.equal(await page.locator('#board .up').textContent(), '▲ +1.0 %')
  // Late, and loaded again.
  const late = await open('prices.html')
  for (const board of [late, page]) {
    if (board === page) await page.reload()
    await shows(board, 'price-gold', '1999', 'kept by relay')
    await shows(board, 'price-tea', '12.5', 'kept by relay')
    await shows(board, 'price-oil', '–', 'not yet')
  }
  await notify('price-oil', texts(30))
  await notify('price-oil', [EVIL])
  for (const board of [late, page]) await shows(board, 'price-oil', EVIL.slice(0, 40), 'live')
  // The market moves until it is stopped.
  const changes = () => ids(late)
  const first = String(await changes())
  await page.locator('#walk').click()
  await until('changes', async () => String(await changes()) !== first)
  await page.locator('#walk').click()
  assert.equal(await page.locator('#walk').innerText(), 'Move the market')
  await until('the same on both', async () => String(await ids(page)) === String(await ids(late)))
  await close(page, late)
})

test('prices: after a cut the newest values come, and after a restart old ones are marked', async () => {
  const proxy = await cutter(relay.port)
  try {
    const page = await open('prices.html', proxy.url)
    await notify('price-gold', ['2000'])
    await notify('price-tea', ['12'])
    await shows(page, 'price-gold', '2000', 'live')
    await shows(page, 'price-tea', '12', 'live')
    proxy.refusing = true
    proxy.cut()
    await away([page])
    await notify('price-gold', ['2001', '2002', '2003'])
    proxy.refusing = false
    await shows(page, 'price-gold', '2003', 'kept by relay')
    assert.equal(await relay.stop(), 0)
    await away([page])
    relay = await start(relay.port)
    await connected(page)
    await shows(page, 'price-gold', '2003', 'may be old')
    await shows(page, 'price-tea', '12', 'may be old')
    const late = await open('prices.html')
    await shows(late, 'price-gold', '–', 'not yet')
    await notify('price-gold', ['2004'])
    for (const board of [page, late]) await shows(board, 'price-gold', '2004', 'live')
    await close(page, late)
  } finally {
    await proxy.stop()
  }
})

/** Real clients of six kinds in a room, from all that it keeps on: for each the ids that it got, or the data if it gets no ids. */
function members(room) {
  const all = { ws: [], text: [], sio2: [], sio4: [], lines: [], listen: [] }, ends = []
  const address = relay.url.replace('http', 'ws') + '/ws?' + login(room, { since: 'all' })
  for (const [name, more, read] of [['ws', '', text => { const m = JSON.parse(text); if (m.event === 'newMsg') all.ws.push(m.id) }], ['text', '&format=text', text => all.text.push(String(text))]]) {
    const socket = new WebSocket(address + more)
    socket.on('message', read)
    ends.push(() => socket.close(), name)
  }
  for (const [name, version, transports] of [['sio2', '2.5', ['websocket']], ['sio4', '4.8', ['polling']]]) {
    const library = require('socket.io-client-' + version)
    const socket = (library.io || library)(`${relay.url}?${login(room, { since: 'all' })}`, { forceNew: true, transports })
    socket.on('newMsg', m => all[name].push(m.id))
    ends.push(() => socket.close(), name)
  }
  for (const [name, program, args] of [['lines', 'curl', ['-sN', `${relay.url}/sse?${login(room)}&format=lines&since=all`]],
    ['listen', relay.child.spawnfile, ['listen', room, '--json', '--since', 'all', '--url', relay.url]]]) {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    readline.createInterface({ input: child.stdout }).on('line', line => {
      const m = line.startsWith('{') ? JSON.parse(line) : {}
      if (m.id && m.room_id) all[name].push(m.id)
    })
    ends.push(() => child.kill(), name)
  }
  all.close = () => ends.forEach(end => typeof end === 'function' && end())
  return all
}
const verdict = (page, count) => until(`the verdict ${count}`, async () => await page.locator('#verdict').innerText() === `✓ All six have the same ${count} ids in the same order.`)
  .catch(async error => assert.fail(`${error.message}: ${await page.locator('#verdict').innerText()} ${JSON.stringify(await page.evaluate(() => six.map(c => c.ids.length)))}`))
const lists = page => page.evaluate(() => six.map(client => client.ids))

test('six kinds of client get the same ids in the same order, as the real ones do', async () => {
  const room = 'six_room'
  await notify(room, texts(110))
  const page = await open('six.html')
  await verdict(page, 100)
  const real = members(room)
  try {
    await until('what is kept', () => ['ws', 'text', 'sio2', 'sio4', 'lines', 'listen'].every(name => real[name].length === 100))
    // A page, a backend and a client send at once, and another page comes meanwhile. Within the second in which the sixth
    // client asks for nothing, this is less than the room keeps.
    const socket = new WebSocket(relay.url.replace('http', 'ws') + '/ws?' + login(room))
    await new Promise(resolve => socket.on('open', resolve))
    await page.locator('#text').fill('burst')
    const late = (await Promise.all([
      open('six.html'),
      page.locator('#burst').click(),
      notify(room, texts(10, 110)),
      ...texts(10, 120).map(data => socket.send(JSON.stringify({ event: 'postMsg', data, room_ids: room })))
    ]))[0]
    await verdict(page, 140)
    socket.close()
    const [expected] = await lists(page)
    assert.equal(new Set(expected).size, 140)
    for (const list of await lists(page)) assert.deepEqual(list, expected)
    for (const name of ['ws', 'sio2', 'sio4', 'lines', 'listen']) {
      await until(name, () => real[name].length >= 90)
      assert.deepEqual(real[name], expected, name)
    }
    await until('text', () => real.text.length >= 90)
    const shown = await page.locator('#rows .text').allTextContents()
    assert.deepEqual(real.text, shown.reverse(), 'text has no ids, but the same order')
    // Each client of the page that came meanwhile began somewhere, and from there on has the same.
    await until('all of it', async () => (await lists(late)).every(list => list.at(-1) === expected.at(-1)))
    for (const list of await lists(late)) {
      assert.ok(list.length >= 50, String(list.length))
      assert.deepEqual(list, expected.slice(-list.length))
    }
    assert.equal(await late.locator('#verdict.ok').count(), 1)
    assert.equal(await late.locator('td.x').count(), 0)
    await close(page, late)
  } finally {
    real.close()
  }
})

test('six kinds of client get what they missed, and say what is gone after a restart', async () => {
  const room = 'six_cut', path = 'six.html?room=' + room, proxy = await cutter(relay.port)
  try {
    const page = await open(path, proxy.url)
    const up = () => until('all six', async () => await page.locator('#kinds .up').count() === 6)
    await up()
    await notify(room, texts(3))
    await verdict(page, 3)
    // By its button.
    await page.locator('#cut').click()
    await until('none', async () => !await page.locator('#kinds .up').count())
    await notify(room, texts(7, 3))
    await page.locator('#cut').click()
    await verdict(page, 10)
    // In the background.
    const hide = hidden => page.evaluate(hidden => {
      Object.defineProperty(document, 'hidden', { value: hidden, configurable: true })
      document.dispatchEvent(new Event('visibilitychange'))
    }, hidden)
    await hide(true)
    await until('none', async () => !await page.locator('#kinds .up').count())
    await notify(room, texts(5, 10))
    await hide(false)
    await verdict(page, 15)
    // By the network.
    await up()
    proxy.refusing = true
    proxy.cut()
    await away([page])
    await notify(room, texts(9, 15))
    proxy.refusing = false
    await verdict(page, 24)
    assert.equal(await page.locator('.gap').count(), 0)
    const before = await lists(page)
    await up()
    assert.equal(await relay.stop(), 0)
    await away([page])
    relay = await start(relay.port)
    await notify(room, texts(4, 24))
    await until('all six to say so', async () => (await page.locator('.gap td', { hasText: '!' }).count()) === 6)
    await verdict(page, 28)
    for (const [i, list] of (await lists(page)).entries()) {
      assert.deepEqual(list.slice(0, 24), before[i])
      assert.deepEqual(list, (await lists(page))[0])
    }
    const late = await open(path)
    await verdict(late, 4)
    assert.deepEqual((await lists(late))[5], (await lists(page))[0].slice(-4))
    await close(page, late)
  } finally {
    await proxy.stop()
  }
})
