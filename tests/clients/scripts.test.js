'use strict'
// The scripts that relay serves to pages: what they are built of, and the client in a real browser, on a page of another
// origin, against the real relay.
const assert = require('node:assert/strict')
const { createHash } = require('node:crypto')
const { once } = require('node:events')
const http = require('node:http')
const path = require('node:path')
const { after, afterEach, before, describe, test } = require('node:test')
const vm = require('node:vm')
const acorn = require('acorn')
const { chromium } = require('playwright-core')
const { io } = require('socket.io-client-4.8')
const ts = require('typescript')
const { WebSocketServer } = require('ws')
const { PATIENCE, configuration, login, start, steadyTest, until } = require('./relay')
const { build, read, SCRIPTS } = require('./scripts')

const TOKEN = 'a token for these tests'

describe('the files', () => {
  test('what is committed is what is built, and small', async () => {
    for (const [name, text] of await build()) assert.ok(read(name) === text, `${name}: node scripts.js build`)
    assert.ok(Buffer.byteLength(read('node_im.min.js')) < 12000)
  })

  test('any browser of the last years can read them', () => {
    for (const name of ['md5.js', 'node_im.js', 'node_im.min.js', 'node_im_remote_debug.js']) acorn.parse(read(name), { ecmaVersion: 5 })
  })

  test('md5', () => {
    const md5 = require('../../src/www/js/md5.js')
    const same = text => assert.equal(md5(text), createHash('md5').update(Buffer.from(String(text))).digest('hex'), String(text).slice(0, 40))
    for (let length = 0; length <= 200; length++) {
      same('x'.repeat(length))
      same('é'.repeat(length))
    }
    for (const text of ['退出群聊', '𝄞 😀', '\ud800', 'a\udc00b', '\ud83d\ud83d\ude00', '\0', 12, 1.5, null, undefined, true, [1, 2], 'y'.repeat(1 << 20)]) same(text)
  })

  test('a second inclusion leaves the first alone, and a private copy is private', () => {
    const context = vm.createContext({ location: {} })
    vm.runInContext(read('node_im.min.js'), context)
    const first = vm.runInContext('NODE_IM', context)
    vm.runInContext(read('node_im.js'), context)
    assert.ok(first.init && context.NODE_IM === first && context.XIN_NODE === first)
    const { code } = SCRIPTS['node_im_remote_debug.js']
    vm.runInContext(code(read('node_im.js'), 'seen = NODE_IM'), context)
    assert.ok(context.seen.init && context.seen !== first && context.NODE_IM === first)
  })

  test('the types', () => {
    const types = path.join(__dirname, '../../src/www/js/node_im.d.ts')
    /** What is wrong with a program, by line. */
    const wrong = code => {
      const sample = path.join(__dirname, 'sample.ts')
      const options = { strict: true, noEmit: true, types: [], target: ts.ScriptTarget.ES2015, lib: ['lib.es2015.d.ts', 'lib.dom.d.ts'] }
      const host = ts.createCompilerHost(options)
      const { getSourceFile } = host
      host.getSourceFile = (name, ...rest) => name === sample ? ts.createSourceFile(name, code, options.target) : getSourceFile.call(host, name, ...rest)
      const program = ts.createProgram([types, sample], options, host)
      return ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) =>
        `${file ? file.getLineAndCharacterOfPosition(start).line : ''}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`)
    }
    assert.deepEqual(wrong(`
      const client = XIN_NODE.init('http://127.0.0.1:4000?sign=' + md5('demo' + 1), {
        receive_message_callback: message => { const room: string = message.room_id; message.data.anything; room.length },
        connected_callback: socket => { socket.on('newMsg', message => message.id.length).emit('postMsg', 1, 'r', (answer: unknown) => answer) },
        sys_error_callback: err => err.length,
        disconnected_callback: reason => reason.length,
        max_attemptNumber: 3,
        reconnect_attempt_failed_callback: () => XIN_NODE.close(),
        connect_error_callback: error => { if (error.reason === 'refused') error.message.length; error.cause },
        recovery_callback: recovery => { const rooms: string[] = recovery.rooms; recovery.recovered || recovery.missed.toFixed(); rooms; recovery.id.length },
        recovery: false
      })
      const other: false | NodeIm.Client = NODE_IM.create().init(() => '?a', { nsp: '/chat' })
      XIN_NODE.init(() => Promise.resolve('?a')); XIN_NODE.init(async () => '?a'); other
      if (client) client.send_msg({ a: [1] }, ['a', 'b']) && NODE_IM.send_msg('x', 'a,b')
      const id: string | undefined = NODE_IM.socket_local?.id
      NODE_IM.init('', {}) === false; NODE_IM.connected() === true; id
    `), [])
    const mistakes = [
      'XIN_NODE.init()', 'XIN_NODE.init("", { max_attemptNumber: "3" })', 'XIN_NODE.init("", { recieve_message_callback: () => {} })', 'XIN_NODE.init("", { recovery: "30s" })',
      'XIN_NODE.send_msg("x")', 'XIN_NODE.send_msg("x", 7)', 'XIN_NODE.init("").connected()', 'XIN_NODE.socket_local.id',
      'XIN_NODE.debugging = true', 'XIN_NODE.init(() => 7)', 'XIN_NODE.init(() => Promise.resolve())', 'XIN_NODE.init("", { nsp: 1 })',
      'NODE_IM.init("", { connect_error_callback: e => e.reason === "mood" })', 'const n: number = md5("x")', 'md5()', 'NODE_IM.init("", { receive_message_callback: (m: number) => m })'
    ]
    assert.deepEqual(wrong(mistakes.join(';\n')).map(parseFloat), mistakes.map((_, line) => line))
  })
})

/** The client without a browser, at virtual time: `run(ms)` lets time pass. Its WebSockets do what a test does to them, and
    every HTTP request fails, as without a network. */
function world() {
  const timers = new Map(), listeners = new Set(), sockets = [], requests = [], lines = []
  let count = 0, now = 1.8e12
  const timer = (fn, delay = 0, every) => {
    timers.set(++count, { fn, delay, at: now + Math.max(delay, 0), every })
    return count
  }
  const target = {
    addEventListener: (name, fn) => listeners.add({ name, fn }),
    removeEventListener: (name, fn) => listeners.forEach(known => { if (known.name === name && known.fn === fn) listeners.delete(known) })
  }
  class Socket {
    constructor(url) {
      Object.assign(this, { url, readyState: 0, sent: [] })
      sockets.push(this)
    }
    send(packet) { this.sent.push(packet) }
    close() { this.readyState = 3 }
    /** Opens, and logs in. */
    join() {
      this.readyState = 1
      this.onmessage({ data: '0{"sid":"x","pingInterval":25000,"pingTimeout":20000,"maxPayload":1000}' })
      this.onmessage({ data: '40{"sid":"y"}' })
    }
    end(code = 1006, reason = '') {
      this.readyState = 3
      if (this.onclose) this.onclose({ code, reason })
    }
  }
  const window = Object.assign({}, target), document = Object.assign({ hidden: false }, target)
  const context = vm.createContext({
    window, document, URL, WebSocket: Socket, navigator: {},
    location: { protocol: 'http:', host: 'page.example', origin: 'http://page.example' },
    Date: { now: () => now }, Math: Object.create(Math), Promise: undefined,
    setTimeout: timer, setInterval: (fn, delay) => timer(fn, delay, true), clearTimeout: id => timers.delete(id), clearInterval: id => timers.delete(id),
    XMLHttpRequest: class {
      open(method, url) { requests.push(url) }
      send() { this.timer = timer(() => { this.status = 0; if (this.onerror) this.onerror() }, 1) }
      abort() { timers.delete(this.timer) }
    },
    console: { warn: text => lines.push(['warn', text]), error: text => lines.push(['error', text]) }
  })
  vm.runInContext(read('node_im.min.js'), context)
  return {
    client: context.NODE_IM, context, document, timers, listeners, sockets, requests, lines,
    get now() { return now },
    /** Sets the clock, without a timer that runs: the machine slept. */
    sleep(ms) {
      now += ms
      for (const timer of timers.values()) timer.at += ms
    },
    run(ms) {
      const end = now + ms
      for (;;) {
        let first
        for (const [id, timer] of timers) if (timer.at <= end && (!first || timer.at < first[1].at)) first = [id, timer]
        if (!first) break
        now = Math.max(now, first[1].at)
        if (first[1].every) first[1].at = now + first[1].delay; else timers.delete(first[0])
        first[1].fn()
      }
      now = end
    },
    /** The page, its network or its window says this. */
    say(name, event = {}) { for (const known of [...listeners]) if (known.name === name) known.fn(event) }
  }
}

describe('the client, at virtual time', () => {
  const URL = 'http://relay.example?source=demo'
  const last = list => list[list.length - 1]

  test('ten thousand pages of a restarted relay come back within seconds, not within one', () => {
    for (const code of [1001, 1012, 1006]) {
      const { client, sockets, timers } = world()
      for (let i = 0; i < 10000; i++) client.create().init(URL, {})
      sockets.forEach(socket => socket.join())
      sockets.forEach(socket => socket.end(code, 'relay is stopping, come back'))
      const came = [0, 0, 0, 0, 0]
      for (const { delay, every } of timers.values()) if (!every) came[Math.floor(delay / 1000)]++
      assert.equal(came.reduce((a, b) => a + b), 10000, String(came))
      assert.ok(Math.max(...came) < 4000, String(came))
      assert.ok(came[0] > 500, 'the first do not wait for long: ' + came)
    }
  })

  test('it never stops trying, ever slower up to half a minute, and says why once', () => {
    const { client, sockets, lines, run, timers } = world()
    const failures = [], given_up = []
    client.init(URL, { reconnect_attempt_failed_callback: () => given_up.push(failures.length) })
    client.socket_local.on('connect_error', error => failures.push(error.reason))
    let tries = 0
    for (let i = 0; i < 100000 && tries < 300; i++) {
      run(500)
      for (const socket of sockets.splice(0)) {
        tries++
        socket.end()
      }
    }
    run(1)
    assert.ok(failures.length >= 299 && failures.every(reason => reason === 'unreachable'), String(failures.slice(0, 9)))
    assert.deepEqual(given_up, [11], 'a page can tell its user')
    const { delay } = last([...timers.values()].filter(timer => !timer.every))
    assert.ok(delay >= 3000 && delay <= 30000, String(delay))
    assert.deepEqual(lines, [], 'a page that has a handler needs no console')
    client.close()
    const other = world()
    other.client.init(URL)
    for (let i = 0; i < 200; i++) {
      other.run(10000)
      other.sockets.splice(0).forEach(socket => socket.end())
    }
    assert.equal(other.lines.length, 1, String(other.lines))
    assert.match(other.lines[0].join(), /^warn,XIN_NODE: relay\.example cannot be reached/)
  })

  test('max_attemptNumber ends it, also as a string, and 0 is none', () => {
    for (const [most, tries] of [[0, 1], [3, 4], ['2', 3]]) {
      const { client, sockets, lines, run } = world()
      let ended = 0
      client.init(URL, { max_attemptNumber: most, reconnect_attempt_failed_callback: () => ended++ })
      for (let i = 0; i < 100; i++) {
        run(5000)
        sockets.forEach(socket => socket.end())
      }
      assert.deepEqual([sockets.length, ended, lines.length], [tries, 1, 1], String(most))
      assert.ok(client.init(URL), 'it can begin anew')
      client.close()
    }
    const { client, sockets, lines, run } = world()
    client.init(URL, { max_attemptNumber: 0, connect_error_callback() {} })
    sockets[0].end()
    run(1000)
    assert.deepEqual(lines, [['error', 'XIN_NODE: not connected after 0 attempts (max_attemptNumber): the session has ended']])
  })

  test('close() leaves no timer and no listener, in every state', () => {
    const states = {
      connecting: () => {},
      connected: ({ sockets }) => sockets[0].join(),
      'after a loss': ({ sockets }) => {
        sockets[0].join()
        sockets[0].end()
      },
      polling: ({ sockets }) => sockets[0].end(),
      waiting: ({ sockets, run }) => {
        sockets[0].end()
        run(100)
      },
      'waking up': ({ sockets, say }) => {
        sockets[0].join()
        say('online')
      }
    }
    for (const [name, reach] of Object.entries(states)) {
      const all = world()
      all.client.init(URL, {})
      assert.equal(all.listeners.size, 4, name)
      assert.ok(all.timers.size, name)
      reach(all)
      all.client.close()
      const { timers, listeners, sockets } = all
      all.run(100000)
      assert.deepEqual([timers.size, listeners.size, sockets.length], [0, 0, 1], name)
    }
    // The same after every other end.
    const refused = world()
    refused.client.init(URL, { sys_error_callback() {} })
    refused.sockets[0].readyState = 1
    refused.sockets[0].onmessage({ data: '0{"sid":"x","pingInterval":25000,"pingTimeout":20000,"maxPayload":1000}' })
    refused.sockets[0].onmessage({ data: '44{"message":"sign verify failed!"}' })
    const never = world()
    never.client.init(() => ({ then() {} }), {})
    assert.ok(never.timers.size)
    never.client.close()
    for (const { timers, listeners } of [refused, never]) assert.deepEqual([timers.size, listeners.size], [0, 0])
  })

  test('after sleep it connects at once, although no event says so', () => {
    const waiting = world()
    waiting.context.Math.random = () => 1e5 // it would wait for days
    waiting.client.init(URL)
    waiting.sockets[0].end()
    waiting.run(100000)
    assert.equal(waiting.sockets.length, 1)
    waiting.sleep(3600000)
    waiting.run(6000)
    assert.equal(waiting.sockets.length, 2)
    // A connection that did not survive is noticed soon, one that did stays.
    for (const alive of [false, true]) {
      const { client, sockets, sleep, run } = world()
      const lost = []
      client.init(URL, { disconnected_callback: why => lost.push(why) })
      sockets[0].join()
      sleep(3600000)
      run(5500)
      if (alive) sockets[0].onmessage({ data: '2' })
      run(3000)
      assert.deepEqual(lost, alive ? [] : ['ping timeout'])
    }
    // A clock that is set back does not make it wait for longer.
    const { client, sockets, sleep, run } = world()
    const lost = []
    client.init(URL, { disconnected_callback: why => lost.push(why) })
    sockets[0].join()
    sleep(-3600000)
    for (let i = 0; i < 30; i++) run(5000)
    assert.deepEqual(lost, [], 'it cannot know yet') // its pings are counted by that clock
    sockets[0].onmessage({ data: '2' })
    run(60000)
    assert.deepEqual(lost, ['ping timeout'])
  })

  test('a page that is shown again connects at once, but not without end', () => {
    const { client, sockets, say, run, document, context } = world()
    client.init(URL)
    context.Math.random = () => 1e5
    sockets[0].end()
    run(5000)
    document.hidden = true
    say('visibilitychange')
    run(5000)
    assert.equal(sockets.length, 1, 'hidden')
    document.hidden = false
    say('visibilitychange')
    run(0)
    assert.equal(sockets.length, 2)
    last(sockets).end()
    run(100)
    for (let i = 0; i < 100; i++) {
      say(['online', 'visibilitychange', 'pageshow'][i % 3])
      run(10)
      last(sockets).end()
    }
    assert.ok(sockets.length <= 4, String(sockets.length))
    // An attempt that began on another network is given up for a new one.
    run(2000)
    const begun = sockets.length
    run(4000)
    say('online')
    run(1000)
    assert.ok(sockets.length > begun)
  })

  test('a page that comes back from the cache of the browser connects at once', () => {
    const { client, sockets, say, run, context } = world()
    const lost = []
    client.init(URL, { disconnected_callback: why => lost.push(why) })
    sockets[0].join()
    context.Math.random = () => 1e5
    sockets[0].readyState = 3 // without an event
    say('pagehide', { persisted: true })
    say('pageshow', { persisted: true })
    run(1000)
    assert.deepEqual([lost, sockets.length], [['transport close'], 2])
    sockets[1].join()
    say('pageshow', { persisted: true })
    run(5000)
    assert.deepEqual([lost.length, client.connected()], [1, true])
  })

  test('the address is made anew for each attempt, and what goes wrong with that is said', () => {
    const { client, sockets, lines, run } = world()
    const errors = []
    let calls = 0, next = () => { throw new Error('no token') }
    client.init(() => {
      calls++
      return next()
    }, { connect_error_callback: error => errors.push([error.reason, error.message, error.cause && error.cause.message]) })
    const step = make => {
      next = make
      errors.length = 0
      for (let i = 0; i < 600 && !errors.length; i++) run(100)
      return errors[0]
    }
    run(0)
    assert.equal(calls, 1)
    assert.deepEqual(errors[0], ['address', 'the address function failed: no token', 'no token'])
    assert.deepEqual(step(() => ({ then: (_, no) => no(new Error('HTTP 500')) })), ['address', 'the address function failed: HTTP 500', 'HTTP 500'])
    assert.deepEqual(step(() => ({ then: (_, no) => no() })).slice(0, 2), ['address', 'the address function failed: undefined'])
    assert.deepEqual(step(() => {}).slice(0, 2), ['address', 'the address function returned undefined, not a string'])
    assert.deepEqual(step(() => null).slice(0, 2), ['address', 'the address function returned null, not a string'])
    assert.deepEqual(step(() => ({ then: yes => yes({}) })).slice(0, 2), ['address', 'the address function returned object, not a string'])
    assert.deepEqual(step(() => ({ then() { throw new Error('odd') } }))[1], 'the address function failed: odd')
    let late
    assert.deepEqual(step(() => ({ then: yes => { late = yes } })).slice(0, 2), ['address', 'the address function gave no address within 20 s'])
    late(URL)
    assert.deepEqual(step(() => 'ftp://relay.example').slice(0, 2), ['address', 'the address "ftp://relay.example" must begin with http:, https:, ws: or wss:'])
    assert.equal(sockets.length, 0)
    next = () => ({ then(yes, no) { yes(URL + '&turn=1'); yes(URL); no(new Error('twice')) } })
    run(60000)
    assert.match(sockets[0].url, /turn=1$/)
    sockets.splice(0)
    client.close()
    // Without a callback, the console has it.
    client.init(() => { throw new Error('no token') })
    run(300000)
    assert.deepEqual(lines, [['warn', 'XIN_NODE: the address function failed: no token']])
    client.close()
    late(URL)
    run(100000)
    assert.equal(sockets.length, 0)
  })

  test('an address that cannot be right is said, and the end', () => {
    const bad = {
      'ftp://relay.example/x?source=demo': 'must begin with http:, https:, ws: or wss:',
      'http://?source=demo': 'names no host',
      'http://relay.example:99999?source=demo': 'is not valid',
      'http://re lay?source=demo': 'is not valid'
    }
    for (const [url, why] of Object.entries(bad)) {
      const { client, sockets, timers, run } = world()
      const errors = []
      let ended = 0
      assert.ok(client.init(url, { connect_error_callback: error => errors.push(error.message), reconnect_attempt_failed_callback: () => ended++ }))
      assert.deepEqual(errors, [], 'init returns first')
      run(100000)
      assert.deepEqual(errors, [`the address ${JSON.stringify(url.split('?')[0])} ${why}`])
      assert.deepEqual([ended, sockets.length, timers.size], [1, 0, 0])
    }
    const { client, context, lines, run } = world()
    context.location.host = ''
    context.location.protocol = 'file:'
    client.init('?source=demo')
    run(10)
    client.init(URL, { nsp: '/a,b' })
    run(10)
    assert.deepEqual(lines, [['warn', 'XIN_NODE: the address "" names no host'], ['warn', 'XIN_NODE: the namespace "/a,b" must not contain , ? or #']])
  })

  test('what nobody handles is in the console', () => {
    const { client, sockets, lines, run } = world()
    const join = () => {
      client.init(URL)
      last(sockets).join()
    }
    join()
    const ring = {}
    ring.ring = ring
    client.send_msg(ring, 'r')
    client.send_msg('x'.repeat(2000), 'r')
    last(sockets).onmessage({ data: '42["sys_error","data can not be null!"]' })
    last(sockets).end()
    for (let i = 0; i < 150; i++) client.send_msg(i, 'r')
    run(5000)
    last(sockets).join()
    last(sockets).onmessage({ data: '41' })
    client.init(URL)
    last(sockets).readyState = 1
    last(sockets).onmessage({ data: '0{"sid":"x","pingInterval":25000,"pingTimeout":20000,"maxPayload":1000}' })
    last(sockets).onmessage({ data: '44{"message":"sign verify failed!"}' })
    assert.match(lines.shift().join(), /^error,XIN_NODE: TypeError: .*circular/)
    assert.deepEqual(lines, [
      ['error', 'XIN_NODE: the message is bigger than 1000 bytes'],
      ['error', 'XIN_NODE: data can not be null!'],
      ['warn', 'XIN_NODE: more than 100 messages wait for a connection: the oldest are dropped'],
      ['warn', 'XIN_NODE: relay ended the session'],
      ['error', 'XIN_NODE: relay refuses the login: sign verify failed!']
    ])
  })

  test('a refusal that is about the moment does not end the session', () => {
    const { client, sockets, lines, run } = world()
    const said = []
    client.init(URL, { sys_error_callback: why => said.push(why) })
    const texts = ['the backend is busy!', 'the backend does not answer!', 'relay is short of memory!']
    for (const text of texts) {
      last(sockets).readyState = 1
      last(sockets).onmessage({ data: '0{"sid":"x","pingInterval":25000,"pingTimeout":20000,"maxPayload":1000}' })
      last(sockets).onmessage({ data: `44{"message":"${text}"}` })
      const { length } = sockets
      for (let i = 0; i < 50 && sockets.length === length; i++) run(1000)
      assert.equal(sockets.length, length + 1, text)
    }
    last(sockets).join()
    assert.deepEqual([said, lines, client.connected()], [texts, [], true])
  })

  test('a namespace has its own packets', () => {
    for (const nsp of ['/chat', 'chat']) {
      const { client, sockets } = world()
      const got = [], answers = []
      client.init(URL, { nsp, receive_message_callback: message => got.push(message) })
      const [socket] = sockets
      socket.readyState = 1
      socket.onmessage({ data: '0{"sid":"x","pingInterval":25000,"pingTimeout":20000,"maxPayload":1000}' })
      socket.onmessage({ data: '40{"sid":"other"}' })
      assert.equal(client.connected(), false)
      socket.onmessage({ data: '40/chat,{"sid":"y"}' })
      assert.deepEqual([client.connected(), client.socket_local.id], [true, 'y'])
      client.send_msg({ a: 1 }, 'r')
      client.socket_local.emit('ask', 1, (...all) => answers.push(all))
      client.socket_local.on('question', answer => answer('yes'))
      for (const packet of ['43/chat,0["so"]', '42/chat,["newMsg",1]', '42["newMsg","of /"]', '42/chat,7["question"]', '451-/chat,["newMsg",{"_placeholder":true,"num":0}]']) {
        socket.onmessage({ data: packet })
      }
      socket.onmessage({ data: new ArrayBuffer(3) })
      assert.deepEqual(answers, [['so']])
      assert.deepEqual([got.length, got[0], got[1].byteLength], [2, 1, 3])
      client.close()
      assert.deepEqual(socket.sent, ['40/chat,{"since":""}', '42/chat,["postMsg",{"a":1},"r"]', '42/chat,0["ask",1]', '43/chat,7["yes"]', '41/chat,'])
    }
  })

  /** An id of relay: a number, and the relay's part. */
  const id = (number, relay = 'aaaaaa') => number.toString(32).padStart(11, '0') + relay

  test('relay is told what the page has had, and it gets each message once', () => {
    const { client, sockets, run } = world()
    const got = [], recoveries = []
    const config = { receive_message_callback: message => got.push(message.id), recovery_callback: recovery => recoveries.push(recovery) }
    client.init(URL, config)
    const say = (name, ...data) => last(sockets).onmessage({ data: '42' + JSON.stringify([name, ...data]) })
    const message = id => say('newMsg', { data: 'x', id })
    /** What the client says when it comes back. */
    const since = () => {
      const { length } = sockets
      last(sockets).end()
      for (let i = 0; i < 50 && sockets.length === length; i++) run(1000)
      last(sockets).join()
      return last(sockets).sent[0]
    }
    const is = id => `40{"since":"${id}"}`
    last(sockets).join()
    assert.equal(last(sockets).sent[0], is(''))
    // An older relay says nothing, and its messages have ids or none.
    assert.equal(since(), is(''))
    for (const odd of [undefined, 7, '', 'c5bd2b2c-e1a1-4d0e-8c95-2ca5b2b9e9e2', 12345678901234567, '123456789012345678', '1234567890123456w']) {
      message(odd)
      message(odd)
    }
    assert.equal(got.splice(0).length, 14)
    assert.equal(since(), is(''))
    message(id(5))
    assert.equal(since(), is(id(5)))
    // The position that relay says, until a newer message comes. A last value may be old.
    say('recovery', { recovered: true, missed: 0, id: id(1000) })
    assert.equal(since(), is(id(1000)))
    say('recovery', { recovered: false, missed: 3, rooms: ['a'], id: id(1000) })
    message(id(900))
    assert.equal(since(), is(id(1000)))
    say('recovery', { recovered: true, missed: 3, id: id(1000) })
    message(id(1001) + '.2')
    assert.equal(since(), is(id(1001) + '.2'))
    say('recovery', { recovered: true, missed: 3, id: id(1003) })
    message(id(1001) + '.2')
    message(id(1001) + '.3')
    assert.equal(since(), is(id(1001) + '.3'))
    // Another relay, which says nothing again.
    message(id(500, 'cccccc'))
    assert.equal(since(), is(id(500, 'cccccc')))
    // The last of several relays, whose clocks differ.
    message(id(3000, 'bbbbbb'))
    message(id(2000))
    assert.equal(since(), is(id(2000)))
    assert.deepEqual(got.splice(0), [id(5), id(900), id(1001) + '.2', id(1001) + '.3', id(500, 'cccccc'), id(3000, 'bbbbbb'), id(2000)])
    for (let i = 0; i < 256; i++) message(id(4000 + i))
    for (let i = 0; i < 256; i++) message(id(4000 + i))
    assert.equal(got.splice(0).length, 256)
    message(id(2000))
    assert.equal(got.splice(0).length, 1, 'that is too long ago to be known')
    const others = []
    client.socket_local.on('news', news => others.push(news))
    for (let i = 0; i < 3; i++) say('news', { id: id(7000) })
    assert.deepEqual([others.length, since()], [3, is(id(2000))])
    assert.deepEqual(recoveries.map(({ recovered, missed, rooms }) => [recovered, missed, ...rooms]), [
      [true, 0], [false, 3, 'a'], [true, 3], [true, 3]
    ])
    // A session of its own begins anew.
    client.close()
    client.init(URL, config)
    last(sockets).join()
    assert.equal(last(sockets).sent[0], is(''))
    message(id(2000))
    assert.deepEqual(got.splice(0), [id(2000)])
  })

  test('a page can say in its address since when, or not at all', () => {
    const { client, sockets, run } = world()
    const got = []
    const say = (name, data) => last(sockets).onmessage({ data: '42' + JSON.stringify([name, data]) })
    const again = () => {
      last(sockets).end()
      const { length } = sockets
      for (let i = 0; i < 50 && sockets.length === length; i++) run(1000)
      last(sockets).join()
      return last(sockets).sent[0]
    }
    client.init(URL + '&since=10m')
    last(sockets).join()
    assert.deepEqual([last(sockets).sent[0], again()], ['40', '40'])
    say('recovery', { recovered: true, missed: 0, id: id(5) })
    assert.equal(again(), `40{"since":"${id(5)}"}`)
    client.close()
    client.init(URL, { recovery: false, receive_message_callback: message => got.push(message) })
    last(sockets).join()
    for (let i = 0; i < 2; i++) say('newMsg', { id: id(5) })
    say('recovery', { recovered: true, missed: 0, id: id(5) })
    // From now on: relay would remember for it what it missed.
    assert.deepEqual([last(sockets).sent[0], got.length, again()], ['40{"since":""}', 2, '40{"since":""}'])
  })

  test('several clients on a page do not disturb each other', () => {
    const { client, sockets, context, run } = world()
    const other = client.create()
    assert.notEqual(other, client)
    client.init(URL + '&n=1')
    assert.ok(other.init(URL + '&n=2'))
    assert.equal(other.init(URL), false)
    sockets.forEach(socket => socket.join())
    client.close()
    run(1000)
    assert.deepEqual([client.connected(), other.connected(), context.XIN_NODE === client], [false, true, true])
  })
})

/** A relay that does as it is told: `answer(packet, socket)` for each packet that comes. */
async function puppet(answer, timing = '"pingInterval":25000,"pingTimeout":20000') {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  await once(server, 'listening')
  const got = []
  server.on('connection', socket => {
    socket.send(`0{"sid":"x","upgrades":[],"maxPayload":1000,${timing}}`)
    socket.on('message', packet => {
      got.push(String(packet))
      if (String(packet).startsWith('40')) socket.send('40{"sid":"y"}')
      answer(String(packet), socket)
    })
  })
  const stop = () => {
    server.close()
    server.clients.forEach(client => client.terminate())
  }
  return { got, stop, host: `127.0.0.1:${server.address().port}` }
}

// What a page can do to its WebSocket before the client sees it, as proxies and policies do.
const BLOCKS = {
  'a WebSocket': () => {},
  'polling, without WebSocket': () => { window.WebSocket = undefined },
  'polling, where a WebSocket is not allowed': () => { window.WebSocket = function () { throw new Error('not allowed') } },
  'polling, where no WebSocket opens': () => {
    const Real = WebSocket
    window.WebSocket = function () { return new Real('ws://127.0.0.1:1/') }
  },
  'polling, where a WebSocket never opens': () => { window.WebSocket = function () { this.close = () => {} } }
}
const BLOCKED = BLOCKS['polling, without WebSocket']

describe('the client', () => {
  let browser, site, origin, relay, args
  const contexts = []

  before(async () => {
    args = configuration(`
[admin]
token = "${TOKEN}"
[socketio]
path = ["/socket.io/", "/else/where/"]
ping_interval = 0.5
ping_timeout = 2
max_payload = 20000
[limits]
message_rate = 0
[namespaces."/chat"]
auth = "open"
source = "demo"
join = true
[[namespaces."/chat".rules]]
event = "msg"
send = "rooms"
`)
    relay = await start(0, args)
    browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox'] })
    site = http.createServer((request, response) => {
      response.setHeader('Content-Type', 'text/html; charset=UTF-8')
      response.end(`<!DOCTYPE html><title>x</title><script src="${relay.url}/js/node_im.min.js"></script>`)
    })
    await new Promise(resolve => site.listen(0, '127.0.0.1', resolve))
    origin = `http://127.0.0.1:${site.address().port}`
  })
  afterEach(() => Promise.all(contexts.splice(0).map(context => context.close())))
  after(async () => {
    await browser.close()
    site.close()
    assert.equal(await relay.stop(), 0)
  })

  /** A page that has the client, with what went over its connections. */
  async function open(prepare = () => {}) {
    const context = await browser.newContext()
    contexts.push(context)
    const page = await context.newPage()
    page.setDefaultTimeout(PATIENCE)
    Object.assign(page, { errors: [], asked: [], pongs: 0 })
    page.on('pageerror', error => page.errors.push(error.message))
    page.on('request', request => {
      if (!request.url().includes('EIO=')) return
      page.asked.push(request.url())
      if (request.postData() === '3') page.pongs++
    })
    page.on('websocket', socket => {
      page.asked.push(socket.url())
      socket.on('framesent', frame => { if (frame.payload === '3') page.pongs++ })
    })
    await page.addInitScript(prepare)
    await page.addInitScript(() => {
      // `came` is all that the client says, and `init` makes it say that.
      window.came = { messages: [], connected: 0, errors: [], disconnected: [], failed: 0, refreshed: 0 }
      window.init = (url, more) => !!XIN_NODE.init(url, Object.assign({
        receive_message_callback: message => came.messages.push(message),
        connected_callback: () => came.connected++,
        sys_error_callback: err => came.errors.push(err),
        disconnected_callback: reason => came.disconnected.push(reason),
        reconnect_attempt_failed_callback: () => came.failed++
      }, more))
    })
    await page.goto(origin)
    return page
  }
  const address = (rooms, more) => `${relay.url}?${login(rooms, more)}`
  const init = (page, url, more) => page.evaluate(([url, more]) => init(url, more), [url, more])
  const connected = page => until('a connection', () => page.evaluate(() => XIN_NODE.connected()))
  const came = page => page.evaluate(() => came)
  const messages = (page, count) => until(`${count} messages`, async () => {
    const { messages } = await came(page)
    return messages.length >= count && messages
  })
  const send = (page, data, rooms) => page.evaluate(([data, rooms]) => XIN_NODE.send_msg(data, rooms), [data, rooms])
  const data = list => list.map(message => message.data)
  const post = (route, fields) => fetch(relay.url + route, {
    method: 'POST', headers: { Authorization: `Bearer ${TOKEN}` }, body: new URLSearchParams(fields)
  }).then(async answer => assert.equal(answer.status, 200, await answer.text()))

  async function restart(meanwhile) {
    const { port } = relay
    assert.equal(await relay.stop(), 0)
    try {
      await meanwhile()
    } finally {
      relay = await start(port, args)
    }
  }

  for (const [how, block] of Object.entries(BLOCKS)) describe(`by ${how}`, () => {
    const polls = block !== BLOCKS['a WebSocket']

    steadyTest('messages go both ways, and pings', async () => {
      const page = await open(block)
      assert.equal(await init(page, address('r,s')), true)
      await connected(page)
      assert.equal(page.asked.at(-1).includes('transport=websocket'), !polls)
      assert.equal(await send(page, { text: '你好 𝄞', list: [1, null] }, 'r,s'), true)
      assert.equal(await send(page, 'to one', ['s']), true)
      await messages(page, 3)
      await relay.notify('r', 'from the backend')
      const got = await messages(page, 4)
      assert.deepEqual(data(got), [{ text: '你好 𝄞', list: [1, null] }, { text: '你好 𝄞', list: [1, null] }, 'to one', 'from the backend'])
      assert.deepEqual(got.map(message => message.room_id), ['r', 's', 's', 'r'])
      await until('pings to be answered', () => page.pongs >= 3)
      const { connected: times, disconnected, errors } = await came(page)
      assert.deepEqual([times, disconnected, errors, page.errors], [1, [], [], []])
    })
  })

  for (const block of [undefined, BLOCKED]) describe(block ? 'when it polls' : 'with its WebSocket', () => {
    steadyTest('many messages stay in order', async () => {
      const page = await open(block)
      await init(page, address('many'))
      await connected(page)
      await page.evaluate(() => { for (let i = 0; i < 300; i++) XIN_NODE.send_msg(i + '.'.repeat(500), 'many') })
      assert.deepEqual(data(await messages(page, 300)).map(parseFloat), Array.from({ length: 300 }, (_, i) => i))
    })

    steadyTest('a refused login is told and is the end', async () => {
      const page = await open(block)
      await page.evaluate(url => {
        window.refused = new Promise(resolve => init(url, {
          sys_error_callback: err => resolve([err, XIN_NODE.connected(), XIN_NODE.send_msg('x', 'r')])
        }))
      }, `${relay.url}?source=demo&room_ids=r&sign=0123456789abcdef0123456789abcdef`)
      assert.deepEqual(await page.evaluate(() => window.refused), ['sign verify failed!', false, false])
      const { length } = page.asked
      await new Promise(resolve => setTimeout(resolve, 2500)) // longer than it would take to come back
      assert.equal(page.asked.length, length)
      assert.deepEqual(await came(page), { messages: [], connected: 0, errors: [], disconnected: [], failed: 0, refreshed: 0 })
      assert.equal(await init(page, address('r')), true)
      await connected(page)
    })

    steadyTest('a restarted relay gets what was queued, in order', async () => {
      const page = await open(block)
      await init(page, address('back'), { max_attemptNumber: 1000 })
      await connected(page)
      await restart(async () => {
        await until('the page to notice', () => page.evaluate(() => came.disconnected.length))
        assert.ok(await page.evaluate(() => {
          for (let i = 0; i < 120; i++) if (!XIN_NODE.send_msg(i, 'back')) return false
          return true
        }))
      })
      assert.deepEqual(data(await messages(page, 100)), Array.from({ length: 100 }, (_, i) => i + 20), 'the newest hundred')
      const { connected: times, disconnected } = await came(page)
      assert.deepEqual([times, disconnected], [2, ['transport close']])
      assert.equal(page.asked.at(-1).includes('websocket'), !block)
    })

    steadyTest('bytes come as bytes', async () => {
      const page = await open(block)
      await init(page, address('bytes'))
      await connected(page)
      const other = io(address('bytes'), { transports: ['websocket'], forceNew: true })
      try {
        other.emit('postMsg', { name: 'x', list: [Buffer.from([0, 1, 255]), Buffer.alloc(0)] }, 'bytes')
        other.emit('postMsg', 'text', 'bytes')
        await messages(page, 2)
        assert.deepEqual(await page.evaluate(() => {
          const { name, list } = came.messages[0].data
          return [name, list.map(part => part instanceof ArrayBuffer && [...new Uint8Array(part)]), came.messages[1].data]
        }), ['x', [[0, 1, 255], []], 'text'])
      } finally {
        other.close()
      }
    })

    steadyTest('what cannot be sent is told, and the connection stays', async () => {
      const page = await open(block)
      assert.equal(await send(page, 'x', 'r'), false, 'before init')
      const queued = await page.evaluate(url => init(url) && XIN_NODE.send_msg('你'.repeat(7000), 'r'), address('r'))
      assert.equal(queued, true, 'nobody knows yet how much is too much')
      await connected(page)
      assert.equal(await send(page, '你'.repeat(7000), 'r'), false)
      assert.equal(await page.evaluate(() => {
        const ring = {}
        ring.ring = ring
        return XIN_NODE.send_msg(ring, 'r')
      }), false)
      await page.evaluate(() => XIN_NODE.send_msg(undefined, 'r'))
      await send(page, 'still here', 'r')
      await messages(page, 1)
      await until('all errors', async () => (await came(page)).errors.length >= 4)
      const { errors, connected: times, disconnected } = await came(page)
      const big = 'the message is bigger than 20000 bytes'
      assert.deepEqual([errors.length, errors[0], errors[1], errors[3]], [4, big, big, 'data can not be null!'])
      assert.match(errors[2], /^TypeError: .*circular/)
      assert.deepEqual([times, disconnected], [1, []])
    })

    steadyTest('the end by close(), after what was sent before it', async () => {
      const [page, other] = [await open(block), await open()]
      await init(other, address('end'))
      await connected(other)
      await init(page, address('end', { watch_quit: 1 }))
      await connected(page)
      await page.evaluate(() => {
        XIN_NODE.send_msg('one', 'end')
        XIN_NODE.send_msg('two', 'end')
        XIN_NODE.close()
      })
      const got = await messages(other, 3)
      assert.deepEqual(data(got).map(data => data.key || data), ['one', 'two', 'user_quit'])
      assert.deepEqual((await came(page)).disconnected, ['io client disconnect'])
      assert.equal(await send(page, 'x', 'end'), false)
      assert.equal(await init(page, address('end')), true)
      await connected(page)
    })

    steadyTest('the end by the relay', async () => {
      const page = await open(block)
      await init(page, address('r', { userid: 'gone' }))
      await connected(page)
      await post('/api/disconnect', { userid: 'gone' })
      await until('the end', () => page.evaluate(() => came.disconnected.length))
      assert.deepEqual((await came(page)).disconnected, ['io server disconnect'])
      assert.equal(await send(page, 'x', 'r'), false)
    })

    steadyTest('a relay that is silent is left, and found again', async () => {
      const page = await open(block)
      await init(page, address('r'), { max_attemptNumber: 1000 })
      await connected(page)
      relay.child.kill('SIGSTOP')
      try {
        await until('the page to notice', () => page.evaluate(() => came.disconnected.length))
      } finally {
        relay.child.kill('SIGCONT')
      }
      await connected(page)
      assert.deepEqual((await came(page)).disconnected, ['ping timeout'])
    })
  })

  steadyTest('attempts end, and init works again', async () => {
    const page = await open()
    await init(page, address('r'), { max_attemptNumber: 2 })
    await connected(page)
    assert.equal(await init(page, address('r')), false, 'connected')
    await restart(async () => {
      await until('the page to notice', () => page.evaluate(() => came.disconnected.length))
      assert.equal(await init(page, address('r')), false, 'about to connect again')
      await until('the page to give up', () => page.evaluate(() => came.failed))
      assert.equal(await send(page, 'x', 'r'), false)
      assert.equal(await init(page, address('r'), { max_attemptNumber: 0 }), true)
      await until('the page to give up again', () => page.evaluate(() => came.failed === 2))
    })
    assert.equal(await init(page, address('r')), true)
    assert.equal(await init(page, address('r')), false, 'connecting')
    await connected(page)
    assert.equal((await came(page)).failed, 2)
  })

  steadyTest('what the page does not set keeps trying, and says once that it takes long', async () => {
    const page = await open(BLOCKED) // a browser slows WebSockets down that fail
    await init(page, address('r'))
    await connected(page)
    await page.evaluate(() => { Math.random = () => -0.1 }) // a hundredth of the usual delays
    await restart(async () => {
      const { length } = page.asked
      await until('many attempts', () => page.asked.length > length + 25)
      assert.equal((await came(page)).failed, 1)
    })
    await connected(page)
    assert.deepEqual([(await came(page)).failed, (await came(page)).connected], [1, 2])
  })

  steadyTest('reasons can be told apart, in a callback and in the console', async t => {
    const strict = await start(0, configuration('', 'origins = ["https://shop.example.org"]'))
    t.after(() => strict.stop())
    const bare = http.createServer((request, response) => {
      response.statusCode = request.url.startsWith('/socket.io/') ? 502 : 200
      response.end('<html>Bad gateway')
    })
    await new Promise(resolve => bare.listen(0, '127.0.0.1', resolve))
    t.after(() => bare.close())
    const closed = http.createServer()
    await new Promise(resolve => closed.listen(0, '127.0.0.1', resolve))
    const { port } = closed.address()
    await new Promise(resolve => closed.close(resolve))
    const query = '?' + login('r')
    const here = relay.url.slice('http://'.length)
    const cases = [
      [strict.url + query, {}, 'origin', `${strict.url.slice(7)} does not allow pages of ${origin}: add it to "origins" in the configuration of relay`],
      ['http://nowhere.invalid' + query, {}, 'unreachable', /^nowhere\.invalid cannot be reached: the device is offline, the name is unknown/],
      [`http://127.0.0.1:${port}${query}`, {}, 'unreachable', /cannot be reached/],
      [`http://127.0.0.1:${bare.address().port}${query}`, {}, 'http', /answers, but not to pages of .*: it may be a proxy without relay/],
      [relay.url + query, { path: '/js/' }, 'http', `${here} answers 404: not found; is the path /js/ right?`],
      [`${relay.url}?source=demo&room_ids=r&sign=0123456789abcdef0123456789abcdef`, {}, 'refused', 'sign verify failed!'],
      [relay.url + query.replace('source=demo', 'source=nobody'), {}, 'refused', 'this source can not be configured!'],
      [relay.url + query, { nsp: '/nowhere' }, 'refused', 'Invalid namespace'],
      [relay.url + query, { path: '/api/notify' }, 'http', `${here} answers 405: this is called with POST`],
      ['htp://' + here + query, {}, 'address', `the address "htp://${here}" must begin with http:, https:, ws: or wss:`]
    ]
    for (const [url, config, reason, message] of cases) {
      const page = await open()
      const lines = []
      page.on('console', line => lines.push(line.text()))
      const told = await page.evaluate(([url, config]) => new Promise(resolve => init(url, Object.assign(config, {
        sys_error_callback: null, connect_error_callback: error => resolve([error.reason, error.message, error instanceof Error])
      }))), [url, config])
      const matches = (is, wanted) => wanted instanceof RegExp ? assert.match(is, wanted) : assert.equal(is, wanted)
      matches(told[0], reason)
      matches(told[1], message)
      assert.equal(told[2], true)
      assert.ok(!lines.some(line => line.startsWith('XIN_NODE')), String(lines))
      await page.evaluate(() => XIN_NODE.close())
      await page.evaluate(([url, config]) => { XIN_NODE.init(url, config) }, [url, config])
      await until(`${told[1]} in the console`, () => lines.some(line => line.startsWith('XIN_NODE: ') && line.endsWith(told[1])))
      assert.deepEqual(page.errors, [])
    }
  })

  steadyTest('a login that expires is made anew, by a function or a promise', async () => {
    const page = await open()
    // The first address has expired; the page gets another one from its backend.
    const good = address('fresh')
    const stale = good.replace(/sign=[^&]*/, 'sign=0123456789abcdef0123456789abcdef')
    await page.evaluate(([stale, good]) => {
      window.calls = 0
      init(() => {
        const url = ++calls === 1 ? stale : good + '&turn=' + calls
        return calls % 2 ? url : new Promise(resolve => setTimeout(resolve, 10, url))
      })
      Math.random = () => 0
    }, [stale, good])
    await connected(page)
    assert.deepEqual([(await came(page)).errors, await page.evaluate(() => calls)], [['sign verify failed!'], 2])
    assert.match(page.asked.at(-1), /&turn=2(&|$)/)
    await restart(() => until('more attempts', () => page.evaluate(() => calls > 3)))
    await connected(page)
    const calls = await page.evaluate(() => window.calls)
    assert.match(page.asked.at(-1), new RegExp(`&turn=${calls}(&|$)`))
    await send(page, 'still', 'fresh')
    assert.deepEqual(data(await messages(page, 1)), ['still'])
    // An address that does not come leaves the page as it was.
    const other = await open()
    await other.evaluate(() => {
      XIN_NODE.init(async () => { throw new Error('the backend says 500') }, { connect_error_callback: error => { window.why = error.message + '|' + error.cause.message } })
    })
    assert.equal(await until('the reason', () => other.evaluate(() => window.why)), 'the address function failed: the backend says 500|the backend says 500')
    assert.deepEqual(other.errors, [], 'the rejection is handled')
  })

  steadyTest('a namespace, beside another one on the same page', async () => {
    for (const block of [undefined, BLOCKED]) {
      const page = await open(block)
      await page.evaluate(url => {
        window.chat = XIN_NODE.create()
        window.heard = []
        chat.init(url.split('?')[0] + '?userid=7', { nsp: '/chat' })
        chat.socket_local.on('msg', (...all) => heard.push(all))
        init(url)
      }, address('r'))
      await connected(page)
      await until('the other', () => page.evaluate(() => chat.connected()))
      const answer = await page.evaluate(() => new Promise(resolve => chat.socket_local.emit('join', 'lobby', resolve)))
      assert.equal(answer.code, 1, JSON.stringify(answer))
      await page.evaluate(() => chat.socket_local.emit('msg', { n: 1 }, 2))
      await until('the event', () => page.evaluate(() => heard.length))
      assert.deepEqual(await page.evaluate(() => heard), [[{ n: 1 }, 2]])
      await page.evaluate(() => chat.close())
      await send(page, 'still here', 'r')
      assert.deepEqual(data(await messages(page, 1)), ['still here'])
    }
  })

  steadyTest('a page that wakes up tries at once', async () => {
    const page = await open()
    await init(page, address('r'))
    await connected(page)
    // From now on it would wait for days.
    await page.evaluate(() => { Math.random = () => 1e5 })
    await restart(() => until('the page to notice', () => page.evaluate(() => came.disconnected.length)))
    await page.evaluate(() => window.dispatchEvent(new Event('online')))
    await connected(page)
    await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')))
    assert.equal((await came(page)).disconnected.length, 1)
  })

  steadyTest('refreshPage loads the page again, or calls', async () => {
    const page = await open()
    await page.evaluate(() => { window.here = true })
    await page.evaluate(url => init(url, { refresh_page_callback: () => came.refreshed++ }), address('fresh'))
    await connected(page)
    await post('/api/refresh', { source: 'demo', room_id: 'fresh' })
    await until('the callback', () => page.evaluate(() => came.refreshed === 1 && window.here))
    await page.evaluate(() => XIN_NODE.close())
    await init(page, address('fresh'))
    await connected(page)
    await Promise.all([page.waitForEvent('load'), post('/api/refresh', { source: 'demo', room_id: 'fresh' })])
    assert.equal(await page.evaluate(() => window.here), undefined)
  })

  steadyTest('a callback that throws is seen, and breaks nothing', async () => {
    const page = await open()
    await page.evaluate(url => init(url, {
      connected_callback: () => { throw new Error('on connect') },
      receive_message_callback: message => { came.messages.push(message); throw new Error('on ' + message.data) }
    }), address('r'))
    await connected(page)
    await send(page, 'one', 'r')
    await send(page, 'two', 'r')
    await messages(page, 2)
    await until('the errors', () => page.errors.length === 3)
    assert.deepEqual([page.errors, (await came(page)).disconnected], [['on connect', 'on one', 'on two'], []])
  })

  steadyTest('messages of the remote console are marked while they are handled', async t => {
    const page = await open()
    const { host, stop } = await puppet((packet, socket) => {
      if (packet.startsWith('40')) for (const source of ['demo', 'remote_debug']) socket.send(`42["newMsg",{"source":"${source}"}]`)
    })
    t.after(stop)
    await page.evaluate(url => init(url, {
      receive_message_callback: () => { came.messages.push(XIN_NODE.debugging); throw new Error('even so') }
    }), `ws://${host}`)
    assert.deepEqual(await messages(page, 2), [false, true])
    assert.equal(await page.evaluate(() => XIN_NODE.debugging), false)
  })

  steadyTest('what is no relay is not polled without end', async () => {
    const page = await open(BLOCKED)
    await page.route('**/socket.io/**', route => route.fulfill({
      body: '<html>Welcome to our network', headers: { 'Access-Control-Allow-Origin': '*' }
    }))
    await init(page, address('r'), { max_attemptNumber: 1 })
    await until('the page to give up', () => page.evaluate(() => came.failed))
    assert.equal(page.asked.length, 2)
  })

  steadyTest('a page that goes away is gone', async () => {
    const [page, other] = [await open(BLOCKED), await open()]
    await init(other, address('away'))
    await connected(other)
    await init(page, address('away', { watch_quit: 1 }))
    await connected(page)
    await page.goto('about:blank')
    assert.equal((await messages(other, 1))[0].data.key, 'user_quit')
  })

  steadyTest('a page that was busy or asleep is not taken for a dead connection', async t => {
    const page = await open()
    const { host, got, stop } = await puppet((packet, socket) => {
      if (packet.startsWith('40')) setInterval(() => socket.send('2'), 50).unref()
    }, '"pingInterval":200,"pingTimeout":200')
    t.after(stop)
    await init(page, `ws://${host}`)
    await connected(page)
    await page.evaluate(() => { for (const end = Date.now() + 1500; Date.now() < end;); })
    const { length } = got
    await until('pings to be answered', () => got.length > length + 20)
    assert.deepEqual((await came(page)).disconnected, [])
  })

  steadyTest('the socket: handlers, acknowledgements both ways', async t => {
    const page = await open()
    const { host, got, stop } = await puppet((packet, socket) => {
      if (!packet.startsWith('420')) return
      socket.send('461-0[{"_placeholder":true,"num":0},"and more"]')
      socket.send(Buffer.from([7]))
      socket.send('4212["question",{"a":1}]')
    })
    t.after(stop)
    await page.evaluate(url => {
      window.seen = []
      init(url)
      const socket = XIN_NODE.socket_local
      const never = () => seen.push('never')
      socket.on('connect', () => seen.push(['connect', socket.id, socket.connected])).on('question', never)
      socket.off('question', never).on('question', (what, answer) => answer('to', what))
      socket.emit('ask', 1, (buffer, more) => seen.push([new Uint8Array(buffer)[0], more]))
    }, `http://${host}/some/path`)
    await until('the answer', () => got.length === 3)
    assert.deepEqual(got, ['40{"since":""}', '420["ask",1]', '4312["to",{"a":1}]'])
    assert.deepEqual(await page.evaluate(() => seen), [['connect', 'y', true], [7, 'and more']])
    await page.evaluate(() => XIN_NODE.socket_local.disconnect())
    await until('the goodbye', () => got.length === 4)
    assert.equal(got[3], '41')
    await init(page, address('r'))
    const answer = await page.evaluate(() => new Promise(resolve => XIN_NODE.socket_local.emit('postMsg', 1, 'r', resolve)))
    assert.equal(answer.code, 1)
    await assert.rejects(page.evaluate(() => XIN_NODE.socket_local.emit('connect')), /reserved/)
  })

  steadyTest('addresses', async () => {
    const page = await open()
    // Of the relay's own origin too.
    await page.goto(relay.url + '/js/md5.js')
    await page.addScriptTag({ url: '/js/node_im.min.js' })
    const query = login('r') + '&ext_info=a%2Bb+c%20d%E4%BD%A0'
    const here = relay.url.slice('http://'.length)
    const [usual, other] = ['/socket.io/', '/else/where/']
    for (const [url, at, config] of [
      [`http://${here}?${query}`, usual], [`http://${here}/?${query}#x`, usual], [`HTTP://${here}/a/b?${query}`, usual],
      [`ws://${here}?${query}`, usual], [`//${here}?${query}`, usual], [`${here}?${query}`, usual], [`?${query}`, usual],
      [`/a?${query}`, usual], [`?${query}`, other, { path: other }], [`?${query}`, other, { path: 'else/where' }]
    ]) {
      page.asked.length = 0
      assert.equal(await init(page, url, config), true, url)
      await connected(page)
      await until('the request', () => page.asked.length)
      assert.equal(page.asked[0], `ws://${here}${at}?EIO=4&transport=websocket&${query}`)
      await page.evaluate(() => XIN_NODE.close())
    }
    await init(page, `?${query}&x=你 \ud800`)
    await connected(page)
    assert.ok(page.asked.at(-1).endsWith(query + '&x=%E4%BD%A0%20%EF%BF%BD'), page.asked.at(-1))
  })
})
