'use strict'
// An attack on the operator by the fields of clients: whatever they have is shown as text, in every view.
const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { until } = require('./relay')
const { close, launch, member, open, quiet, relayWith, settled, text, visit } = require('./console_page')

const MARKUP = '<img src=x onerror="window.evil=1"><svg onload=window.evil=1>'
const SCRIPT = '</script><script>window.evil=1</script>'
const RTL = 'invoice\u202egpj.exe\u2066\u200f'
const LONG = 'W'.repeat(8000)
/** What can be in a login and in data, but not in a header or the name of a room. */
const CONTROL = 'a\u0000b\u0007c\u001b[31m\u009b\u2028d'
const NAMES = [MARKUP, SCRIPT, RTL, CONTROL, LONG, '__proto__', 'constructor', '{{7*7}}${7*7}', 'javascript:window.evil=1', '" onmouseover="window.evil=1', '&lt;b&gt;&#x41;', '👨‍👩‍👧', 'ﷺ'.repeat(300), 'z\u0300\u0301\u0302'.repeat(500)]

let browser, relay, page, clients = []
before(async () => {
  browser = await launch()
  relay = await relayWith()
  for (const [index, name] of NAMES.entries()) {
    const header = Buffer.from(name.replace(/[\u0000-\u001f]/g, '')).toString('latin1'), next = NAMES[(index + 1) % NAMES.length]
    clients.push(await member(relay, `${room(name)},evil`, { userid: user(name), username: user(next), ext_info: name }, { Referer: `http://x/${header.slice(0, 1000)}`, 'User-Agent': header.slice(0, 1000) }))
  }
  clients.push(await member(relay, 'evil', { userid: 'long' }, { Referer: 'http://x/' + LONG }))
  page = await open(browser, relay)
})
after(async () => {
  for (const client of clients) client.terminate()
  try { if (page) await close(page) } finally {
    await browser.close()
    await relay.stop()
  }
})
/** The first characters of a name, as far as a room or a user can have them: 128 and 512 bytes. */
const room = name => cut(name.replace(/[,\u0000-\u001f\u007f]/g, ''), 120)
const user = name => cut(name, 512)
function cut(name, bytes) {
  let found = ''
  for (const c of name) {
    if (Buffer.byteLength(found + c) > bytes) break
    found += c
  }
  return found
}
/** Nothing ran, nothing was loaded, nothing became an element, the layout holds. */
async function harmless(where) {
  const found = await page.evaluate(() => ({
    evil: window.evil, title: document.title,
    elements: document.querySelectorAll('main img, main script, main svg[onload], main iframe, dialog img, dialog script').length,
    handlers: [...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()).filter(name => /^on|^style$|^srcdoc$|^formaction$/.test(name)),
    links: [...document.querySelectorAll('[href], [src], [action]')].map(e => e.getAttribute('href') || e.getAttribute('src') || e.getAttribute('action')).filter(to => !/^(#[a-z]+(\?|$)|[a-z]+\.(js|css)$|data:image\/svg)/.test(to)),
    wide: document.documentElement.scrollWidth - innerWidth,
    // A bidirectional control that was not made visible could turn around what the console itself says.
    controls: /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\u200e\u200f]/.test(document.body.innerText)
  }))
  assert.deepEqual(found, { evil: undefined, title: found.title, elements: 0, handlers: [], links: [], wide: Math.min(found.wide, 0), controls: false }, where)
  assert.match(found.title, /^[\w ?]+ · relay$/)
  assert.deepEqual(page.wrong, [], where)
  const elsewhere = page.requests.map(request => request.url()).filter(url => !url.startsWith(relay.url + '/console/') && !url.startsWith(relay.url + '/api/') && !url.startsWith('data:'))
  assert.deepEqual(elsewhere, [], where)
  // Rows keep their layout.
  const heights = await page.locator('tbody tr').evaluateAll(rows => rows.map(row => row.getBoundingClientRect().height))
  assert.ok(heights.every(height => height < 260), `${where}: rows are ${Math.max(0, ...heights)} px high`)
}

test('tables show names as text', async () => {
  for (const [view, some] of [['sessions?source=demo', ['<img src=x onerror=', '</script><script>', 'U+202E', '__proto__', '{{7*7}}']], ['users?source=demo', ['<img src=x', 'U+202E', 'constructor']],
    ['rooms?source=demo', ['<svg onload=', 'U+202E', '__proto__', 'javascript:window']], ['clients', []], ['sources', ['demo']], ['overview', []]]) {
    await visit(page, '#' + view)
    if (view !== 'overview') await settled(page)
    for (const words of some) assert.ok((await text(page)).includes(words), `${view} shows ${words}`)
    await harmless(view)
  }
})

test('a phone shows them, too, and nothing is wider than it', async () => {
  await page.setViewportSize({ width: 360, height: 740 })
  for (const view of ['sessions?source=demo', 'users?source=demo', 'rooms?source=demo', 'clients']) {
    await visit(page, '#' + view)
    await settled(page)
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
    assert.ok(wide <= 0, `${view} is ${wide} px too wide`)
  }
  await page.setViewportSize({ width: 1280, height: 900 })
})

test('the page of each session, the user, the room', async () => {
  for (const name of NAMES) {
    await visit(page, `#why?source=demo&userid=${encodeURIComponent(user(name))}`)
    await settled(page)
    await page.getByText('Connected: 1 session').waitFor()
    await harmless(`the user ${name.slice(0, 40)}`)
    await page.getByRole('row').nth(1).getByRole('button', { name: /^Session/ }).first().click()
    await page.getByText('What has happened').waitFor()
    await harmless(`the session of ${name.slice(0, 40)}`)
    await visit(page, `#tail?source=demo&room_id=${encodeURIComponent(room(name))}`)
    await page.getByText('1 now').waitFor()
    await harmless(`the room ${name.slice(0, 40)}`)
  }
})

test('a long text can be seen whole', async () => {
  await visit(page, `#why?source=demo&userid=${user(LONG)}`)
  await page.getByRole('row').nth(1).getByRole('button', { name: /^Session/ }).first().click()
  await page.getByRole('button', { name: 'Show all 8000 characters' }).first().click()
  await until('all of it', async () => (await page.locator('dialog pre').innerText()).length === 8000)
  await page.keyboard.press('Escape')
  await until('closed', async () => await page.locator('dialog').count() === 0)
})

test('the data of messages, in the tail and in dialogs', async () => {
  await visit(page, '#tail?source=demo&room_id=evil')
  await page.getByRole('heading', { name: 'Room evil' }).waitFor()
  await until('the stream', async () => { await relay.notify('evil', 'begin'); return page.getByText('begin').count() })
  for (const data of [...NAMES, CONTROL, JSON.stringify({ __proto__: 1, html: MARKUP, cut: '\ud83d' }), '{"a":"\\ud83d \\u202e <b>"}', '[[[[[[1]]]]]]', '\u202e'.repeat(3000)]) await relay.notify('evil', data)
  await page.getByText('a\u2400b\u2407c\u241b[31mU+009BU+2028d').first().waitFor()
  await until('the last', async () => /U\+202EU\+202EU\+202E/.test(await page.locator('.message').last().innerText()))
  assert.ok((await text(page)).includes(MARKUP))
  for (const button of await page.getByRole('button', { name: 'Whole' }).all()) await button.click()
  await harmless('the tail')
  // A client says it, with a name of an event and in a room.
  clients[0].send(JSON.stringify({ event: 'postMsg', room_id: 'evil', data: MARKUP + ' from a client' }))
  await page.locator('.message', { hasText: /<img src=x.*from a client/ }).waitFor()
  await harmless('the tail, from a client')
})

test('the log, with what clients were refused for', async () => {
  for (const name of [MARKUP, SCRIPT, RTL, CONTROL]) await fetch(`${relay.url}/ws?${new URLSearchParams({ source: name, room_ids: name, sign: 'x' })}`)
  await visit(page, '#log?level=debug')
  await until('lines', () => page.locator('.follow .line').count())
  await harmless('the log')
})

test('actions name their target as text', async () => {
  for (const name of [MARKUP, RTL, LONG]) {
    await visit(page, `#why?source=demo&userid=${encodeURIComponent(user(name))}`)
    await page.getByRole('button', { name: 'Disconnect…' }).click()
    await page.locator('dialog .reach').getByText('1 session').waitFor()
    await harmless(`the dialog about ${name.slice(0, 40)}`)
    const box = await page.locator('dialog').boundingBox()
    assert.ok(box.width <= 600 && box.height <= 860, JSON.stringify(box))
    await page.keyboard.press('Escape')
  }
})

test('an address of the console with hostile parameters', async () => {
  for (const hash of [`#${MARKUP}`, '#__proto__', '#overview?__proto__=1&constructor=2', '#%', '#sessions?source=%00%ff&search=%', `#log?file=__proto__&level=${MARKUP}`, '#session', `#tail?source=demo&room_id=${encodeURIComponent('a,b')}`]) {
    await visit(page, hash)
    await page.locator('main h1').waitFor()
    await harmless(hash)
  }
  await quiet(page, relay)
})
