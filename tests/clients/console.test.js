'use strict'
// The operators' console: login, live numbers, and what it does when relay or its token goes away.
const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const fs = require('node:fs')
const { start, until } = require('./relay')
const { TOKEN, ask, close, launch, live, member, open, quiet, relayWith, signIn, text, visit } = require('./console_page')

let browser, relay
before(async () => {
  browser = await launch()
  relay = await relayWith()
})
after(async () => {
  await browser.close()
  await relay.stop()
})
const stats = (on = relay) => ask(on, '/api/stats')
/** The current value of a graph, as a number. */
const number = async (page, name) => parseFloat((await page.locator(`[data-graph=${name}] .now`).textContent()).replaceAll(',', ''))
const shape = (page, name) => page.locator(`[data-graph=${name}] .line`).first().getAttribute('d')

test('the page is served with a strict policy, and without a slash at the end leads to it', async () => {
  const redirect = await fetch(relay.url + '/console', { redirect: 'manual' })
  assert.deepEqual([redirect.status, redirect.headers.get('location')], [301, 'console/'])
  const page = await fetch(relay.url + '/console/'), policy = page.headers.get('content-security-policy')
  assert.equal(page.status, 200)
  for (const part of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'", "require-trusted-types-for 'script'"]) {
    assert.ok(policy.includes(part), part)
  }
  assert.equal(page.headers.get('referrer-policy'), 'no-referrer')
  const html = await page.text()
  assert.doesNotMatch(html, /<script>|<style|style=|onload|https?:\/\/(?!www\.w3\.org)/)
  for (const [, file] of html.matchAll(/(?:href|src)="([\w.]+)"/g)) {
    const asset = await fetch(`${relay.url}/console/${file}`)
    assert.deepEqual([asset.status, asset.headers.get('access-control-allow-origin'), asset.headers.get('x-content-type-options')], [200, null, 'nosniff'], file)
  }
})

test('a wrong token is refused, the right one opens the console, signing out forgets it', async () => {
  const page = await open(browser, relay, { token: '' })
  await signIn(page, 'this is wrong')
  await page.getByText('The admin token is wrong.').waitFor()
  assert.equal(await page.getByLabel('Admin token').inputValue(), '')
  await signIn(page, TOKEN)
  await live(page)
  assert.ok(await page.evaluate(token => Object.values(sessionStorage).includes(token), TOKEN))
  await quiet(page, relay)
  // The same tab goes on after a reload; another tab must sign in.
  await page.reload()
  await live(page)
  const other = await page.context().newPage()
  await other.goto(relay.url + '/console/')
  await other.getByLabel('Admin token').waitFor()
  await other.close()
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByLabel('Admin token').waitFor()
  assert.equal(await page.evaluate(() => sessionStorage.length), 0)
  await page.reload()
  await page.getByLabel('Admin token').waitFor()
  await close(page)
})

test('the tab whose storage is emptied asks again', async () => {
  const page = await open(browser, relay)
  await page.evaluate(() => sessionStorage.clear())
  await page.reload()
  await page.getByLabel('Admin token').waitFor()
  await close(page)
})

test('too many wrong tokens: it says how long to wait, and then goes on', async t => {
  const own = await relayWith()
  t.after(() => own.stop())
  const page = await open(browser, own, { token: '' })
  for (let i = 0; ; i++) {
    assert.ok(i < 15)
    await signIn(page, 'wrong ' + i)
    const said = await until('an answer', async () => (await page.locator('.problem').textContent()) || '')
    if (/Try again in \d+ s/.test(said)) break
    assert.match(said, /wrong/)
  }
  assert.ok(await page.getByRole('button', { name: 'Sign in' }).isDisabled())
  await page.getByText('You can try again now.').waitFor()
  await signIn(page, TOKEN)
  await live(page)
  await close(page)
})

test('numbers and graphs move when messages are published', async () => {
  const page = await open(browser, relay), clients = []
  const sessions = async () => Number(await page.locator('.facts div').filter({ hasText: 'Sessions' }).locator('dd').textContent())
  for (let i = 0; i < 3; i++) clients.push(await member(relay, 'busy', { userid: 'u' + i }))
  await until('the clients', async () => await sessions() === 3 && await number(page, 'clients') >= 3)
  const before = await shape(page, 'published')
  const publishing = setInterval(() => relay.notify('busy', 'x').catch(() => {}), 50)
  await until('messages', async () => await number(page, 'published') > 5)
  await until('deliveries', async () => await number(page, 'delivered') > 15)
  await until('the graph', async () => await shape(page, 'published') !== before)
  clearInterval(publishing)
  const label = await page.locator('[data-graph=published] svg').getAttribute('aria-label')
  assert.match(label, /^Messages \/ s, the last \d+ minutes: now [\d.<]+, peak [\d.]+$/)
  await until('rest', async () => await number(page, 'published') === 0)
  clients[0].terminate()
  await until('two', async () => await sessions() === 2)
  await page.getByText('lost: no goodbye, or page closed').waitFor()
  for (const client of clients) client.terminate()
  await close(page)
})

test('relay stops and starts again: the page says so, and goes on without a login or a negative rate', async t => {
  let own = await relayWith()
  t.after(() => own.stop())
  const page = await open(browser, own), { port } = own, args = own.child.spawnargs
  const client = await member(own, 'room')
  await until('messages', async () => { await own.notify('room', 'x'); return await number(page, 'published') > 0 })
  // Every rate that is shown from now on.
  await page.evaluate(() => {
    window.rates = []
    new MutationObserver(() => { for (const e of document.querySelectorAll('.now, .facts dd')) window.rates.push(e.textContent) }).observe(document.querySelector('main'), { subtree: true, childList: true, characterData: true })
  })
  await own.stop()
  client.terminate()
  await page.getByText('relay is not reachable, trying again.').waitFor()
  // A table says that it cannot be read, and the navigation works.
  await visit(page, '#rooms')
  await page.getByText('relay is not reachable.', { exact: true }).waitFor()
  await visit(page, '#overview')
  own = await start(port, args.slice(args.indexOf('--config')))
  await live(page)
  assert.ok(await page.locator('.banner').isHidden())
  await until('rates from 0', async () => await number(page, 'published') === 0)
  await until('messages', async () => { await own.notify('room', 'x'); return await number(page, 'published') > 0 })
  const rates = await page.evaluate(() => window.rates)
  assert.ok(rates.length && rates.every(rate => !rate.includes('-') && !rate.includes('NaN')), String(rates))
  await close(page)
})

test('the token is changed by a reload: back to the login, which says why', async t => {
  const own = await relayWith(), page = await open(browser, own)
  t.after(() => own.stop())
  const file = own.child.spawnargs.at(-1), changed = 'another token of these tests'
  fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace(TOKEN, changed))
  own.child.kill('SIGHUP')
  await page.getByText('The admin token has changed. Sign in with the new one.').waitFor()
  assert.equal(await page.evaluate(() => sessionStorage.length), 0)
  await signIn(page, TOKEN)
  await page.getByText('The admin token is wrong.').waitFor()
  await signIn(page, changed)
  await live(page)
  await quiet(page, own, changed)
  await close(page)
})

test('a console that is closed, or hidden for a minute, costs nothing', async t => {
  // Connections without a request are closed soon, so that only streams remain.
  const own = await relayWith('[limits]\nkeep_alive = 1\n')
  t.after(() => own.stop())
  const connections = async () => (await stats(own)).connections
  const idle = await connections()
  const page = await open(browser, own)
  await until('the stream alone', async () => await connections() === idle + 1)
  await close(page)
  await until('the stream to end', async () => await connections() <= idle)
  // Time is short for tabs in tests: a minute takes 0.2 s.
  const context = await browser.newContext({ locale: 'en-US' }), tab = await context.newPage()
  await tab.addInitScript(() => {
    const real = window.setTimeout
    window.setTimeout = (call, time, ...more) => real(call, time === 60000 ? 200 : time, ...more)
    window.hide = on => {
      Object.defineProperty(document, 'hidden', { value: on, configurable: true })
      document.dispatchEvent(new Event('visibilitychange'))
    }
  })
  await tab.goto(own.url + '/console/')
  await signIn(tab, TOKEN)
  await live(tab)
  await tab.evaluate(() => window.hide(true))
  await until('paused', async () => (await tab.locator('.state').textContent()) === 'paused')
  await until('no stream', async () => await connections() === idle)
  await tab.evaluate(() => window.hide(false))
  await tab.getByText('The numbers were paused').waitFor()
  await live(tab)
  await context.close()
})

test('both languages; the choice is remembered, and the back button works', async () => {
  const page = await open(browser, relay, { locale: 'zh-CN', token: '' })
  await page.getByLabel('管理令牌').fill(TOKEN)
  await page.getByRole('button', { name: '登录' }).click()
  await live(page)
  assert.match(await text(page), /哪个房间最忙/)
  await page.getByRole('button', { name: 'English' }).click()
  await page.getByText('Which room is busiest?').waitFor()
  await page.reload()
  await page.getByRole('link', { name: 'Rooms', exact: true }).click()
  await page.getByRole('heading', { name: 'Rooms' }).waitFor()
  await page.getByRole('link', { name: 'Log', exact: true }).click()
  await page.getByRole('heading', { name: 'Log' }).waitFor()
  await page.goBack()
  await page.getByRole('heading', { name: 'Rooms' }).waitFor()
  await page.goBack()
  await page.getByRole('heading', { name: 'Overview' }).waitFor()
  await close(page)
})
