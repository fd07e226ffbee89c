'use strict'
// The page of two people in a real browser. The other demo pages: demo.test.js.
const assert = require('node:assert/strict')
const { execFileSync } = require('node:child_process')
const { test, before, after } = require('node:test')
const { chromium } = require('playwright-core')
const { PATIENCE, start, login, until } = require('./relay')

let relay, browser
before(async () => {
  relay = await start()
  const executablePath = process.env.CHROMIUM || '/usr/bin/chromium'
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
})
after(async () => {
  await browser.close()
  await relay.stop()
})

/** A page in a browser of its own, with what went wrong in it. */
async function open(query = '', options = {}) {
  const context = await browser.newContext(options)
  const page = await context.newPage()
  page.setDefaultTimeout(PATIENCE)
  page.wrong = []
  page.on('pageerror', error => page.wrong.push(String(error)))
  page.on('console', line => { if (line.type() === 'error' && !/WebSocket connection/.test(line.text())) page.wrong.push(line.text()) })
  page.on('request', request => { if (!request.url().startsWith(relay.url) && !request.url().startsWith('data:')) page.wrong.push(request.url()) })
  await page.goto(relay.url + '/demo/two.html' + query)
  await connected(page)
  return page
}

const connected = page => until('the page to connect', async () => (await page.locator('.state.on').count()) === 2)
const say = async (page, pane, text) => {
  await page.locator('.pane').nth(pane).locator('.send input').fill(text)
  await page.locator('.pane').nth(pane).locator('.send button').click()
}
/** Waits for a message in both panes. */
const shown = (page, text) => until(text, async () => (await page.getByText(text, { exact: true }).count()) === 2)

test('two browsers chat, and markup is only text', async () => {
  const one = await open()
  const other = await open('?left=li&right=wang')
  await say(one, 0, 'hello over there')
  await Promise.all([shown(one, 'hello over there'), shown(other, 'hello over there')])
  await say(other, 1, '<img src=x onerror=alert(1)> 你好 𝄞')
  await Promise.all([shown(one, '<img src=x onerror=alert(1)> 你好 𝄞'), shown(other, '<img src=x onerror=alert(1)> 你好 𝄞')])
  assert.equal(await one.locator('img').count(), 0)
  assert.deepEqual([one.wrong, other.wrong], [[], []])
  await Promise.all([one.context().close(), other.context().close()])
})

test('a browser offers subprotocols, and sees each end at once and clean', async () => {
  const page = await open()
  const once = (query, protocols, send) => page.evaluate(([query, protocols, send]) => new Promise(resolve => {
    const ws = new WebSocket(`ws://${location.host}/ws?${query}`, protocols)
    let begin
    ws.onopen = () => {
      begin = performance.now()
      send ? ws.send('x'.repeat(send)) : ws.close(1000)
    }
    // Chromium calls an end clean only if everything was sent before it.
    ws.onclose = ({ code, reason, wasClean }) => resolve({
      protocol: ws.protocol, code, reason, wasClean: wasClean || ws.bufferedAmount > 0, late: performance.now() - begin > 1500
    })
  }), [query, protocols, send])
  // Chromium itself waits 2 s for a server that does not close the connection. A busy machine may need long, but not each time.
  const run = async (...what) => {
    for (let tries = 0; tries < 5; tries++) {
      const end = await once(...what)
      if (!end.late) return end
    }
  }
  const clean = { wasClean: true, late: false }
  assert.deepEqual(await run(login('room'), ['v2.chat', 'chat'], 0), { protocol: 'v2.chat', code: 1000, reason: '', ...clean })
  assert.deepEqual(await run(login('room'), [], 2e6), { protocol: '', code: 1009, reason: 'message too big', ...clean })
  assert.deepEqual(page.wrong, [])
  await page.context().close()
})

test('the command that the page shows makes a message appear', async () => {
  const page = await open('?room=b%26%C3%BC')
  await page.locator('#say').fill("it's 100 % \"right\" & täglich")
  const command = await page.locator('#cmd').textContent()
  assert.match(execFileSync('bash', ['-c', command + ' -s']).toString(), /"code":1/)
  await shown(page, "it's 100 % \"right\" & täglich")
  assert.deepEqual(page.wrong, [])
  await page.context().close()
})

test('a page comes back to a restarted relay, with what was written meanwhile', async () => {
  const page = await open('', { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true })
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'it fits a phone')
  assert.equal(await relay.stop(), 0)
  await until('the page to notice', async () => (await page.locator('.state.on').count()) === 0)
  await say(page, 0, 'written without a relay')
  relay = await start(relay.port)
  await connected(page)
  await shown(page, 'written without a relay')
  await page.context().close()
})
