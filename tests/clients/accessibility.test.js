'use strict'
// Every page that relay serves but the console (console_views.test.js), checked by axe-core in a real browser: in every state, light and dark, wide and on a phone,
// in both languages; and by keyboard alone.
const assert = require('node:assert/strict')
const { after, before, describe, test } = require('node:test')
const { chromium } = require('playwright-core')
const { VIEWS, byKeyboard, clean } = require('./axe')
const { PATIENCE, configuration, login, start, until } = require('./relay')

const TOKEN = 'a token for these tests'
const PUBLIC = '[sources.remote_debug]\nsign_key = "5iwdf$%sdfss!#$2334ds(%B)"\n[history]\ncount = 4\n' +
  'rooms = [{ room = "price-*", count = 1, last = true }, { room = "six_room", count = 20 }]\n'
// Another name for this machine, as a phone in the network has one.
const PHONE = 'relay.example'

let browser, relay, bare
before(async () => {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    args: ['--no-sandbox', `--host-resolver-rules=MAP ${PHONE} 127.0.0.1`] })
  const fs = require('node:fs'), os = require('node:os'), path = require('node:path')
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'relay-test-'))
  relay = await start(0, configuration(`${PUBLIC}[admin]\ntoken = "${TOKEN}"\n[message_log]\ndir = "${dir}"\n`))
  bare = await start(0, bareConfiguration())
})
after(async () => {
  await browser.close()
  await Promise.all([relay, bare].map(one => one.stop()))
})

/** A configuration without the sources of the demo. */
function bareConfiguration() {
  const fs = require('node:fs'), args = configuration('')
  fs.writeFileSync(args[1], '[sources.shop]\nsign_key = "a long key of nobody else"\n')
  return args
}

async function open(url, options = {}) {
  const context = await browser.newContext({ locale: 'en-US', viewport: VIEWS[0], bypassCSP: true, ...options })
  const page = await context.newPage()
  page.setDefaultTimeout(PATIENCE)
  const { status } = await (await page.goto(url)).request().response().then(response => ({ status: response.status() }))
  assert.equal(status, 200, url)
  return page
}
const on = page => page.locator('.state.on').first().waitFor()

/** How each demo page gets into a state with something to see. */
const STATES = {
  'demo/': async () => {},
  'demo/two.html': async page => {
    await until('both', async () => (await page.locator('.state.on').count()) === 2)
    await page.locator('.pane').nth(0).locator('.send input').fill('hello')
    await page.locator('.pane').nth(0).locator('.send button').click()
    await relay.notify('chat_room', 'from the backend')
    await until('three messages', async () => (await page.locator('.back').count()) === 2)
    await page.locator('.ok').waitFor()
  },
  'demo/chat.html': async () => {},
  'demo/chat.html?name=li': async page => {
    await on(page)
    // A person of every hue, since names are coloured by a hash of them.
    for (let i = 0; i < 24; i++) await relay.notify('chat_room', JSON.stringify({ n: i }))
    await page.evaluate(() => {
      const list = document.getElementById('list')
      for (let hue = 0; hue < 360; hue += 15) for (const cls of ['they', 'me']) {
        const m = Demo.el(list, 'div', 'm ' + cls)
        m.style.setProperty('--h', hue)
        if (cls === 'they') Demo.el(m, 'b', '', 'somebody')
        Demo.el(m, 'div', 'bub text', 'in hue ' + hue)
        Demo.el(m, 'small', 'dim', '12:34 ✓')
      }
    })
    await page.locator('#text').fill('hello')
    await page.locator('#text').press('Enter')
    await until('the tick', async () => /✓/.test(await page.locator('.me small').last().textContent()))
  },
  'demo/history.html': async page => {
    // Kept messages of people and of a backend, a gap, an own message, and one that waits for a connection.
    await on(page)
    await page.evaluate(() => { for (let i = 0; i < 3; i++) XIN_NODE.send_msg({ name: 'somebody', text: 'said before' }, 'history_room') })
    await until('all of it', async () => (await page.locator('.they').count()) === 3)
    await page.reload()
    await on(page)
    await until('what is kept', async () => (await page.locator('.they').count()) === 3)
    await page.locator('#cut').click()
    for (let i = 0; i < 6; i++) await relay.notify('history_room', 'from the backend')
    await page.locator('#cut').click()
    await page.locator('.gap').waitFor()
    await page.locator('#text').fill('hello')
    await page.locator('#text').press('Enter')
    await until('the tick', async () => /✓/.test(await page.locator('.me small').last().textContent()))
    await page.locator('#term').evaluate(e => { e.open = true })
  },
  'demo/prices.html': async page => {
    await on(page)
    for (const price of [1980, 1990]) await relay.notify('price-gold', String(price))
    for (const price of [80, 77]) await relay.notify('price-oil', String(price))
    await page.locator('.up').waitFor()
    await page.locator('.down').waitFor()
    await relay.notify('price-tea', '12')
    await page.reload()
    await on(page)
    await relay.notify('price-gold', '2000')
    await page.locator('.up').waitFor()
  },
  'demo/six.html': async page => {
    await on(page)
    await until('all six', async () => (await page.locator('#kinds .up').count()) === 6)
    await page.locator('#burst').click()
    await page.locator('#verdict.ok').waitFor()
    // More than is kept while they are away: a gap for all.
    await page.locator('#cut').click()
    for (let i = 0; i < 21; i++) await relay.notify('six_room', 'more')
    await page.locator('#cut').click()
    await until('the gap', async () => (await page.locator('.gap td', { hasText: '!' }).count()) === 6)
    // What is wrong looks like this.
    await page.evaluate(() => { const cell = document.querySelectorAll('#rows td')[2]; cell.textContent = '✗'; cell.className = 'x' })
  },
  'demo/message.html': async page => {
    await on(page)
    await page.locator('#post').click()
    await until('the answer', async () => /successed/.test(await page.locator('#answer').textContent()))
    await until('a message', () => page.locator('#rooms li').count())
  },
  [`demo/message.html?${login('lobby')}`]: async page => {
    await on(page)
    await relay.notify('lobby', 'from the backend')
    await until('a message', () => page.locator('#rooms li').count())
  },
  'demo/monitor.html': async page => {
    await on(page)
    await until('this window', () => page.locator('.own').count())
    await relay.notify('monitor_room', 'something else')
    await page.locator('#other').waitFor()
  },
  'demo/remote_debug.html': async () => {},
  'demo/remote_debug_show.html': async page => {
    await on(page)
    const debugged = await open(relay.url + '/demo/remote_debug.html')
    for (const id of ['text', 'levels5', 'error', 'kinds', 'nested', 'array', 'odd', 'uncaught', 'image', 'same', 'many']) await debugged.locator('#' + id).click()
    await relay.notify('console-log', 'not a line', 'remote_debug', '5iwdf$%sdfss!#$2334ds(%B)')
    await until('lines', async () => (await page.locator('.l').count()) > 20 && page.locator('.l.other').count())
    await page.locator('summary').first().click()
    await page.locator('#levels button').first().click()
    await page.locator('#pause').click()
    await debugged.context().close()
  }
}

describe('axe finds nothing', () => {
  const pages = {}
  for (const [path, reach] of Object.entries(STATES)) {
    test('/' + path, async () => {
      const page = pages[path] = await open(`${relay.url}/${path}`)
      await reach(page)
      await clean(page, path)
      await page.evaluate(() => [...document.querySelectorAll('button')].find(button => button.textContent.includes('中文')).click())
      await clean(page, path + ' in Chinese')
    })
  }

  test('without the demo sources', async () => {
    for (const path of Object.keys(STATES)) {
      const page = await open(`${bare.url}/${path}`)
      await page.locator('.banner').waitFor()
      await clean(page, path)
      await page.context().close()
    }
  })

  test('by another name than localhost', async () => {
    const page = await open(`http://${PHONE}:${relay.port}/demo/`)
    await clean(page, 'demo/')
    await page.context().close()
  })

  test('/ and the old pages', async () => {
    // The front page: nothing serious.
    const page = await open(relay.url + '/')
    await clean(page, '/', ['serious', 'critical'])
    await page.context().close()
    for (const path of ['/online?source=demo', '/online', '/today?source=demo', '/read_connections', '/readmsglocation', '/sessionlocation', '/readmsg?source=demo',
      '/readmsg', '/clientlog', '/readsysmsg', '/errorlog', '/refreshpage?room=nobody']) {
      const page = await open(relay.url + path + (path.includes('?') ? '&' : '?') + 'token=' + encodeURIComponent(TOKEN))
      assert.ok((await page.locator('main').textContent()).trim(), path)
      await clean(page, path)
      await page.context().close()
    }
  })

  test('while relay is away', async () => {
    const { port } = relay
    await relay.stop()
    for (const [path, page] of Object.entries(pages)) {
      await until('the page to notice', async () => !await page.locator('.state.on').count())
      await clean(page, path)
    }
    relay = await start(port, ['--config', relay.child.spawnargs.at(-1)])
    await Promise.all(Object.values(pages).map(page => page.context().close()))
  })
})

test('every control can be reached and seen by keyboard', async () => {
  for (const path of Object.keys(STATES)) for (const viewport of VIEWS) {
    const page = await open(`${relay.url}/${path}`, { viewport })
    if (path !== 'demo/' && path !== 'demo/chat.html' && path !== 'demo/remote_debug.html') await on(page)
    await byKeyboard(page, path)
    await page.context().close()
  }
})
