'use strict'
// The operators' console of one of two relays that share a Redis: what it says about the other one, what its actions do there, and
// what it says when Redis is away.
const assert = require('node:assert/strict')
const { after, before, test } = require('node:test')
const { spawn } = require('node:child_process')
const { once } = require('node:events')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const io = require('socket.io-client-2.5')
const { login, until } = require('./relay')
const { TOKEN, ask, close, launch, live, member, open, relayWith, row, settled, text, visit } = require('./console_page')

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'relay-cluster-')), socket = path.join(directory, 'redis')
const CONFIGURATION = `[sources.shop]\nsign_key = "k"\n[redis]\nurl = "unix:${socket}"\nheartbeat = 0.3\n`

let redis, browser, relay, other, page, node, otherNode
before(async () => {
  await startRedis()
  relay = await relayWith(CONFIGURATION)
  other = await relayWith(CONFIGURATION);
  [node, otherNode] = await Promise.all([relay, other].map(async one => (await until('Redis', async () => {
    const stats = await ask(one, '/api/stats')
    return stats.relays?.length === 2 && stats
  })).node))
  browser = await launch()
  page = await open(browser, relay)
})
after(async () => {
  try { if (page) await close(page) } finally {
    await browser?.close()
    await relay?.stop()
    await other?.stop('SIGKILL')
    redis?.kill('SIGKILL')
    fs.rmSync(directory, { recursive: true, force: true })
  }
})

async function startRedis() {
  redis = spawn('redis-server', ['--port', '0', '--unixsocket', socket, '--save', '', '--dir', directory], { stdio: 'ignore' })
  await until('Redis', () => fs.existsSync(socket))
}
const dialog = () => page.locator('dialog[open]')
const press = name => dialog().getByRole('button', { name, exact: true }).click()
/** Opens a dialog by the button with this name, and waits until it says whom it reaches. */
async function begin(name, reaches) {
  await page.getByRole('button', { name }).first().click()
  await dialog().locator('.reaches').filter({ hasText: reaches }).waitFor()
}
/** A Socket.IO client, which knows events. */
async function socketio(at, rooms, userid) {
  const client = io(`${at.url}/?${login(rooms, { userid })}`, { transports: ['websocket'], forceNew: true, reconnection: false })
  client.events = []
  for (const event of ['newMsg', 'news', 'refreshPage', 'disconnect']) client.on(event, value => client.events.push([event, value]))
  await new Promise((resolve, reject) => { client.on('connect', resolve); client.on('connect_error', reject) })
  client.heard = event => until(event, () => client.events.find(([name]) => name === event))
  return client
}
/** Waits until the list of a relay has the sessions of a user, here and there. */
const known = (userid, number) => until(`${userid} in the lists`, async () => {
  const { list, complete } = await ask(relay, `/api/online?source=demo&userid=${userid}`)
  return complete && list.length === number
})
const part = name => page.locator('.parts > div').filter({ hasText: name })

test('the overview shows the other relay, and the sources those of all', async () => {
  const clients = [await member(relay, 'hall', { userid: 'here' }), await member(other, 'hall', { userid: 'there' }), await member(other, 'hall', { userid: 'there' })]
  await part('Redis').getByText('ok', { exact: true }).waitFor()
  await page.locator('.nodes').getByText(otherNode).waitFor()
  await page.locator('.nodes').getByText('2 sessions · 1 room').waitFor()
  await visit(page, '#sources')
  await until('all sessions', async () => /demo\s+1\s+3\s+1/.test(await row(page, 'demo').innerText()))
  await visit(page, '#users?source=demo')
  await row(page, 'there').waitFor()
  // Its sessions are not among those of this relay. The number leads to what is known of them.
  await row(page, 'there').getByRole('link', { name: '2', exact: true }).click()
  await page.getByText('Connected: 2 sessions. At another relay.').waitFor()
  await visit(page, '#sessions?source=demo&search=there')
  await page.getByText('Only sessions of this relay are searched.').waitFor()
  await page.getByRole('link', { name: 'Is there a user at another relay?' }).click()
  await page.getByText('Connected: 2 sessions. At another relay.').waitFor()
  for (const client of clients) client.terminate()
  await known('there', 0)
})

test('a user at both relays, and a message that was published at the other', async () => {
  const clients = [await member(relay, 'hall', { userid: 'both' }), await member(other, 'hall', { userid: 'both' })]
  await known('both', 2)
  await visit(page, '#why?source=demo&userid=both')
  await page.getByText('Connected: 2 sessions. 1 of them at another relay.').waitFor()
  const away = row(page, `at another relay: ${otherNode}`)
  // A page of it would say that there is no such session: its relay is named instead.
  assert.equal(await away.getByRole('button', { name: /^Session/ }).count(), 0)
  assert.match(await away.innerText(), /hall\s+\d+ s\s+–/)
  await page.getByText(`Open the console of ${otherNode}, `).waitFor()
  const answer = await fetch(other.url + '/api/notify', {
    method: 'POST', headers: { 'Content-Type': 'application/json', Authorization: 'Bearer ' + Buffer.from(TOKEN).toString('latin1') },
    body: JSON.stringify({ source: 'demo', room_id: 'hall', data: 'from afar', receipt: 'count' })
  })
  const { data: { id } } = await answer.json()
  await clients[0].heard('newMsg', frame => frame.data === 'from afar')
  await visit(page, `#why?source=demo&userid=both&room_id=hall&id=${id}`)
  await page.locator('.verdicts').getByText(`the message came from relay ${otherNode}`).waitFor()
  await page.locator('.verdicts').getByText(/was in the room/).waitFor()
  await page.locator('.history').getByText(`published by relay ${otherNode} to room hall`).waitFor()
  for (const client of clients) client.terminate()
  await known('both', 0)
})

test('a message and an event reach a room at the other relay, as the question says', async () => {
  const far = await socketio(other, 'lounge', 'far')
  await visit(page, '#tail?source=demo&room_id=lounge')
  await begin('Publish…', 'This reaches 0 sessions on this relay, and all at the other relays.')
  await dialog().getByLabel('Data of the message').fill('to all relays')
  assert.ok(await dialog().getByRole('button', { name: 'Publish', exact: true }).isDisabled())
  await dialog().getByLabel('Type 0 to confirm').fill('0')
  await press('Publish')
  await dialog().getByText('Published. 1 session gets it.').waitFor()
  await far.heard('newMsg')
  await press('Close')
  await page.locator('.message').getByText('to all relays').waitFor()
  await begin('Emit…', 'This reaches 0 sessions on this relay, and all at the other relays.')
  await dialog().getByLabel('Name of the event').fill('news')
  await dialog().getByLabel('Type 0 to confirm').fill('0')
  await press('Emit')
  await dialog().getByText('Done: 0 sessions on this relay. The command was sent to the other relays, too.').waitFor()
  await far.heard('news')
  await press('Close')
  far.close()
  await known('far', 0)
})

test('what is done to a user is done at both relays, and to nobody else', async () => {
  const near = await socketio(relay, 'hall', 'target'), far = await socketio(other, 'hall', 'target')
  const others = [await socketio(relay, 'hall', 'bystander'), await socketio(other, 'hall', 'bystander')]
  await known('target', 2)
  await known('bystander', 2)
  const both = 'This reaches 1 session on this relay, and 1 session at other relays.', done = 'Done: 1 session on this relay. The command was sent to the other relays, too.'
  await visit(page, '#why?source=demo&userid=target')
  await page.getByText('Connected: 2 sessions. 1 of them at another relay.').waitFor()
  await begin('Emit…', both)
  await dialog().getByLabel('Name of the event').fill('news')
  await press('Emit')
  await dialog().getByText(done).waitFor()
  await Promise.all([near, far].map(one => one.heard('news')))
  await press('Close')
  await begin('Reload pages…', both)
  await press('Reload pages')
  await dialog().getByText(done).waitFor()
  await Promise.all([near, far].map(one => one.heard('refreshPage')))
  await press('Close')
  // A trace is this relay's own.
  await begin('Trace…', 'This reaches 1 session on this relay.')
  assert.doesNotMatch(await dialog().innerText(), /other relays/)
  await press('Cancel')
  await begin('Disconnect…', both)
  await press('Disconnect')
  await dialog().getByText(done).waitFor()
  await Promise.all([near, far].map(one => one.heard('disconnect')))
  await press('Close')
  await page.getByText('Not connected: no session has this user id.').waitFor()
  assert.deepEqual(others.map(one => one.events), [[], []])
  // Of a source the number of all is known.
  await visit(page, '#sources')
  await until('all sessions', async () => /demo\s+1\s+2\s+1/.test(await row(page, 'demo').innerText()))
  await begin('Reload pages…', both)
  await dialog().getByLabel('Type 2 to confirm').fill('2')
  await press('Reload pages')
  await dialog().getByText(done).waitFor()
  await Promise.all(others.map(one => one.heard('refreshPage')))
  await press('Close')
  for (const one of others) one.close()
  await known('bystander', 0)
})

for (const [what, stop, start] of [
  ['hangs', () => redis.kill('SIGSTOP'), () => redis.kill('SIGCONT')],
  ['is killed', async () => { redis.kill('SIGKILL'); await once(redis, 'exit') }, startRedis]
]) {
  test(`Redis ${what}: the console says so and goes on, and all is well when Redis is back`, async () => {
    const far = await member(other, 'hall', { userid: 'far' }), near = await member(relay, 'hall', { userid: 'near' })
    await known('far', 1)
    await visit(page, '#overview')
    await page.locator('.nodes').getByText(otherNode).waitFor()
    await stop()
    await page.locator('.alerts').getByText('Failing: Redis.').waitFor()
    await part('Redis').getByText('failing').waitFor()
    await page.getByText('Not known: Redis is failing.').waitFor()
    // Numbers go on, and messages to members here.
    await live(page)
    const told = near.heard('newMsg', frame => frame.data === what)
    await relay.notify('hall', what)
    await told
    // Each view answers, and does not say that somebody is away who may be at the other relay.
    await visit(page, '#why?source=demo&userid=far')
    await page.getByText('Not connected to this relay.').waitFor()
    const partial = 'Not complete: what the other relays have could not be read from Redis.'
    await page.getByText(partial).waitFor()
    assert.doesNotMatch(await text(page), /Not found|no session has this user id/)
    await visit(page, '#users?source=demo')
    await settled(page)
    await page.getByText(partial).waitFor()
    await row(page, 'near').waitFor()
    await visit(page, '#sources')
    await page.getByText(partial).waitFor()
    await until('no sum', async () => /demo\s+1\s+–\s+1/.test(await row(page, 'demo').innerText()))
    await begin('Reload pages…', 'This reaches 1 session on this relay, and all at the other relays. Redis is failing: the other relays get it when Redis is back, or not at all.')
    assert.equal(await dialog().getByLabel('Type 1 to confirm').count(), 1)
    await press('Cancel')
    await visit(page, '#overview')
    await start()
    await page.locator('.alerts').waitFor({ state: 'hidden' })
    await part('Redis').getByText('ok', { exact: true }).waitFor()
    await page.locator('.nodes').getByText(otherNode).waitFor()
    await known('far', 1)
    await visit(page, '#why?source=demo&userid=far')
    await page.getByText('Connected: 1 session. At another relay.').waitFor()
    for (const client of [far, near]) client.terminate()
    await known('far', 0)
  })
}

test('the other relay stops: this one is alone', async () => {
  await visit(page, '#overview')
  await page.locator('.nodes').getByText(otherNode).waitFor()
  assert.notEqual(node, otherNode)
  await other.stop()
  await page.getByText('None: this relay is alone.').waitFor()
  await visit(page, '#sources')
  await begin('Reload pages…', 'This reaches 0 sessions on this relay.')
  assert.doesNotMatch(await dialog().innerText(), /other relays|to confirm/)
  await press('Cancel')
})
