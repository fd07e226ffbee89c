'use strict'
// What users of node-socket-im have, unchanged but for the address: the published examples, and pages with its old client.
const assert = require('node:assert/strict')
const { execFile } = require('node:child_process')
const fs = require('node:fs')
const http = require('node:http')
const os = require('node:os')
const path = require('node:path')
const { promisify } = require('node:util')
const { test, before, after } = require('node:test')
const { chromium } = require('playwright-core')
const { PATIENCE, start, configuration, login, until, md5, KEY } = require('./relay')

const SUCCESS = '{"code":1,"msg":"message notify successed!","data":""}'
const TOKEN = 'document-token'

let relay, browser
before(async () => {
  relay = await start(0, configuration(
    '[sources.remote_debug]\nsign_key = "5iwdf$%sdfss!#$2334ds(%B)"\n[admin]\ntoken = "' + TOKEN + '"\n'))
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox'] })
})
after(async () => {
  await browser.close()
  await relay.stop()
})

/** A published example, with this relay's address. */
const example = name =>
  fs.readFileSync(path.join(__dirname, 'document', name), 'utf8').replaceAll('http://127.0.0.1:4000', relay.url)

/** Runs a program of one file; what it prints. */
async function run(program, name) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'relay-test-'))
  const file = path.join(folder, name)
  fs.writeFileSync(file, example(name))
  const env = { ...process.env, NODE_PATH: path.join(__dirname, 'node_modules'), NODE_NO_WARNINGS: '1' }
  const { stdout } = await promisify(execFile)(program, [file], { env, timeout: 60000 })
  fs.rmSync(folder, { recursive: true })
  return stdout
}

/** What the old script did, as the document describes it, with the client that it carried. */
function nodeIm(io) {
  let socket
  return {
    init(url, config) {
      if (socket && socket.connected) return false
      socket = io(url, { forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 100, ...config.options })
      socket.on('connect', () => config.connected_callback?.(socket))
      socket.on('newMsg', message => config.receive_message_callback?.(message))
      socket.on('sys_error', error => config.sys_error_callback?.(error))
      socket.on('refreshPage', () => config.refresh?.())
      socket.on('reconnect_attempt', attempt => {
        if (attempt <= (config.max_attemptNumber || 10)) return
        socket.close()
        config.reconnect_attempt_failed_callback?.()
      })
    },
    send_msg: (data, rooms) => socket.emit('postMsg', data, rooms),
    connected: () => socket.connected,
    close: () => socket.close(),
  }
}

/** A page of the old kind, connected, with what its callbacks were given. */
async function oldPage(version, query, options = {}) {
  const page = { messages: [], errors: [], connects: 0, refreshes: 0, failures: 0, im: nodeIm(require('socket.io-client-' + version)) }
  page.im.init(`${relay.url}?${query}`, {
    options,
    connected_callback: () => { page.connects++ },
    receive_message_callback: message => page.messages.push(message),
    sys_error_callback: error => page.errors.push(error),
    refresh: () => { page.refreshes++ },
  })
  await until('an answer', () => page.connects || page.errors.length)
  return page
}
const data = page => page.messages.map(message => message.data)

for (const version of ['2.0', '2.5']) {
  for (const transports of [['polling', 'websocket'], ['websocket'], ['polling']]) {
    test(`the old script with socket.io-client ${version} over ${transports.join(' and ')}`, async () => {
      const options = { transports }
      const member = await oldPage(version, login('a,b', { username: 'li' }), options)
      const sender = await oldPage(version, login('b', { username: 'wang' }), options)
      const stranger = await oldPage(version, login('c'), options)
      for (let i = 0; i < 10; i++) sender.im.send_msg({ n: i }, 'a,b')
      await relay.notify('a,b', '{"from":"backend"}')
      await until('everything', () => member.messages.length >= 22 && sender.messages.length >= 11)
      const own = data(sender).filter(d => d.n !== undefined)
      assert.deepEqual(own, Array.from({ length: 10 }, (_, n) => ({ n })), 'each once, in order')
      for (const room of ['a', 'b']) {
        const there = member.messages.filter(message => message.room_id === room)
        assert.deepEqual(there.map(m => m.data).filter(d => d.n !== undefined), own, room)
      }
      const notified = member.messages.find(message => typeof message.data === 'string')
      assert.deepEqual({ ...notified, id: 0 }, { source: 'demo', data: '{"from":"backend"}', room_id: 'a', from_sys: true, id: 0 })
      sender.im.send_msg('', 'a')
      sender.im.send_msg('x', '')
      await until('errors', () => sender.errors.length === 2)
      assert.deepEqual(sender.errors, ['data can not be null!', 'room_id can not be null!'])
      // The room is named as the old server named it.
      const refresh = await fetch(`${relay.url}/refreshpage?room=demoa&token=${TOKEN}`)
      assert.equal(await refresh.text(), 'refreshPage:demoa')
      await until('refreshPage', () => member.refreshes)
      assert.deepEqual([member.refreshes, sender.refreshes, stranger.refreshes], [1, 0, 0])
      // Nothing leaks to who is elsewhere, and nobody sees who connects.
      assert.deepEqual([stranger.messages, stranger.errors, member.errors], [[], [], []])
      assert.equal(member.messages.length, 22)
      for (const page of [member, sender, stranger]) page.im.close()
    })
  }

  test(`refusals reach sys_error_callback with socket.io-client ${version}`, async () => {
    const sign = md5('demo' + 'a' + KEY)
    for (const [query, text] of [
      ['source=demo&room_ids=a&sign=wrong', 'sign verify failed!'],
      [`source=demo&room_ids=b&sign=${sign}`, 'sign verify failed!'],
      [`room_ids=a&sign=${sign}`, 'source can not be null!'],
      ['source=demo&room_ids=a', 'cilent connect sign can not be null!'],
      [`source=demo&sign=${sign}`, 'room_ids can not be null!'],
      [`source=nobody&room_ids=a&sign=${sign}`, 'this source can not be configured!'],
    ]) {
      const page = await oldPage(version, query)
      await until('why', () => page.errors.length)
      assert.deepEqual(page.errors, [text], query)
      await until('the end', () => !page.im.connected())
      await relay.notify('a', 'secret')
      await new Promise(resolve => setTimeout(resolve, 150)) // time to come back, which it must not
      assert.deepEqual([page.im.connected(), page.messages, page.errors], [false, [], [text]])
      page.im.close()
    }
  })
}

test('the PHP example', async () => {
  const member = await oldPage('2.5', login('monitor_room'))
  const printed = await run('php', 'notify.php')
  assert.match(printed, /string\(54\) "/)
  assert.ok(printed.includes(SUCCESS), printed)
  await until('the message', () => member.messages.length)
  assert.match(data(member)[0], /^\d{10}$/)
  member.im.close()
})

test('the Node example with request', async () => {
  const member = await oldPage('2.5', login('room1,room4'))
  assert.equal((await run('node', 'request.js')).trim(), SUCCESS)
  await until('both', () => member.messages.length === 2)
  assert.deepEqual(member.messages.map(m => [m.room_id, m.data]), [['room1', 'test'], ['room4', 'test']])
  member.im.close()
})

/** Pages from an origin that is not the relay's, by path. */
async function site(pages) {
  const server = http.createServer((request, response) => {
    const page = pages[request.url.split('?')[0]]
    response.writeHead(page === undefined ? 404 : 200, { 'Content-Type': 'text/html; charset=utf-8' })
    response.end(page)
  })
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => server.close() }
}

/** Opens a page whose jQuery comes from here and not from where the examples load it. */
async function open(url) {
  const context = await browser.newContext()
  const page = await context.newPage()
  page.setDefaultTimeout(PATIENCE)
  page.wrong = []
  page.lines = []
  page.on('pageerror', error => page.wrong.push(String(error)))
  page.on('console', line => (line.type() === 'error' ? page.wrong : page.lines).push(line.text()))
  await page.route('https://cdn.bootcss.com/jquery/2.2.3/jquery.min.js', route =>
    route.fulfill({ path: require.resolve('jquery/dist/jquery.min.js'), contentType: 'text/javascript' }))
  await page.goto(url)
  return page
}

const HEAD = '<!DOCTYPE html><meta charset="utf-8"><link rel="icon" href="data:,">'
const JQUERY = '<script src="https://cdn.bootcss.com/jquery/2.2.3/jquery.min.js"></script>'

test('the jQuery example from another origin', async () => {
  const member = await oldPage('2.5', login('room1,room2,room3,room4'))
  const pages = await site({ '/': `${HEAD}${JQUERY}<script src="${relay.url}/js/md5.js"></script><script>${example('ajax.js')}</script>` })
  const page = await open(pages.url)
  await until('the answer', () => page.lines.length)
  assert.match(page.lines[0], /code: 1/)
  await until('all four', () => member.messages.length === 4)
  assert.deepEqual(member.messages.map(message => message.room_id), ['room1', 'room2', 'room3', 'room4'])
  assert.deepEqual(page.wrong, [])
  member.im.close()
  await page.context().close()
  pages.close()
})

test('the page of the document: init, callbacks, send_msg', async () => {
  const query = `userid=1305&username=spring&source=demo&room_ids=room001%2Croom002&sign=${md5('demo' + 'room001,room002' + KEY)}&ext_info=`
  const pages = await site({
    '/': `${HEAD}<script src="${relay.url}/js/md5.js"></script><script src="${relay.url}/js/node_im.min.js"></script><script>
      var messages = [], errors = [], connected = 0
      var node_callback_config = {
        'receive_message_callback': function (message) { messages.push(message) },
        'connected_callback': function (socket) { connected++ },
        'sys_error_callback': function (err) { errors.push(err) },
        'max_attemptNumber': 10,
        'reconnect_attempt_failed_callback': function () {}
      }
      XIN_NODE.init("${relay.url}?${query}", node_callback_config)
    </script>`,
  })
  const page = await open(pages.url)
  await page.waitForFunction('connected === 1 && XIN_NODE.connected() && NODE_IM.connected()')
  await page.evaluate('XIN_NODE.send_msg({ factory_count: 47 }, "room001,room002")')
  await relay.notify('room002', 'from the backend')
  await page.evaluate('XIN_NODE.send_msg("", "room001")')
  await page.waitForFunction('messages.length === 3 && errors.length === 1')
  const seen = await page.evaluate('messages.map(function (m) { return [m.source, m.room_id, m.data] })')
  assert.deepEqual(seen, [['demo', 'room001', { factory_count: 47 }], ['demo', 'room002', { factory_count: 47 }], ['demo', 'room002', 'from the backend']])
  assert.deepEqual(await page.evaluate('errors'), ['data can not be null!'])
  assert.deepEqual(page.wrong, [])
  await page.context().close()
  pages.close()
})

test('the examples of remote debugging', async () => {
  const scripts = text => text.replaceAll('src="js/', `src="${relay.url}/js/`)
  const pages = await site({ '/debugged': HEAD + scripts(example('debugged.html')), '/viewer': HEAD + scripts(example('viewer.html')) })
  const viewer = await open(pages.url + '/viewer')
  await viewer.waitForFunction('XIN_NODE.connected()')
  const debugged = await open(pages.url + '/debugged')
  const size = await debugged.evaluate('({ width: document.documentElement.clientWidth, height: document.documentElement.clientHeight })')
  await viewer.waitForFunction(`document.querySelectorAll('#messages li').length >= 2`)
  const line = JSON.parse(await viewer.locator('#messages li').first().textContent())
  assert.deepEqual([line.source, line.room_id, line.data.level, line.data.args], ['remote_debug', 'console-log', 'log', [size]])
  assert.match(debugged.lines[0], new RegExp(`width: ${size.width}`), 'its own console still works')
  assert.deepEqual([viewer.wrong, debugged.wrong], [[], []])
  await viewer.context().close()
  await debugged.context().close()
  pages.close()
})
