'use strict'
// The operators' console in a browser, and clients for it to show.
const assert = require('node:assert/strict')
const { once } = require('node:events')
const { chromium } = require('playwright-core')
const { WebSocket } = require('ws')
const { PATIENCE, configuration, login, start, until } = require('./relay')

const TOKEN = 'a-token of these tests: öäü'

/** `args`: more of its arguments. */
const launch = (args = []) => chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox', ...args] })

/** A relay with the admin token, and `more` configuration after its section. */
function relayWith(more = '', port = 0) {
  return start(port, configuration(`[admin]\ntoken = "${TOKEN}"\n${more}`))
}

/** What the API answers to the operator. */
async function ask(relay, path) {
  return (await fetch(relay.url + path, { headers: { Authorization: 'Bearer ' + Buffer.from(TOKEN).toString('latin1') } })).json()
}

/** The console on a fresh profile. It has the requests that it makes and what is wrong: errors, dialogs, what its policy forbids. */
async function open(browser, relay, { hash = '', token = TOKEN, away = false, ...options } = {}) {
  const context = await browser.newContext({ locale: 'en-US', viewport: { width: 1280, height: 900 }, ...options })
  const page = await context.newPage()
  page.setDefaultTimeout(PATIENCE)
  Object.assign(page, { wrong: [], requests: [], away })
  page.on('pageerror', error => page.wrong.push(String(error)))
  page.on('dialog', dialog => { page.wrong.push(dialog.message()); dialog.dismiss() })
  page.on('console', line => {
    // The browser reports answers of relay that are errors, and a relay that is away.
    const status = /the server responded with a status of (400|401|403|404|429|502|503|504)|ERR_CONNECTION|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED|ERR_NETWORK_IO|ERR_ABORTED/
    if (['error', 'warning'].includes(line.type()) && !status.test(line.text())) page.wrong.push(line.text())
  })
  page.on('request', request => page.requests.push(request))
  await page.addInitScript(() => document.addEventListener('securitypolicyviolation', event => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`)))
  await page.goto(`${relay.url}/console/${hash}`)
  if (token) {
    await signIn(page, token)
    await live(page)
  }
  return page
}
async function signIn(page, token) {
  await page.getByLabel('Admin token').fill(token)
  await page.getByRole('button', { name: 'Sign in' }).click()
}
const live = page => page.locator('.state.on').waitFor()
/** Goes to a view by its address, as a link does, and waits until the console has left the one before. */
async function visit(page, hash) {
  await page.evaluate(to => new Promise(resolve => {
    const { href } = location
    addEventListener('hashchange', () => setTimeout(resolve), { once: true })
    location.hash = to
    if (location.href === href) resolve()
  }), hash)
}
const settled = page => page.locator('.result[aria-busy=false]').first().waitFor()
/** The text of the main part of the page. */
const text = page => page.locator('main').innerText()
/** The row of a table that has a text. */
const row = (page, words) => page.getByRole('row').filter({ hasText: words })

/** Closes consoles, with which nothing may be wrong, and which may not have told anybody the token. */
async function close(...pages) {
  for (const page of pages) {
    assert.deepEqual(page.wrong, [], page.url())
    await quiet(page)
    await page.context().close()
  }
}
/** Checks that the token is in the header `Authorization` and in the session storage, and nowhere else. */
async function quiet(page, relay, token = TOKEN) {
  const secret = [token, encodeURIComponent(token), encodeURIComponent(token).replaceAll('%20', '+')]
  const clean = (where, what) => { for (const form of secret) assert.ok(!String(what).includes(form), `the token is in ${where}: ${what}`) }
  for (const request of page.requests) {
    clean('a URL', request.url())
    const headers = await request.allHeaders().catch(() => request.headers())
    if (request.url().includes('/api/')) assert.equal(headers.referer || '', '', 'requests of the API have no Referer')
    for (const [name, value] of Object.entries(headers)) if (name !== 'authorization') clean(name, value)
    clean('a body', request.postData() || '')
  }
  const kept = await page.evaluate(() => ({
    url: location.href, title: document.title, html: document.documentElement.outerHTML, state: JSON.stringify(history.state), cookie: document.cookie,
    values: [...document.querySelectorAll('input, textarea, select')].map(input => input.value).join('\n'), local: JSON.stringify({ ...localStorage })
  }))
  for (const [where, what] of Object.entries(kept)) clean(where, what)
  if (relay) for (const line of relay.log) clean('the log', line)
}

/** A plain WebSocket client: it keeps what it receives. */
async function member(relay, rooms, more = {}, headers = {}) {
  const socket = new WebSocket(`${relay.url.replace('http', 'ws')}/ws?${login(rooms, more)}`, { headers })
  socket.got = []
  socket.on('message', data => socket.got.push(JSON.parse(data)))
  socket.on('error', () => {})
  await once(socket, 'open')
  /** Waits for an event; its frame. */
  socket.heard = (event, match = () => true) => until(event, () => socket.got.find(frame => frame.event === event && match(frame)))
  return socket
}

module.exports = { TOKEN, ask, close, launch, live, member, open, quiet, relayWith, row, settled, signIn, text, visit }
