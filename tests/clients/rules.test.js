'use strict'
// Rules, pairing and POST /api/emit with real clients, mostly by the configurations in `examples/`; their pages in a browser.
const assert = require('node:assert/strict')
const fs = require('node:fs')
const { describe, test, before, after, afterEach } = require('node:test')
const WebSocket = require('ws')
const { chromium } = require('playwright-core')
const { PATIENCE, start, configuration, until, md5 } = require('./relay')
const { example, serve, open: openSocket, connect: connectSocket } = require('./examples')

const TOKEN = 'rules-token'
const ADMIN = `[admin]\ntoken = "${TOKEN}"\n`

const sockets = []
afterEach(() => sockets.splice(0).forEach(socket => socket.close()))
const keep = socket => { sockets.push(socket); return socket }
const open = (...args) => keep(openSocket(...args))
const connect = async (...args) => keep(await connectSocket(...args))

/** A plain WebSocket with what came. */
async function plain(relay, query) {
  const ws = new WebSocket(`${relay.url.replace('http', 'ws')}/ws?${query}`)
  ws.events = []
  ws.on('message', data => ws.events.push(JSON.parse(data)))
  await new Promise((resolve, reject) => ws.on('open', resolve).on('error', reject))
  ws.say = message => ws.send(JSON.stringify(message))
  return keep(ws)
}

/** Once it hears itself, all that was sent to it before is there. */
let fences = 0
async function fence(...members) {
  for (const socket of members) {
    const mark = `fence ${++fences}`
    socket.emit('echo', mark)
    await until('the fence', () => socket.events.some(event => event[1] === mark))
  }
}
const messages = socket => socket.named('msg').map(args => args[0]).filter(text => !/^fence/.test(text))

for (const version of ['2.5', '4.8']) describe(`the chat room of socket.io-client ${version}`, () => {
  let relay
  before(async () => { relay = await start(0, example('chat.toml', ADMIN)) })
  after(async () => assert.equal(await relay.stop(), 0))
  const member = (room, which = version) => connect(which, `${relay.url}/chat?room_ids=${room}`)

  test('others, everybody, oneself; two rooms do not leak', async () => {
    const [one, two, three, stranger] =
      await Promise.all([member('a'), member('a'), member('a', version === '2.5' ? '4.8' : '2.5'), member('b')])
    for (const socket of [one, two, three, stranger]) assert.deepEqual(await socket.came('welcome'), [[{ msg: '欢迎' }]])
    assert.deepEqual(await one.ask('msg', 'to the others'), [true])
    one.emit('say', 'to everybody')
    one.emit('echo', 'to me')
    await fence(one, two, three, stranger)
    assert.deepEqual(messages(one), ['to everybody', 'to me'])
    assert.deepEqual(messages(two), ['to the others', 'to everybody'])
    assert.deepEqual(messages(three), ['to the others', 'to everybody'])
    assert.deepEqual(messages(stranger), [])
    stranger.emit('say', 'elsewhere')
    await fence(stranger, one)
    assert.deepEqual([messages(stranger).length, messages(one).length], [1, 2])
  })

  test('join and leave; who shares two rooms gets it once', async () => {
    const [one, two] = await Promise.all([member('x'), connect(version, `${relay.url}/chat`)])
    one.emit('say', 'before')
    await fence(one, two)
    assert.deepEqual(messages(two), [])
    assert.equal((await two.ask('join', 'x,y'))[0].code, 1)
    assert.equal((await one.ask('join', ['y']))[0].code, 1)
    one.emit('msg', 'both')
    await fence(one, two)
    assert.deepEqual(messages(two), ['both'])
    assert.equal((await two.ask('leave', 'x'))[0].code, 1)
    one.emit('msg', 'still in y')
    await fence(one, two)
    assert.deepEqual(messages(two), ['both', 'still in y'])
    two.emit('leave', 'y')
    await fence(two)
    one.emit('msg', 'gone')
    await fence(one, two)
    assert.deepEqual(messages(two), ['both', 'still in y'])
  })

  test('several arguments and bytes, in order', async () => {
    const [one, two] = await Promise.all([member('bytes'), member('bytes')])
    for (let n = 0; n < 50; n++) one.emit('msg', n, { deep: [Buffer.from([n, 255])] }, null, 'x')
    await two.came('msg', 50)
    assert.deepEqual(two.named('msg'), Array.from({ length: 50 }, (_, n) => [n, { deep: [Buffer.from([n, 255])] }, null, 'x']))
  })

  test('an event without a rule goes nowhere, an unknown namespace is refused', async () => {
    const [one, two] = await Promise.all([member('a'), member('a')])
    one.emit('unknown', 1)
    one.emit('newMsg', { forged: true })
    await fence(one, two)
    assert.deepEqual([two.named('unknown'), two.named('newMsg')], [[], []])
    const lost = open(version, `${relay.url}/nowhere`)
    const event = version === '2.5' ? 'error' : 'connect_error'
    const error = await new Promise(resolve => lost.once(event, resolve))
    assert.equal(error.message ?? error, 'Invalid namespace')
    assert.equal(lost.connected, false)
  })

  test('a plain WebSocket in the namespace, both directions', async () => {
    const ws = await plain(relay, 'nsp=/chat&room_ids=w')
    await until('welcome', () => ws.events.length)
    assert.deepEqual(ws.events, [{ event: 'welcome', data: { msg: '欢迎' } }])
    const one = await member('w')
    one.emit('msg', { hello: 1 })
    one.emit('msg', 'two', Buffer.from('ab'))
    one.emit('msg')
    await until('three', () => ws.events.length === 4)
    assert.deepEqual(ws.events.slice(1), [
      { event: 'msg', data: { hello: 1 } }, { event: 'msg', args: ['two', { _base64: 'YWI=' }] }, { event: 'msg' }])
    ws.say({ event: 'say', data: { from: 'ws' } })
    ws.say({ event: 'msg', args: [1, 2], ack: 5 })
    await one.came('msg', 2)
    assert.deepEqual(one.named('msg'), [[{ from: 'ws' }], [1, 2]])
    await until('its own and the answer', () => ws.events.length === 6)
    assert.deepEqual(ws.events.slice(4),
      [{ event: 'msg', data: { from: 'ws' } }, { event: 'ack', ack: 5, code: 1, msg: '', data: true }])
    const refused = new WebSocket(`${relay.url.replace('http', 'ws')}/ws?nsp=/nowhere`)
    refused.on('error', () => {})
    const answer = await new Promise(resolve => refused.on('unexpected-response', (_, answer) => resolve(answer)))
    const body = await new Promise(resolve => answer.on('data', resolve))
    assert.deepEqual([answer.statusCode, JSON.parse(body).msg], [401, 'Invalid namespace'])
    refused.terminate()
  })
})

for (const version of ['2.5', '4.8']) describe(`news for socket.io-client ${version}`, () => {
  let relay
  before(async () => { relay = await start(0, example('news.toml')) })
  after(async () => assert.equal(await relay.stop(), 0))

  test('news on connect, other is taken', async () => {
    // To the letter what the tutorial's page does.
    const socket = open(version, relay.url)
    const answered = new Promise(resolve => socket.on('news', data => {
      assert.deepEqual(data, { hello: 'world' })
      socket.emit('other', { my: 'data' }, resolve)
    }))
    assert.deepEqual(await answered, { my: 'data' })
    assert.deepEqual(socket.events, [['news', { hello: 'world' }]])
  })

  test('a headline for everybody in the namespace and nobody elsewhere', async () => {
    const [one, two, three] = await Promise.all([1, 2, 3].map(() => connect(version, `${relay.url}/news`)))
    const elsewhere = await connect(version, relay.url)
    one.emit('headline', 'an event sent to all connected clients in the namespace', { some: 'data' })
    for (const socket of [one, two, three]) {
      await socket.came('headline')
      assert.deepEqual(socket.events, [['headline', 'an event sent to all connected clients in the namespace', { some: 'data' }]])
    }
    await elsewhere.ask('other')
    assert.deepEqual(elsewhere.named('headline'), [])
  })
})

for (const version of ['2.5', '4.8']) describe(`pairing with socket.io-client ${version}`, () => {
  const KEY = 'change me: a long random secret'
  let relay
  before(async () => { relay = await start(0, example('pairing.toml', ADMIN)) })
  after(async () => assert.equal(await relay.stop(), 0))

  /** The client code of the document. */
  async function logged(side, user, asText = false, which = version) {
    const socket = open(which, `${relay.url}/${side}`, { reconnectionAttempts: 10 })
    socket.on('connect', () => {
      const login = { userId: user, socketId: socket.id, userName: `name of ${user}` }
      socket.emit('user_login', asText ? JSON.stringify(login) : login)
    })
    assert.deepEqual(await socket.came('login_info'), [[{ succeeded: true }]])
    return socket
  }
  const users = async () => {
    const answer = await fetch(`${relay.url}/api/users?source=pairing&token=${TOKEN}`)
    return (await answer.json()).list
  }
  /** Everything there is for a socket is there. */
  const settled = async (...list) => {
    for (const socket of list) await socket.ask('check_app_status', { userId: 'nobody' })
  }
  const calls = socket => socket.events.filter(([name]) => name.startsWith('call_'))

  test('login, status, calls in both directions, untouched', async () => {
    const web = await logged('web', 'u1')
    assert.deepEqual(await web.ask('check_app_status', { userId: 'u1' }), [{ status: 0 }])
    web.emit('call_up', { userId: 'u1', cmd: 'ring' })
    assert.deepEqual(await web.came('error_message'), [[{ message: '未登录' }]])
    const app = await logged('app', 'u1', true)
    web.emit('check_app_status', { userId: 'u1' })
    assert.deepEqual((await web.came('check_app_status', 2))[1], [{ status: 1 }])
    const payload = { userId: 'u1', deep: [1.50, null, 'ü𝄞', { b: Buffer.from([0, 1, 254, 255]) }], 'a b': false }
    web.emit('call_up', payload)
    app.emit('call_in', payload, 'second', Buffer.from('bytes'))
    web.emit('call_in', '{"userId":"u1",  "text": true}')
    assert.deepEqual(await app.came('call_up'), [[payload]])
    assert.deepEqual(await app.came('call_in'), [['{"userId":"u1",  "text": true}']])
    assert.deepEqual(await web.came('call_in'), [[payload, 'second', Buffer.from('bytes')]])
    // Without a user in the payload it is the login's.
    app.emit('call_up', [1])
    assert.deepEqual(await web.came('call_up'), [[[1]]])
    app.close()
    await until('it is gone', async () => (await web.ask('check_app_status', {}))[0].status === 0)
  })

  test('several pages and apps of a user, each once; other users hear nothing', async () => {
    const webs = await Promise.all([logged('web', 'm'), logged('web', 'm'), logged('web', 'm')])
    const apps = await Promise.all([logged('app', 'm'), logged('app', 'm')])
    const others = await Promise.all([logged('web', 'n'), logged('app', 'n')])
    assert.deepEqual((await users()).filter(({ userid }) => 'mn'.includes(userid)), [
      { userid: 'm', sessions: 5, nsp: { '/app': 2, '/web': 3 } }, { userid: 'n', sessions: 2, nsp: { '/app': 1, '/web': 1 } }])
    webs[0].emit('call_up', { n: 1 })
    apps[0].emit('call_in', { userId: 'm', n: 2 })
    others[0].emit('call_up', { userId: 'm', n: 3 })
    for (const app of apps) await app.came('call_up', 2)
    for (const web of webs) await web.came('call_in')
    await settled(...webs, ...apps, ...others)
    for (const app of apps) {
      assert.deepEqual(app.named('call_up').map(([data]) => data.n).sort(), [1, 3])
      assert.equal(calls(app).length, 2)
    }
    for (const web of webs) assert.deepEqual(calls(web), [['call_in', { userId: 'm', n: 2 }]])
    for (const other of others) assert.deepEqual(calls(other), [])
    apps.forEach(app => app.close())
    await until('the apps to be gone', async () => (await users()).find(({ userid }) => userid === 'm').sessions === 3)
  })

  test('the first answer of who is called answers the caller, once', async () => {
    const web = await logged('web', 'p')
    const apps = await Promise.all([logged('app', 'p'), logged('app', 'p')])
    apps.forEach((app, n) => app.on('call_up', (data, answer) => { answer({ from: n }, Buffer.from([n])); answer('twice') }))
    let answers = 0
    const [first, bytes] = await new Promise(resolve =>
      web.emit('call_up', { x: 1 }, (...args) => { answers++; resolve(args) }))
    assert.deepEqual(bytes, Buffer.from([first.from]))
    for (const app of apps) await app.came('call_up')
    await settled(...apps, web)
    assert.equal(answers, 1)
    assert.deepEqual(await web.ask('call_up', { userId: 'absent' }), [{ code: 0, msg: '未登录', data: '' }])
  })

  test('nobody answers', async () => {
    const [web, app] = [await logged('web', 'q'), await logged('app', 'q')]
    const begin = Date.now()
    assert.deepEqual(await web.ask('call_up', {}), [{ code: 0, msg: 'nobody answered!', data: '' }])
    assert.ok(Date.now() - begin > 8000)
    assert.deepEqual(app.named('call_up').map(([data]) => data), [{}])
  })

  test('a backend speaks to a user, a room, a socket and everybody', async () => {
    const [web, other] = [await logged('web', 'e'), await logged('web', 'f', true, '4.8')]
    const app = await logged('app', 'e')
    const post = async (fields, headers) => {
      const json = headers && { ...headers, 'Content-Type': 'application/json' }
      const body = json ? JSON.stringify(fields) : new URLSearchParams(fields)
      return (await fetch(`${relay.url}/api/emit`, { method: 'POST', body, headers: json })).json()
    }
    const signed = (event, data, to = {}, nsp = '/web') => post({
      source: 'pairing', nsp, event, data, ...to, sign: md5(['emit', 'pairing', nsp, Object.keys(to)[0] ?? 'nsp', Object.values(to)[0] ?? '', event, data].join('\n') + KEY) })
    const reached = count => ({ code: 1, msg: '', data: { sessions: count } })
    assert.deepEqual(await signed('told', 'user', { userid: 'e' }), reached(1))
    assert.deepEqual(await signed('told', 'app', { userid: 'e' }, '/app'), reached(1))
    assert.deepEqual(await signed('told', 'socket', { socket_id: other.id }), reached(1))
    assert.deepEqual(await signed('told', 'absent', { userid: 'absent' }), reached(0))
    assert.deepEqual(await signed('told', 'empty room', { room_id: 'r' }), reached(0))
    const all = await signed('told', 'all')
    assert.ok(all.code === 1 && all.data.sessions >= 2, JSON.stringify(all))
    const bearer = { Authorization: `Bearer ${TOKEN}` }
    const order = { source: 'pairing', nsp: '/web', event: 'told', userid: 'f', args: [{ b: { _base64: 'AP8=' } }, null, 'x'] }
    assert.deepEqual(await post(order, bearer), reached(1))
    assert.deepEqual(await post({ ...order, token: TOKEN, args: [] }, {}), reached(1))
    await web.came('told', 2)
    await other.came('told', 4)
    await app.came('told')
    assert.deepEqual(web.named('told'), [['user'], ['all']])
    assert.deepEqual(other.named('told'), [['socket'], ['all'], [{ b: Buffer.from([0, 255]) }, null, 'x'], []])
    assert.deepEqual(app.named('told'), [['app']])
    const wrong = await post({ source: 'pairing', nsp: '/web', event: 'told', data: 'x', sign: md5('x') })
    assert.deepEqual([wrong.code, wrong.msg], [0, 'api notify sign verify failed!'])
    const refused = await fetch(`${relay.url}/api/emit`, { method: 'POST', body: new URLSearchParams({ ...order, args: '[]', token: 'x' }) })
    assert.ok(refused.status === 401 || refused.status === 403, String(refused.status))
    await settled(web, other)
    assert.equal(web.named('told').length, 2)
  })
})

const CUSTOM = rules => `${ADMIN}
[limits]
message_rate = 0
[namespaces."/r"]
auth = "open"
source = "demo"
join = true
${rules.map(rule => `[[namespaces."/r".rules]]\n${rule}\n`).join('')}`

for (const version of ['2.5', '4.8']) describe(`rules with socket.io-client ${version}`, () => {
  const RULES = [
    'event = "echo"\nsend = "self"',
    'event = "echoed"\nsend = "drop"\nack = "echo"',
    'event = "fixed"\nsend = "others"\nack = { code = 1, list = [1, "x"] }',
    'event = "peer"\nsend = "user"\nack = "peer"',
    'event = "move"\nsend = "others"\nvolatile = true',
    'event = "*"\nsend = "self"\nas = "anything"',
  ]
  let relay, args
  before(async () => {
    args = configuration(CUSTOM(RULES))
    relay = await start(0, args)
  })
  after(async () => assert.equal(await relay.stop(), 0))
  const member = (room, userid = '') => connect(version, `${relay.url}/r?room_ids=${room}&userid=${userid}`)
  const stats = async () => (await (await fetch(`${relay.url}/api/stats?token=${TOKEN}`)).json()).counters

  test('acknowledgements: echo, fixed, peer; what no other rule names', async () => {
    const [one, two, three] = await Promise.all([member('a', 'li'), member('a', 'li'), member('a', 'wang')])
    assert.deepEqual(await one.ask('echoed', 1, { b: Buffer.from('x') }, []), [1, { b: Buffer.from('x') }, []])
    assert.deepEqual(await one.ask('echoed'), [])
    assert.deepEqual(await one.ask('fixed', 'hello'), [{ code: 1, list: [1, 'x'] }])
    assert.deepEqual(await two.came('fixed'), [['hello']])
    two.on('peer', (data, answer) => answer(data, 'from two'))
    three.on('peer', (data, answer) => answer(data, 'from three'))
    assert.deepEqual(await one.ask('peer', { question: 1 }), [{ question: 1 }, 'from two'])
    assert.deepEqual(await one.ask('peer', { userId: 'wang' }), [{ userId: 'wang' }, 'from three'])
    assert.deepEqual(await one.ask('peer', { userId: 'absent' }), [{ code: 0, msg: '未登录', data: '' }])
    one.emit('something else', 7, Buffer.from('y'))
    assert.deepEqual(await one.came('anything'), [[7, Buffer.from('y')]])
    const ws = await plain(relay, 'nsp=/r&userid=zhao')
    const asked = one.ask('peer', { userId: 'zhao' })
    await until('the question', () => ws.events.length)
    assert.deepEqual(ws.events[0], { event: 'peer', data: { userId: 'zhao' }, ack: ws.events[0].ack })
    ws.say({ event: 'ack', ack: ws.events[0].ack, data: { from: 'ws' } })
    assert.deepEqual(await asked, [{ from: 'ws' }])
  })

  test('a reload changes what the next event does', async () => {
    const [one, two] = await Promise.all([member('s'), member('s')])
    const write = rules => fs.writeFileSync(args[1], fs.readFileSync(args[1], 'utf8').replace(/\[admin\][^]*/, '') + CUSTOM(rules))
    const reload = async rules => {
      const seen = relay.log.length
      write(rules)
      relay.child.kill('SIGHUP')
      await until('the reload', () => relay.log.slice(seen).some(line => /configuration re-read|configuration is bad/.test(line)))
    }
    one.emit('fixed', 'before')
    await two.came('fixed')
    await reload(['event = "echo"\nsend = "self"', 'event = "fixed"\nsend = "rooms"\nas = "changed"'])
    one.emit('fixed', 'after')
    assert.deepEqual(await two.came('changed'), [['after']])
    assert.deepEqual(await one.came('changed'), [['after']])
    assert.equal(two.named('fixed').length, 1)
    // A bad file changes nothing.
    await reload(['event = "fixed"\nsend = "everywhere"'])
    one.emit('fixed', 'still')
    assert.deepEqual((await two.came('changed', 2))[1], ['still'])
    await reload(RULES)
    one.emit('fixed', 'again')
    assert.deepEqual((await two.came('fixed', 2))[1], ['again'])
    assert.ok(one.connected && two.connected)
  })

  test('who does not read misses volatile events and nothing else, and stays', async () => {
    const [one, slow] = await Promise.all([
      connect(version, `${relay.url}/r?room_ids=v`, { transports: ['websocket'] }),
      connect(version, `${relay.url}/r?room_ids=v`, { transports: ['websocket'] })])
    const ws = slow.io.engine.transport.ws
    ws._socket.pause()
    const before = (await stats()).volatile_dropped
    const large = 'x'.repeat(100000)
    // Twenty times what relay would keep for a client; the acknowledgement says that all of it was dealt with.
    for (let n = 0; n < 200; n++) {
      one.emit('move', n, large)
      if (n % 20 === 19) await one.ask('echoed')
    }
    one.emit('fixed', 'last')
    await one.ask('echoed')
    const dropped = (await stats()).volatile_dropped - before
    ws._socket.resume()
    assert.deepEqual(await slow.came('fixed'), [['last']])
    const moves = slow.named('move').map(args => args[0])
    assert.ok(dropped > 0 && moves.length > 0, `${dropped} dropped, ${moves.length} came`)
    assert.equal(moves.length + dropped, 200)
    assert.deepEqual(moves, [...moves].sort((a, b) => a - b))
    one.emit('move', 'keeps up again')
    await until('it', () => slow.named('move').at(-1)[0] === 'keeps up again')
    assert.equal(slow.connected, true)
  })
})

describe('pages', () => {
  let browser
  before(async () => {
    browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox'] })
  })
  after(() => browser.close())

  /** A page on a fresh profile, with what went wrong in it. */
  async function visit(url, options = {}) {
    const page = await (await browser.newContext(options)).newPage()
    page.setDefaultTimeout(PATIENCE)
    page.wrong = []
    page.on('pageerror', error => page.wrong.push(String(error)))
    page.on('console', line => { if (['error', 'warning'].includes(line.type())) page.wrong.push(line.text()) })
    page.on('requestfailed', request => page.wrong.push(`${request.url()} ${request.failure()?.errorText}`))
    await page.goto(url)
    return page
  }
  const leave = async (...pages) => {
    for (const page of pages) {
      assert.deepEqual(page.wrong, [], page.url())
      await page.context().close()
    }
  }

  test('the chat', async () => {
    const relay = await start(0, example('chat.toml', ADMIN))
    const site = await serve(relay)
    const enter = async (room, name) => {
      const page = await visit(`${site.url}/chat.html#${room}`)
      await page.fill('#name', name)
      await until('connected', async () => await page.inputValue('#room') === room && await page.locator('#state').textContent() === 'connected')
      await page.locator('#log li', { hasText: '欢迎' }).waitFor()
      page.lines = async () => (await page.locator('#log li').allTextContents()).filter(text => text !== '欢迎')
      page.say = async (how, text) => {
        await page.selectOption('#how', how)
        await page.fill('#text', text)
        await page.click('button')
      }
      page.has = text => until(text, async () => (await page.lines()).includes(text))
      return page
    }
    const [one, two, three] = await Promise.all([enter('red', 'one'), enter('red', 'two'), enter('blue', 'three')])
    await one.say('say', 'hello <b>all</b>')
    await Promise.all([one, two].map(page => page.has('one: hello <b>all</b>')))
    await two.say('msg', 'others')
    await one.has('two: others')
    await one.say('echo', 'only me')
    await one.has('one: only me')
    await three.fill('#room', 'red')
    await three.press('#room', 'Enter')
    await three.has('now in red')
    await three.say('say', 'I am here')
    await Promise.all([one, two, three].map(page => page.has('three: I am here')))
    assert.deepEqual(await one.lines(), ['one: hello <b>all</b>', 'two: others', 'one: only me', 'three: I am here'])
    assert.deepEqual(await two.lines(), ['one: hello <b>all</b>', '(to the others) others', 'three: I am here'])
    assert.deepEqual(await three.lines(), ['now in red', 'three: I am here'])
    await leave(one, two, three)
    site.close()
    assert.equal(await relay.stop(), 0)
  })

  test('the game', async () => {
    const relay = await start(0, example('game.toml', ADMIN))
    const site = await serve(relay)
    const phone = { viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 }
    const enter = (room, options) => visit(`${site.url}/game.html#${room}`, options)
    const [one, two, three, far] = await Promise.all([enter('f'), enter('f', phone), enter('f'), enter('elsewhere')])
    const count = async page => Number(await page.locator('#count').textContent())
    for (const page of [one, two, three]) await until('three players', async () => await count(page) === 3)
    assert.equal(await count(far), 1)
    const id = await two.evaluate(() => me.id)
    const seen = () => one.evaluate(id => { const other = others.get(id); return [other.x, other.y] }, id)
    // A finger goes to the lower right corner: everybody sees the player come there.
    await two.evaluate(() => Object.assign(me, { x: 50, y: 50 }))
    await until('it far off', async () => (await seen())[0] < 200)
    await two.evaluate(() => {
      const event = { bubbles: true, pointerId: 1, clientX: 320, clientY: 320, buttons: 1, isPrimary: true }
      canvas.setPointerCapture = () => {}
      canvas.dispatchEvent(new PointerEvent('pointerdown', event))
    })
    await until('it near', async () => (await seen()).every(place => place > 700))
    await two.touchscreen.tap(100, 100)
    await one.focus('body')
    const from = await one.evaluate(() => me.x)
    const key = from > 500 ? 'ArrowLeft' : 'ArrowRight'
    await one.keyboard.down(key)
    await until('the key to move it', async () => Math.abs(await one.evaluate(() => me.x) - from) > 100)
    await one.keyboard.up(key)
    // A position 20 times a second from each of the two others; pictures go on meanwhile.
    const moves = await one.evaluate(() => new Promise(resolve => {
      let moves = 0
      const begin = [frames, performance.now()]
      socket.on('move', () => {
        if (++moves === 60) resolve({ frames: frames - begin[0], millis: performance.now() - begin[1] })
      })
    }))
    assert.ok(moves.frames > 5 && moves.millis > 1000 && moves.millis < 30000, JSON.stringify(moves))
    await leave(three)
    for (const page of [one, two]) await until('two players', async () => await count(page) === 2)
    await leave(one, two, far)
    site.close()
    assert.equal(await relay.stop(), 0)
  })
})
