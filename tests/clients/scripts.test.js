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
const { configuration, login, start, until } = require('./relay')
const { build, read, SCRIPTS } = require('./scripts')

const TOKEN = 'a token for these tests'

describe('the files', () => {
  test('what is committed is what is built, and small', async () => {
    for (const [name, text] of await build()) assert.ok(read(name) === text, `${name}: node scripts.js build`)
    assert.ok(Buffer.byteLength(read('node_im.min.js')) < 9000)
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
        reconnect_attempt_failed_callback: () => XIN_NODE.close()
      })
      if (client) client.send_msg({ a: [1] }, ['a', 'b']) && NODE_IM.send_msg('x', 'a,b')
      const id: string | undefined = NODE_IM.socket_local?.id
      NODE_IM.init('', {}) === false; NODE_IM.connected() === true; id
    `), [])
    const mistakes = [
      'XIN_NODE.init()', 'XIN_NODE.init("", { max_attemptNumber: "3" })', 'XIN_NODE.init("", { recieve_message_callback: () => {} })',
      'XIN_NODE.send_msg("x")', 'XIN_NODE.send_msg("x", 7)', 'XIN_NODE.init("").connected()', 'XIN_NODE.socket_local.id',
      'XIN_NODE.debugging = true', 'const n: number = md5("x")', 'md5()', 'NODE_IM.init("", { receive_message_callback: (m: number) => m })'
    ]
    assert.deepEqual(wrong(mistakes.join(';\n')).map(parseFloat), mistakes.map((_, line) => line))
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
      if (String(packet) === '40') socket.send('40{"sid":"y"}')
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
    page.setDefaultTimeout(20000)
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
  const connected = page => until('a connection', () => page.evaluate(() => XIN_NODE.connected()), 20000)
  const came = page => page.evaluate(() => came)
  const messages = (page, count) => until(`${count} messages`, async () => {
    const { messages } = await came(page)
    return messages.length >= count && messages
  }, 20000)
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

    test('messages go both ways, and pings', async () => {
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
    test('many messages stay in order', async () => {
      const page = await open(block)
      await init(page, address('many'))
      await connected(page)
      await page.evaluate(() => { for (let i = 0; i < 300; i++) XIN_NODE.send_msg(i + '.'.repeat(500), 'many') })
      assert.deepEqual(data(await messages(page, 300)).map(parseFloat), Array.from({ length: 300 }, (_, i) => i))
    })

    test('a refused login is told and is the end', async () => {
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

    test('a restarted relay gets what was queued, in order', async () => {
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

    test('bytes come as bytes', async () => {
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

    test('what cannot be sent is told, and the connection stays', async () => {
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

    test('the end by close(), after what was sent before it', async () => {
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

    test('the end by the relay', async () => {
      const page = await open(block)
      await init(page, address('r', { userid: 'gone' }))
      await connected(page)
      await post('/api/disconnect', { userid: 'gone' })
      await until('the end', () => page.evaluate(() => came.disconnected.length))
      assert.deepEqual((await came(page)).disconnected, ['io server disconnect'])
      assert.equal(await send(page, 'x', 'r'), false)
    })

    test('a relay that is silent is left, and found again', async () => {
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

  test('attempts end, and init works again', async () => {
    const page = await open()
    await init(page, address('r'), { max_attemptNumber: 2 })
    await connected(page)
    assert.equal(await init(page, address('r')), false, 'connected')
    await restart(async () => {
      await until('the page to notice', () => page.evaluate(() => came.disconnected.length))
      assert.equal(await init(page, address('r')), false, 'about to connect again')
      await until('the page to give up', () => page.evaluate(() => came.failed), 30000)
      assert.equal(await send(page, 'x', 'r'), false)
      assert.equal(await init(page, address('r'), { max_attemptNumber: 0 }), true)
      await until('the page to give up again', () => page.evaluate(() => came.failed === 2))
    })
    assert.equal(await init(page, address('r')), true)
    assert.equal(await init(page, address('r')), false, 'connecting')
    await connected(page)
    assert.equal((await came(page)).failed, 2)
  })

  test('a page that wakes up tries at once', async () => {
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

  test('refreshPage loads the page again, or calls', async () => {
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

  test('a callback that throws is seen, and breaks nothing', async () => {
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

  test('messages of the remote console are marked while they are handled', async t => {
    const page = await open()
    const { host, stop } = await puppet((packet, socket) => {
      if (packet === '40') for (const source of ['demo', 'remote_debug']) socket.send(`42["newMsg",{"source":"${source}"}]`)
    })
    t.after(stop)
    await page.evaluate(url => init(url, {
      receive_message_callback: () => { came.messages.push(XIN_NODE.debugging); throw new Error('even so') }
    }), `ws://${host}`)
    assert.deepEqual(await messages(page, 2), [false, true])
    assert.equal(await page.evaluate(() => XIN_NODE.debugging), false)
  })

  test('what is no relay is not polled without end', async () => {
    const page = await open(BLOCKED)
    await page.route('**/socket.io/**', route => route.fulfill({
      body: '<html>Welcome to our network', headers: { 'Access-Control-Allow-Origin': '*' }
    }))
    await init(page, address('r'), { max_attemptNumber: 1 })
    await until('the page to give up', () => page.evaluate(() => came.failed))
    assert.equal(page.asked.length, 2)
  })

  test('a page that goes away is gone', async () => {
    const [page, other] = [await open(BLOCKED), await open()]
    await init(other, address('away'))
    await connected(other)
    await init(page, address('away', { watch_quit: 1 }))
    await connected(page)
    await page.goto('about:blank')
    assert.equal((await messages(other, 1))[0].data.key, 'user_quit')
  })

  test('a page that was busy or asleep is not taken for a dead connection', async t => {
    const page = await open()
    const { host, got, stop } = await puppet((packet, socket) => {
      if (packet === '40') setInterval(() => socket.send('2'), 50).unref()
    }, '"pingInterval":200,"pingTimeout":200')
    t.after(stop)
    await init(page, `ws://${host}`)
    await connected(page)
    await page.evaluate(() => { for (const end = Date.now() + 1500; Date.now() < end;); })
    const { length } = got
    await until('pings to be answered', () => got.length > length + 20)
    assert.deepEqual((await came(page)).disconnected, [])
  })

  test('the socket: handlers, acknowledgements both ways', async t => {
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
    assert.deepEqual(got, ['40', '420["ask",1]', '4312["to",{"a":1}]'])
    assert.deepEqual(await page.evaluate(() => seen), [['connect', 'y', true], [7, 'and more']])
    await page.evaluate(() => XIN_NODE.socket_local.disconnect())
    await until('the goodbye', () => got.length === 4)
    assert.equal(got[3], '41')
    await init(page, address('r'))
    const answer = await page.evaluate(() => new Promise(resolve => XIN_NODE.socket_local.emit('postMsg', 1, 'r', resolve)))
    assert.equal(answer.code, 1)
    await assert.rejects(page.evaluate(() => XIN_NODE.socket_local.emit('connect')), /reserved/)
  })

  test('addresses', async () => {
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
