'use strict'
// What the console does to clients: only after a confirmation, with what the real clients see of it.
const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { once } = require('node:events')
const io = require('socket.io-client-2.5')
const { clean } = require('./axe')
const { login, md5, until } = require('./relay')
const { close, launch, member, open, relayWith, row, settled, visit } = require('./console_page')

let browser, relay, page
before(async () => {
  browser = await launch()
  relay = await relayWith('[sources.shop]\nsign_key = "k"\n')
  page = await open(browser, relay, { bypassCSP: true })
})
after(async () => {
  try { await close(page) } finally {
    await browser.close()
    await relay.stop()
  }
})
const dialog = () => page.locator('dialog[open]')
/** Opens a dialog by the button with this name, and waits until it knows how many sessions it reaches. */
async function ask(name, reaches) {
  await page.getByRole('button', { name }).first().click()
  await dialog().getByText(new RegExp(`^${reaches} sessions?$`)).waitFor()
}
const press = name => dialog().getByRole('button', { name, exact: true }).click()
const posts = () => page.requests.filter(request => request.method() === 'POST').length
async function socketio(rooms, more) {
  const socket = io(`${relay.url}/?${login(rooms, more)}`, { transports: ['websocket'], forceNew: true })
  socket.events = []
  for (const event of ['newMsg', 'refreshPage', 'news', 'disconnect']) socket.on(event, value => socket.events.push([event, value]))
  await new Promise((resolve, reject) => { socket.on('connect', resolve); socket.on('connect_error', reject) })
  return socket
}

test('publish to a room: cancel sends nothing; the number must be typed; clients get it', async () => {
  const plain = await member(relay, 'lobby', { userid: 'a' }), old = await socketio('lobby', { userid: 'b' })
  await visit(page, '#tail?source=demo&room_id=lobby')
  await ask('Publish…', 2)
  assert.match(await dialog().innerText(), /all members of the room lobby of the source demo/)
  await clean(page, 'the dialog')
  await dialog().getByLabel('Data of the message').fill('never')
  await press('Cancel')
  await ask('Publish…', 2)
  await dialog().getByLabel('Data of the message').fill('never')
  await page.keyboard.press('Escape')
  await until('closed', async () => await dialog().count() === 0)
  // The focus is where it was.
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Publish…')
  assert.equal(posts(), 0)
  await page.keyboard.press('Enter')
  await dialog().getByText('2 sessions').waitFor()
  assert.ok(await dialog().getByRole('button', { name: 'Publish', exact: true }).isDisabled())
  await dialog().getByLabel('Data of the message').fill('{"price": 1.50, "id": 12345678901234567890}')
  await dialog().getByText('will be sent as JSON').waitFor()
  await dialog().getByLabel('Type 2 to confirm').fill('1')
  assert.ok(await dialog().getByRole('button', { name: 'Publish', exact: true }).isDisabled())
  await dialog().getByLabel('Type 2 to confirm').fill('2')
  await page.keyboard.press('Enter')
  await dialog().getByText('Published. 2 sessions get it. Its id is').waitFor()
  await clean(page, 'the dialog, done')
  assert.deepEqual((await plain.heard('newMsg')).data, { price: 1.5, id: 12345678901234567890 })
  await until('the old client', () => old.events.find(([event]) => event === 'newMsg'))
  await press('Close')
  // Digits and spaces arrive as they were typed: the tail shows them.
  await page.getByText('{"price": 1.50, "id": 12345678901234567890}').waitFor()
  // What is JSON can be sent as text.
  await ask('Publish…', 2)
  await dialog().getByLabel('Data of the message').fill('5')
  await dialog().getByLabel('as text, even if it is JSON').check()
  await dialog().getByLabel('Type 2 to confirm').fill('2')
  await press('Publish')
  await dialog().getByText('Published.').waitFor()
  await plain.heard('newMsg', frame => frame.data === '5')
  await press('Close')
  old.close()
  plain.terminate()
})

test('emit an event to the members of a room; a refusal is shown', async () => {
  const old = await socketio('den', { userid: 'b' })
  await visit(page, '#tail?source=demo&room_id=den')
  await ask('Emit…', 1)
  await dialog().getByLabel('Name of the event').fill('connect')
  // One session needs no second step.
  assert.ok(await dialog().getByLabel(/^Type/).isHidden())
  await press('Emit')
  await dialog().getByText(/relay refuses: this event's name belongs to Socket.IO!/).waitFor()
  await clean(page, 'a refusal')
  await dialog().getByLabel('Name of the event').fill('news')
  await dialog().getByLabel('Argument (may be empty)').fill('[1,"two"]')
  await press('Emit')
  await dialog().getByText('Done: 1 session on this relay.').waitFor()
  await until('the event', () => old.events.find(([event, value]) => event === 'news' && value[1] === 'two'))
  await press('Close')
  old.close()
})

test('reload the pages of a source, and not those of another', async () => {
  const here = await socketio('one', { userid: 'r' }), other = await member(relay, 'orders', { source: 'shop', sign: md5('shop' + 'orders' + 'k') })
  await visit(page, '#sources')
  await settled(page)
  const sources = row(page, 'demo')
  await sources.getByRole('button', { name: 'Reload pages…' }).click()
  const found = /(\d+) session/.exec(await until('the number', async () => { const words = await dialog().locator('.reach').textContent(); return /\d/.test(words) && words }))
  assert.match(await dialog().innerText(), /all sessions of the source demo/)
  if (Number(found[1]) > 1) await dialog().getByLabel(/Type \d+ to confirm/).fill(found[1])
  await press('Reload pages')
  await dialog().getByText(/^Done: \d+ session/).waitFor()
  await until('the event', () => here.events.find(([event]) => event === 'refreshPage'))
  assert.ok(!other.got.some(frame => frame.event === 'refreshPage'))
  await press('Close')
  here.close()
  other.terminate()
})

test('disconnect one session, and a user', async () => {
  const [one, two, three] = [await member(relay, 'x', { userid: 'victim' }), await member(relay, 'x', { userid: 'victim' }), await member(relay, 'x', { userid: 'bystander' })]
  const ended = socket => new Promise(resolve => socket.once('close', (code, why) => resolve([code, String(why)])))
  const ends = [ended(one), ended(two)]
  await visit(page, '#sessions?source=demo&search=victim')
  await until('both', async () => await row(page, 'victim').count() === 2)
  await row(page, 'victim').first().getByRole('button', { name: /^Session/ }).click()
  await page.getByRole('button', { name: 'Disconnect…' }).click()
  await dialog().getByText('1 session', { exact: true }).waitFor()
  assert.match(await dialog().innerText(), /relay ends the session/)
  await press('Disconnect')
  await dialog().getByText('Done: 1 session on this relay.').waitFor()
  assert.deepEqual(await Promise.race(ends), [1008, 'disconnected by the operator'])
  await press('Close')
  // The page says so at once, and what the records have about it.
  await page.getByText('This session has ended').waitFor()
  await page.locator('.history').getByText(/operator/).first().waitFor()
  assert.equal(await page.getByText('Connected, nothing waits').count(), 0)
  await clean(page, 'the page of a session that was ended')
  await page.setViewportSize({ width: 1280, height: 900 })
  await visit(page, '#why?source=demo&userid=victim')
  await page.getByText('Connected: 1 session').waitFor()
  await page.getByRole('button', { name: 'Disconnect…' }).click()
  await dialog().getByText('1 session', { exact: true }).waitFor()
  assert.match(await dialog().innerText(), /all sessions of the user victim of the source demo/)
  await press('Disconnect')
  await dialog().getByText('Done: 1 session on this relay.').waitFor()
  await Promise.all(ends)
  await press('Close')
  await page.getByText('Not connected').waitFor()
  assert.equal(three.readyState, three.OPEN)
  three.terminate()
  await once(three, 'close')
})

test('trace a user who is not there yet, and see it in the log', async () => {
  await visit(page, '#why?source=demo&userid=traced')
  await page.getByText('Not connected').waitFor()
  await ask('Trace…', 0)
  await press('Trace')
  await dialog().getByText('Trace 1 has begun.').waitFor()
  await clean(page, 'a trace')
  await page.setViewportSize({ width: 1280, height: 900 })
  await dialog().getByRole('link', { name: 'See it in the log' }).click()
  await page.getByRole('heading', { name: 'Log' }).waitFor()
  assert.equal(await dialog().count(), 0)
  const client = await member(relay, 'traced-room', { userid: 'traced' })
  await page.locator('.follow').getByText(/\[trace 1\].*traced-room/).first().waitFor()
  client.terminate()
})
