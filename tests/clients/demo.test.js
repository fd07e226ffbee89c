'use strict'
// Every demo page in a real browser: does what it says, on a fresh profile, with the relay restarted in the middle, without
// an error in its console or a request elsewhere.
const assert = require('node:assert/strict')
const { execFileSync, spawn } = require('node:child_process')
const { once } = require('node:events')
const fs = require('node:fs')
const { test, before, after } = require('node:test')
const { chromium } = require('playwright-core')
const { PATIENCE, configuration, start, until } = require('./relay')

const EVIL = '<img src=x onerror="document.title=\'evil\'"><b>bold</b>'
const REMOTE_KEY = '5iwdf$%sdfss!#$2334ds(%B)'
const PAGES = ['', 'demo/', 'demo/two.html', 'demo/chat.html', 'demo/history.html', 'demo/prices.html', 'demo/six.html', 'demo/message.html', 'demo/monitor.html', 'demo/remote_debug.html', 'demo/remote_debug_show.html']

let relay, browser
before(async () => {
  relay = await start()
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox'] })
})
after(async () => {
  await browser.close()
  await relay.stop()
})

/** A page on a fresh profile, with its console and what went wrong in it. */
async function open(path, { base = relay.url, ...options } = {}) {
  const context = await browser.newContext({ locale: 'en-US', ...options })
  const page = await context.newPage()
  page.setDefaultTimeout(PATIENCE)
  page.wrong = []
  page.lines = []
  page.on('pageerror', error => page.wrong.push(String(error)))
  page.on('console', line => {
    page.lines.push(`${line.type()}: ${line.text()}`)
    // What the browser itself says of a relay that is away.
    const away = /WebSocket connection to|ERR_CONNECTION|ERR_EMPTY_RESPONSE|ERR_SOCKET/.test(line.text())
    if (line.type() === 'error' && !away) page.wrong.push(line.text())
  })
  page.on('request', request => {
    const url = request.url().replace(/^ws/, 'http')
    if (!url.startsWith(base) && !/^(data|blob):/.test(url)) page.wrong.push(url)
  })
  await page.goto(base + '/' + path)
  return page
}
const on = page => page.locator('.state.on').waitFor()
const close = async (...pages) => {
  for (const page of pages) {
    assert.deepEqual(page.wrong, [], page.url())
    assert.notEqual(await page.title(), 'evil')
    await page.context().close()
  }
}
/** Ends the relay, lets the pages notice, does something meanwhile, and starts it again on its port. */
async function restart(pages, meanwhile = async () => {}) {
  assert.equal(await relay.stop(), 0)
  for (const page of pages) await until('the page to notice', async () => !await page.locator('.state.on').count())
  await meanwhile()
  relay = await start(relay.port)
  for (const page of pages) await page.locator('.state.on').waitFor()
}
const count = (page, text) => page.getByText(text, { exact: true }).count()
const seen = (page, text) => until(text, () => count(page, text))

test('the index pages explain the others, and what they say works', async () => {
  for (const path of ['', 'demo/']) {
    const page = await open(path)
    const links = await page.locator('a[href]').evaluateAll(all => all.map(a => a.href))
    assert.ok(links.length >= (path ? 10 : 5), String(links))
    for (const link of new Set(links)) assert.equal((await fetch(link)).status, 200, link)
    await close(page)
  }
  const page = await open('demo/')
  const chat = await open('demo/chat.html?name=li')
  await on(chat)
  const command = await page.locator('#cmd').textContent()
  assert.match(execFileSync('bash', ['-c', command.replace('curl ', 'curl -s ')]).toString(), /"code":1/)
  await seen(chat, 'hello from curl')
  await close(page, chat)
})

test('the index page says how to open it on a phone, and the command that it shows works', async () => {
  const page = await open('demo/')
  assert.ok(await page.locator('#near').isVisible() && !await page.locator('#far').isVisible())
  const command = await page.locator('#listen').textContent()
  assert.equal(command, `relay --listen 0.0.0.0:${relay.port} --allow-demo-keys`)
  assert.equal(await page.locator('#address').textContent(), `http://ADDRESS:${relay.port}/demo/`)
  await close(page)
  // Without the flag relay refuses, as the page says.
  for (const flags of [[], ['--allow-demo-keys']]) {
    const env = { ...process.env }
    delete env.RELAY_CONFIG
    const child = spawn(relay.child.spawnfile, ['--listen', '0.0.0.0:0', ...flags], { stdio: ['ignore', 'ignore', 'pipe'], env })
    let said = ''
    child.stderr.on('data', text => { said += text })
    const ended = once(child, 'exit')
    if (!flags.length) {
      assert.notEqual((await ended)[0], 0)
      assert.match(said, /--allow-demo-keys/)
      continue
    }
    try {
      const [, port] = await until('it to listen', () => /listening on 0\.0\.0\.0:(\d+)/.exec(said))
      // By another name than localhost, the page shows that.
      const phone = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox', '--host-resolver-rules=MAP relay.example 127.0.0.1'] })
      try {
        const page = await phone.newPage({ locale: 'en-US' })
        await page.goto(`http://relay.example:${port}/demo/`)
        assert.ok(await page.locator('#far').isVisible() && !await page.locator('#near').isVisible())
        assert.equal(await page.locator('.here:visible').textContent(), `http://relay.example:${port}/demo/`)
        await page.goto(`http://relay.example:${port}/demo/chat.html?name=li`)
        await page.locator('.state.on').waitFor()
      } finally {
        await phone.close()
      }
    } finally {
      child.kill()
      await ended
    }
  }
})

test('at a relay that cannot serve the demo, every page says so at once', async () => {
  const setting = text => {
    const args = configuration('')
    fs.writeFileSync(args[1], text)
    return args
  }
  const cases = [
    ['[sources.shop]\nsign_key = "a long key of nobody else"\n', /^This relay has no source “(demo|remote_debug)”, so this demo cannot connect\./, /^该 relay 没有名为“(demo|remote_debug)”的源/],
    ['[sources.demo]\nsign_key = "a long key of nobody else"\n[sources.remote_debug]\nsign_key = "a long key of somebody"\n', /^This relay has a source “(demo|remote_debug)” with a key/, /使用自己的密钥/]
  ]
  for (const [text, english, chinese] of cases) {
    const other = await start(0, setting(text))
    try {
      for (const path of PAGES.slice(1)) for (const [locale, wanted] of [['en-US', english], ['zh-CN', chinese]]) {
        const context = await browser.newContext({ locale })
        const page = await context.newPage()
        page.setDefaultTimeout(PATIENCE)
        await page.goto(`${other.url}/${path}`)
        await page.locator('.banner').waitFor()
        assert.match(await page.locator('.banner').innerText(), wanted, path)
        assert.equal(await page.locator('.banner').getAttribute('role'), 'alert')
        await context.close()
      }
    } finally {
      await other.stop()
    }
  }
  // An origin that is not listed: the pages of the relay itself are of one, behind a proxy with another name.
  const strict = await start(0, configuration('[sources.remote_debug]\nsign_key = "' + REMOTE_KEY + '"\n', 'origins = ["https://shop.example.org"]'))
  try {
    for (const path of ['demo/', 'demo/two.html', 'demo/chat.html', 'demo/history.html', 'demo/prices.html', 'demo/six.html', 'demo/message.html', 'demo/remote_debug_show.html']) {
      const page = await browser.newPage({ locale: 'en-US' })
      await page.goto(`${strict.url}/${path}`)
      await page.locator('.banner').waitFor()
      assert.match(await page.locator('.banner').textContent(), /does not allow pages of http:\/\/127\.0\.0\.1:\d+: add it to .origins. in/, path)
      await page.close()
    }
  } finally {
    await strict.stop()
  }
})

test('the front page fits a phone, in both languages, light and dark', async () => {
  for (const locale of ['en-US', 'zh-CN']) {
    for (const colorScheme of ['light', 'dark']) {
      const page = await open('', { locale, colorScheme, viewport: { width: 360, height: 740 } })
      const lang = () => page.evaluate(() => document.documentElement.lang)
      assert.equal(await lang(), locale === 'zh-CN' ? 'zh-CN' : 'en')
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth))
      // The policy of the page allows its own style.
      const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor)
      assert.equal(background, colorScheme === 'dark' ? 'rgb(15, 20, 27)' : 'rgb(236, 239, 244)')
      await page.getByRole('link', { name: locale === 'zh-CN' ? 'English' : '中文' }).click()
      await page.waitForURL(/lang=/)
      assert.equal(await lang(), locale === 'zh-CN' ? 'en' : 'zh-CN')
      await close(page)
    }
  }
})

test('every page fits a phone, speaks Chinese too, and remembers it', async () => {
  for (const path of PAGES.slice(1)) {
    const page = await open(path, { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true })
    const fits = () => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)
    assert.ok(await fits(), path + ' in English')
    const heading = page.locator('h1').first()
    if (path !== 'demo/two.html') {
      await page.getByRole('button', { name: '中文' }).click()
      assert.equal(await page.evaluate(() => document.documentElement.lang), 'zh-CN', path)
      assert.ok(await fits(), path + ' in Chinese')
      await page.reload()
      assert.equal(await page.evaluate(() => document.documentElement.className), 'zh', path)
      await page.getByRole('button', { name: 'English' }).click()
    }
    assert.ok(await heading.count(), path)
    await close(page)
  }
  const chinese = await open('demo/', { locale: 'zh-CN' })
  assert.equal(await chinese.evaluate(() => document.documentElement.className), 'zh')
  await close(chinese)
})

test('chat', async () => {
  const li = await open('demo/chat.html')
  assert.ok(!await li.locator('#chat').isVisible(), 'a name first')
  await li.locator('#name').fill('li')
  await li.locator('#name').press('Enter')
  await on(li)
  const wang = await open('demo/chat.html?name=' + encodeURIComponent('王 & <b>'))
  await on(wang)
  await until('who joined', async () => await count(li, '王 & <b> joined'))
  const say = async (page, text) => {
    await page.locator('#text').fill(text)
    await page.locator('#text').press('Enter')
  }
  await say(li, 'hello 你好 𝄞')
  await seen(wang, 'hello 你好 𝄞')
  await say(wang, EVIL)
  await seen(li, EVIL)
  assert.equal(await count(wang, EVIL), 1, 'its own stands there once')
  await until('the tick', async () => /✓/.test(await wang.locator('.me small').last().textContent()))
  await relay.notify('chat_room', '{"from":"backend"}')
  await seen(li, '{"from":"backend"}')
  await restart([li, wang], () => say(li, 'while it was away'))
  await seen(li, 'reconnected')
  await until('its tick', async () => /✓/.test(await li.locator('.me small').last().textContent()))
  await say(li, 'and after')
  await seen(wang, 'and after')
  // Who came back later than the message was not there for it.
  assert.equal(await count(li, 'while it was away'), 1)
  assert.ok(await count(wang, 'while it was away') <= 1)
  // Another room is another chat.
  const other = await open('demo/chat.html?name=x&room=' + encodeURIComponent('房间 2'))
  await on(other)
  await say(other, 'elsewhere')
  await until('its tick', async () => /✓/.test(await other.locator('.me small').last().textContent()))
  assert.equal(await count(li, 'elsewhere'), 0)
  await wang.context().close()
  await until('who left', () => count(li, '王 & <b> left'))
  await close(li, other)
})

test('message', async () => {
  const page = await open('demo/message.html')
  await on(page)
  const lists = async () => Promise.all(['room1', 'room2', 'room3', 'room4'].map(room => page.locator(`#${room} .text`).allTextContents()))
  const await_ = expected => until(JSON.stringify(expected), async () => JSON.stringify(await lists()) === JSON.stringify(expected))
  await page.locator('#data').fill(EVIL + ' a+b=&%41\n第二行')
  await page.locator('#post').click()
  const text = EVIL + ' a+b=&%41\n第二行'
  await await_([[text], [text], [], []])
  await until('the answer', async () => /"code":1/.test(await page.locator('#answer').textContent()))
  for (const box of await page.locator('#choice input').all()) await box.setChecked(true)
  await page.locator('#data').fill('{"n":1}')
  await page.locator('#send').click()
  await await_([[text, '{"n":1}'], [text, '{"n":1}'], ['{"n":1}'], ['{"n":1}']])
  await until('the acknowledgement', async () => /"id"/.test(await page.locator('#answer').textContent()))
  for (const box of await page.locator('#choice input').all()) await box.setChecked(false)
  await page.locator('#post').click()
  await until('why not', async () => /room_id can not be null!/.test(await page.locator('#answer').textContent()))
  await page.locator('#choice input').first().setChecked(true)
  await restart([page], () => page.locator('#send').click())
  await await_([[text, '{"n":1}', '{"n":1}'], [text, '{"n":1}'], ['{"n":1}'], ['{"n":1}']])
  await relay.notify('room4', 'from the backend')
  await await_([[text, '{"n":1}', '{"n":1}'], [text, '{"n":1}'], ['{"n":1}'], ['{"n":1}', 'from the backend']])
  await close(page)
})

test('message, with a login of its address', async () => {
  const first = relay, [, file] = configuration('[sources.main]\nsign_key = "a key of thirty-two characters.."\nclient_posts = "joined"\n')
  const binary = first.child.spawnfile
  relay = await start(0, ['--config', file])
  try {
    for (const hmac of [[], ['--hmac']]) {
      const sign = execFileSync(binary, ['sign', 'connect', 'lobby,b & c', '--config', file, '--source', 'main', ...hmac]).toString().trim()
      const page = await open(`demo/message.html?source=main&room_ids=lobby,${encodeURIComponent('b & c')}&${sign}`)
      await on(page)
      assert.ok(await page.locator('#post').isHidden() && await page.locator('#note').isHidden())
      assert.equal(await page.locator('#rooms section').count(), 2)
      execFileSync(binary, ['notify', 'lobby', EVIL, '--config', file, '--source', 'main', '--url', relay.url, ...hmac])
      await seen(page, EVIL)
      await page.locator('#data').fill('from the page')
      await page.locator('#send').click()
      await until('both rooms', async () => await page.locator('#rooms').getByText('from the page', { exact: true }).count() === 2)
      await close(page)
      const refused = await open(`demo/message.html?source=main&room_ids=other&${sign}`)
      await refused.getByText('sign verify failed!').waitFor()
      await close(refused)
    }
  } finally {
    await relay.stop()
    relay = first
  }
})

test('monitor', async () => {
  const one = await open('demo/monitor.html', { viewport: { width: 1000, height: 700 } })
  await on(one)
  const two = await open('demo/monitor.html', { viewport: { width: 390, height: 844 } })
  await on(two)
  const sizes = page => page.locator('.w b').allTextContents()
  const await_ = (page, ...expected) => until(`${expected}`, async () => `${(await sizes(page)).sort()}` === `${expected.sort()}`)
  await await_(one, '1000 × 700', '390 × 844')
  await await_(two, '1000 × 700', '390 × 844')
  assert.equal(await one.locator('.own').count(), 1)
  await two.setViewportSize({ width: 800, height: 600 })
  await await_(one, '1000 × 700', '800 × 600')
  await restart([one, two], () => two.setViewportSize({ width: 640, height: 480 }))
  await await_(one, '1000 × 700', '640 × 480')
  assert.equal(await one.locator('#count').textContent(), '2')
  await relay.notify('monitor_room', EVIL)
  await until('what is no size', async () => (await one.locator('#other').textContent()).includes(EVIL))
  assert.deepEqual(two.wrong, [])
  await two.context().close()
  await await_(one, '1000 × 700')
  await close(one)
})

/** A viewer and a page that is being debugged, both connected. */
async function debugging() {
  const viewer = await open('demo/remote_debug_show.html')
  await on(viewer)
  const page = await open('demo/remote_debug.html')
  await page.locator('#text').click()
  await until('a line', () => viewer.locator('.l.log').count())
  return { viewer, page }
}
/** The visible lines of a level, as text. */
const lines = (viewer, level) => viewer.locator(`.l.${level}:visible .v`).allTextContents()
/** Presses a button of the page, and waits for the line that it makes. */
async function shows({ viewer, page }, button, level, pattern) {
  await page.locator('#' + button).click()
  await until(`${button} in the viewer`, async () => (await lines(viewer, level)).some(text => pattern.test(text)))
}

test('remote debugging: what a page logs can be read in the viewer', async () => {
  const both = await debugging()
  const { viewer, page } = both
  assert.match((await lines(viewer, 'log'))[0], /^hello\s*42\s*true\s*null\s*undefined$/)
  await shows(both, 'object', 'log', /factory_count: 47, cover_city_count: 14/)
  await shows(both, 'format', 'log', /^spring is 7 years old:/)
  await shows(both, 'error', 'error', /failed:\s*TypeError: made, not thrown[^]*remote_debug\.html/)
  await shows(both, 'node', 'log', /^<label class="check">/)
  await shows(both, 'kinds', 'log', /Map\(2\)[^]*Set\(2\)[^]*1970-01-01[^]*\/a\+\/gi[^]*NaN[^]*-0[^]*Symbol\(s\)[^]*Uint8Array\(3\)[^]*ƒ Car\(\)[^]*Promise/)
  await shows(both, 'odd', 'log', /<img src=x onerror="document\.title=1">/)
  await shows(both, 'long', 'log', /^(long )+/)
  await shows(both, 'uncaught', 'error', /nowhere is not defined/)
  await shows(both, 'rejection', 'error', /nobody waits for this/)
  await shows(both, 'image', 'error', /missing\.png/)
  page.wrong = page.wrong.filter(text => !/made, not thrown|nowhere is not defined|nobody waits|404|this is console\.error/.test(text))
  // Nested values open, and a cycle has an end.
  const open_ = async (pattern, button, ...keys) => {
    const before = await viewer.locator('.l').count()
    await page.locator('#' + button).click()
    await until(button, async () => await viewer.locator('.l').count() > before)
    const line = viewer.locator('.l').last()
    await line.locator('summary').first().click()
    for (const key of keys) await line.locator('summary', { hasText: new RegExp(`^${key}: `) }).first().click()
    await until(`${pattern}`, async () => pattern.test(await line.textContent()))
  }
  await open_(/c: /, 'nested', 'a', 'b')
  await open_(/circular/, 'cycle', 'list', '0')
  await open_(/150 more were not sent/, 'array')
  for (const level of ['info', 'warn', 'debug']) await shows(both, 'levels5', level, new RegExp('this is console.' + level))
  page.wrong = page.wrong.filter(text => !/this is console\.error/.test(text))
  // Its own console goes on.
  assert.ok(page.lines.includes('log: hello 42 true null undefined'), page.lines[0])
  assert.ok(page.lines.some(line => line === 'info: this is console.info'))
  // A flood is thinned out, and that is said.
  await page.locator('#many').click()
  await until('what was left out', async () => /\d+ lines left out/.test((await viewer.locator('.sep').allTextContents()).join()))
  // The same again is counted.
  await until('a pause', async () => { await new Promise(r => setTimeout(r, 1000)); return true })
  await page.locator('#same').click()
  await until('20 times', async () => /×20/.test((await viewer.locator('.l:visible').last().textContent())))
  await close(viewer, page)
})

test('remote debugging: filters, pause, a restart, and data of others', async () => {
  const both = await debugging()
  const { viewer, page } = both
  await page.locator('#levels5').click()
  await until('all levels', async () => (await lines(viewer, 'debug')).length)
  page.wrong = page.wrong.filter(text => !/this is console\.error/.test(text))
  const button = level => viewer.locator('#levels button', { hasText: level })
  assert.match(await button('warn').textContent(), /warn\s*1/)
  await button('warn').click()
  await button('error').click()
  assert.deepEqual([(await lines(viewer, 'warn')).length, (await lines(viewer, 'error')).length], [0, 0])
  await button('warn').click()
  assert.equal((await lines(viewer, 'warn')).length, 1)
  await button('error').click()
  await viewer.locator('#find').fill('CONSOLE.INFO')
  await until('the filter', async () => (await viewer.locator('.l:visible:not(.sep)').count()) === 1)
  assert.deepEqual(await lines(viewer, 'info'), ['this is console.info'])
  await page.locator('#nested').click()
  await viewer.locator('#find').fill('c: {d')
  await until('within nested values', async () => (await lines(viewer, 'log')).some(text => /nested/.test(text)))
  await viewer.locator('#find').fill('')
  // By user.
  const second = await open('demo/remote_debug.html')
  await second.locator('#object').click()
  await until('two users', async () => (await viewer.locator('#user option').count()) === 3)
  const names = await viewer.locator('#user option').evaluateAll(all => all.map(option => option.value).filter(Boolean))
  const own = await second.locator('.me').first().textContent()
  assert.ok(names.includes(own) && new Set(names).size === 2, String(names))
  await viewer.locator('#user').selectOption(own)
  await until('only his', async () => (await viewer.locator('.l:visible .from b').allTextContents()).every(name => name === own))
  assert.ok((await lines(viewer, 'log')).length)
  await viewer.locator('#user').selectOption('')
  // Paused, then in order.
  await viewer.locator('#pause').click()
  const before = await viewer.locator('.l').count()
  for (let i = 0; i < 3; i++) await page.evaluate(i => console.log('held ' + i), i)
  await until('the number that waits', async () => /3/.test(await viewer.locator('#pause').textContent()))
  assert.equal(await viewer.locator('.l').count(), before)
  await viewer.locator('#pause').click()
  await until('what was held', async () => (await lines(viewer, 'log')).slice(-3).join() === 'held 0,held 1,held 2')
  // The relay is away; what is logged meanwhile comes later.
  await restart([viewer], () => page.evaluate(() => console.log('logged meanwhile')))
  await page.evaluate(() => console.log('and after'))
  await until('what was logged after', async () => (await lines(viewer, 'log')).includes('and after'))
  // A viewer that came back later than the page says what it missed.
  const notes = (await viewer.locator('.sep').allTextContents()).join()
  assert.ok((await lines(viewer, 'log')).includes('logged meanwhile') || /1 lines did not arrive/.test(notes), notes)
  // What others send into the room: text, the old script's objects, and what only looks like a line.
  const socket = new (require('ws'))(`${relay.url.replace('http', 'ws')}/ws?source=remote_debug&room_ids=console-log&sign=5b092ffd2f7bcd3eddc9a7655600a998&userid=x&username=x`)
  await new Promise(resolve => socket.on('open', resolve))
  const others = [EVIL, 7, null, [[[]]], { 0: 'old', 1: { a: 1 } }, { kind: 'console', args: [{ $: 'Error', message: 'x'.repeat(50) }], level: '__proto__', seq: -1 },
    { kind: 'console', level: 'log', args: { length: 1e9 } }, { kind: 'console', args: [{ $: 'Map', items: 7 }, { $: 'toString' }, { $: {} }], user: {}, page: [], stack: 1, time: 'x', session: { a: 1 }, seq: 1e300, dropped: -5 }]
  for (const data of others.filter(data => data !== null)) socket.send(JSON.stringify({ data, room_ids: 'console-log' }))
  await relay.notify('console-log', EVIL, 'remote_debug', REMOTE_KEY)
  const shown = async () => (await viewer.locator('.l.other:visible .v').allTextContents()).join('|')
  await until('markup as text', async () => (await shown()).includes(EVIL))
  await until('the old script', async () => (await lines(viewer, 'log')).some(text => /^old/.test(text)))
  await until('what looks like an error', async () => (await shown()).includes('x'.repeat(50)))
  assert.equal(await viewer.getByText('A line could not be shown.').count(), 0)
  socket.close()
  assert.equal(await viewer.locator('#lines img').count(), 0)
  // Saved and cleared.
  const [download] = await Promise.all([viewer.waitForEvent('download'), viewer.locator('#json').click()])
  const saved = JSON.parse(require('node:fs').readFileSync(await download.path(), 'utf8'))
  assert.ok(Array.isArray(saved) ? saved.length : Object.keys(saved).length)
  await viewer.locator('#clear').click()
  assert.equal(await viewer.locator('.l').count(), 0)
  await close(viewer, page, second)
})

test('a viewer that is itself debugged makes no endless loop', async () => {
  const viewer = await open('demo/remote_debug_show.html?debug=1')
  await on(viewer)
  const other = await open('demo/remote_debug_show.html?debug=1')
  await on(other)
  await viewer.evaluate(() => { console.log('from the viewer itself'); console.error(new Error('likewise')) })
  viewer.wrong = viewer.wrong.filter(text => !/likewise/.test(text))
  for (const page of [viewer, other]) await until('its line', async () => (await lines(page, 'log')).includes('from the viewer itself'))
  const all = async () => (await viewer.locator('.l').count()) + (await other.locator('.l').count())
  let last
  await until('it to settle', async () => {
    last = await all()
    await new Promise(resolve => setTimeout(resolve, 1000))
    return await all() === last
  })
  assert.ok(last <= 12, String(last))
  await close(viewer, other)
})
