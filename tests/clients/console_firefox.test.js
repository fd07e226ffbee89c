'use strict'
// The operators' console in Firefox: what an operator does there from the login to a disconnect, with the policy in force.
const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { once } = require('node:events')
const { launch } = require('./firefox')
const { start, until } = require('./relay')
const { TOKEN, member, relayWith } = require('./console_page')

const MARKUP = '<img src=x onerror="document.title=1"><script>document.title=2</script><b>bold</b>'

let firefox, relay, page, clients = []
before(async () => {
  firefox = await launch()
  relay = await relayWith('[sources.shop]\nsign_key = "k"\n')
  for (let i = 0; i < 12; i++) clients.push(await member(relay, i ? 'crowd' : 'crowd,den', { userid: `user-${i}`, username: `name ${i}` }, { Referer: `http://shop.example/page-${i}` }))
  page = await firefox.open()
})
after(async () => {
  for (const client of clients) client.terminate()
  await firefox?.close()
  await relay?.stop()
})
const visit = hash => page.evaluate(to => { location.hash = to }, hash)
const live = () => page.until('live', () => document.querySelector('.state.on'))
const number = name => page.evaluate(name => parseFloat(document.querySelector(`[data-graph=${name}] .now`)?.textContent.replaceAll(',', '')), name)
const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)

/** Views with their tables, buttons and lists. */
const VIEWS = ['#overview', '#sessions', '#users', '#rooms', '#rooms?order=messages', '#sources', '#clients', '#why?userid=user-3', '#tail?source=demo&room_id=crowd', '#log']
/** What is wrong with the layout: a page that scrolls sideways, controls that a box cuts off, buttons of two lines. */
const layout = () => page.evaluate(() => {
  const isCut = control => {
    const own = control.getBoundingClientRect()
    for (let box = control.parentElement; box; box = box.parentElement) {
      const { left, right } = box.getBoundingClientRect()
      if (getComputedStyle(box).overflowX === 'hidden' && (own.right > right + 1 || own.left < left - 1)) return true
    }
    return control.matches('button:not(.link)') && own.height > 45
  }
  const controls = [...document.querySelectorAll('main button, main a, main input, main select, header button')].filter(control => control.checkVisibility() && isCut(control))
  const found = controls.map(control => `${control.textContent || control.id} is cut off, or has two lines`)
  return document.documentElement.scrollWidth > innerWidth ? [...found, 'the page scrolls sideways'] : found
})
const SIZES = [[1280, 900], [390, 844]]

test('a wrong token is refused, the right one opens the overview', async () => {
  await page.goto(`${relay.url}/console/`)
  await page.shows('Admin token')
  for (const size of SIZES.toReversed()) {
    await page.resize(...size)
    assert.deepEqual(await layout(), [], `the login at ${size[0]}`)
  }
  await page.type('this is wrong')
  await page.type('Enter')
  await page.shows('The admin token is wrong.')
  // The field is empty again, and has the focus.
  assert.equal(await page.evaluate(() => document.activeElement.id + document.activeElement.value), 'token')
  await page.type(TOKEN)
  await page.click('button', 'Sign in')
  await live()
  await page.shows('Which room is busiest?')
  // The tab keeps the token for a reload.
  await page.reload()
  await live()
  await page.shows('Which room is busiest?')
})

test('the numbers of the overview are live', async () => {
  await until('the clients', async () => await number('clients') >= clients.length)
  const shape = () => page.evaluate(() => document.querySelector('[data-graph=published] .line').getAttribute('d'))
  const before = await shape()
  await until('messages', async () => { await relay.notify('crowd', 'x'); return await number('published') > 0 })
  await until('deliveries', async () => { await relay.notify('crowd', 'x'); return await number('delivered') > await number('published') })
  await until('the graph', async () => await shape() !== before)
  await until('rest', async () => await number('published') === 0)
})

test('a table of sessions, and the page of one', async () => {
  await page.click('link', 'Sessions')
  await page.until('the rows', number => document.querySelectorAll('tbody tr').length === number, clients.length)
  await visit('#sessions?source=demo&search=user-7')
  await page.until('one row', () => document.querySelectorAll('tbody tr').length === 1)
  const row = await page.evaluate(() => document.querySelector('tbody tr').innerText)
  for (const part of ['user-7', 'name 7', 'WebSocket', 'http://shop.example/page-7', '127.0.0.1', 'crowd', 'live']) assert.ok(row.includes(part), `${part} is not in ${row}`)
  await page.evaluate(() => document.querySelector('tbody button').focus())
  await page.type('Enter')
  await page.shows('nothing waits for it', 'main')
  await page.shows('logged in', '.history')
  assert.match(await page.evaluate(() => location.hash), /^#session\?source=demo&socket_id=[\w-]{27}$/)
})

test('the tail of a room shows a message as text, even if it is markup', async () => {
  await visit('#tail?source=demo&room_id=den')
  await page.shows('Room den', 'h1')
  await until('the message', async () => {
    await relay.notify('den', MARKUP)
    return page.evaluate(words => [...document.querySelectorAll('.message .data')].some(one => one.innerText === words), MARKUP)
  })
  await page.evaluate(() => document.querySelector('.message .fold').focus())
  await page.type('Enter')
  await page.until('the whole message', words => document.querySelector('.opened pre')?.innerText === words, MARKUP)
  assert.equal(await page.evaluate(() => document.querySelectorAll('main img, main b img, main script').length), 0)
  assert.equal(await page.evaluate(() => document.title), 'Tail of a room · relay')
})

test('Chinese and back, light and dark', async () => {
  await page.click('button', '中文')
  await page.until('Chinese', () => document.documentElement.lang === 'zh-CN')
  await visit('#overview')
  await page.shows('哪个房间最忙')
  await live()
  const light = await background()
  await page.dark(true)
  await until('dark', async () => await background() !== light)
  assert.equal(await background(), 'rgb(15, 20, 27)')
  // Firefox would draw scrollbars inside the page white.
  assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector('main')).scrollbarColor), 'rgb(169, 182, 200) rgba(0, 0, 0, 0)')
  await page.dark(false)
  await until('light', async () => await background() === light)
  await page.click('button', 'English')
  await page.shows('Which room is busiest?')
})

test('no view is too wide, and no control is cut off, on a screen and on a phone', async () => {
  for (const size of SIZES) {
    await page.resize(...size)
    for (const hash of VIEWS) {
      await visit(hash)
      await page.until(hash, hash => location.hash === hash && document.querySelector('h1') && !document.querySelector('.result[aria-busy=true]'), hash)
      if (!/overview|tail|log/.test(hash)) await page.until(`${hash}: a result`, () => document.querySelector('.result[aria-busy=false] *'))
      assert.deepEqual(await layout(), [], `${hash} at ${size[0]}`)
    }
  }
  await page.resize(...SIZES[0])
})

test('a session is disconnected, after a question', async () => {
  const ended = once(clients[5], 'close')
  await visit('#why?source=demo&userid=user-5')
  await page.shows('Connected: 1 session.')
  await page.click('button', 'Disconnect…')
  await page.shows('1 session on this relay', 'dialog[open]')
  assert.match(await page.evaluate(() => document.querySelector('dialog').innerText), /relay ends all sessions of the user user-5 of the source demo/)
  // Escape does nothing to anybody.
  await page.type('Escape')
  await page.until('no dialog', () => !document.querySelector('dialog'))
  assert.equal(clients[5].readyState, clients[5].OPEN)
  await page.click('button', 'Disconnect…')
  await page.shows('1 session on this relay', 'dialog[open]')
  await page.click('button', 'Disconnect')
  await page.shows('Done: 1 session on this relay.', 'dialog[open]')
  assert.deepEqual([(await ended)[0], String((await ended)[1])], [1008, 'disconnected by the operator'])
  await page.click('button', 'Close')
  await page.shows('Not connected: no session has this user id.')
  assert.equal(clients[6].readyState, clients[6].OPEN)
})

test('relay restarts: the console says so, and comes back by itself', async () => {
  const { port } = relay, args = relay.child.spawnargs
  await visit('#overview')
  await live()
  await relay.stop()
  await page.shows('relay is not reachable, trying again.', '.banner')
  relay = await start(port, args.slice(args.indexOf('--config')))
  await live()
  assert.equal(await page.evaluate(() => document.querySelector('.banner').hidden), true)
  clients.push(await member(relay, 'crowd'))
  await until('the only client', async () => await page.evaluate(() => document.querySelector('.facts dd').textContent) === '1')
  await page.click('button', 'Sign out')
  await page.shows('Admin token')
  assert.equal(await page.evaluate(() => sessionStorage.length), 0)
})

test('Firefox has reported nothing, and the token was in no URL and in one header', async () => {
  assert.deepEqual(page.wrong, [])
  // What its own log has about the files of the console: refused, not found, of the wrong type.
  assert.deepEqual((await page.log(relay.url)).filter(line => /error|warning/i.test(line)), [])
  const forms = [TOKEN, encodeURIComponent(TOKEN), encodeURIComponent(TOKEN).replaceAll('%20', '+')]
  assert.ok(page.requests.some(request => request.url.includes('/api/live')))
  for (const { url, headers } of page.requests) {
    for (const form of forms) assert.ok(!url.includes(form), url)
    for (const [name, value] of headers) if (name !== 'authorization') for (const form of forms) assert.ok(!value.includes(form), `${name}: ${value}`)
    if (url.includes('/api/')) assert.deepEqual(headers.filter(([name, value]) => ['referer', 'cookie'].includes(name) && value), [], url)
  }
  for (const line of relay.log) for (const form of forms) assert.ok(!line.includes(form), line)
})
