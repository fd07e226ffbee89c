'use strict'
// node clients.js: clients that do not say what they have had, in Node: socket.io-client of every generation, and a plain
// WebSocket. Reads lines of JSON, [number of the client, command, value], and prints what happens in the same form.
//
// open {version, url, transports, headers, silence}: connects, and again after each loss. close: says goodbye.
// reserve {url, headers}: makes connections, which `haunt` uses for logins that it gives up at once. If relay cannot be reached
// meanwhile, it gets them later.

const net = require('node:net')
const readline = require('node:readline')
const { WebSocket } = require('ws')

/** Milliseconds between questions of a client: their answers are no messages, but share the connection with them. */
const CHATTER = 200
const clients = new Map(), reserved = []
const print = (number, name, value = '') => process.stdout.write(JSON.stringify([number, name, value]) + '\n')

/** A client that connects again by itself. Returns how it says goodbye. */
function socketIo({ version, url, transports, headers }, say) {
  const io = require(`socket.io-client-${version}`)
  const socket = io(url, { transports, forceNew: true, extraHeaders: headers, transportOptions: {
    polling: { extraHeaders: headers }, websocket: { extraHeaders: headers }
  } })
  socket.on('connect', () => say('connect', { id: socket.id, recovered: socket.recovered }))
  socket.on('disconnect', why => say('loss', why))
  socket.on('newMsg', ({ id, data }) => say('message', [id, data]))
  for (const event of ['connect_error', 'sys_error', 'error']) {
    socket.on(event, error => say('error', String(error && error.message || error)))
  }
  const timer = setInterval(() => socket.connected && socket.emit('postMsg', '', 'a', () => say('answer')), CHATTER)
  return () => { clearInterval(timer); socket.close() }
}

/** A plain WebSocket that takes `silence` milliseconds without a frame of relay for a loss. */
function plain({ url, headers, silence }, say) {
  let ws, again, watch, closed
  const open = () => {
    ws = new WebSocket(url.replace('http', 'ws').replace('?', 'ws?'), { headers })
    const alive = () => {
      clearTimeout(watch)
      watch = setTimeout(() => ws.terminate(), silence)
    }
    alive()
    ws.on('ping', alive).on('error', error => say('error', error.message))
    ws.on('open', () => { alive(); say('connect', {}) })
    ws.on('close', code => {
      say('loss', code)
      clearTimeout(watch)
      if (!closed) again = setTimeout(open, 500)
    })
    ws.on('message', text => {
      alive()
      const { event, id, data } = JSON.parse(text)
      say(...event === 'newMsg' ? ['message', [id, data]] : ['answer'])
    })
  }
  open()
  const timer = setInterval(() => ws.readyState === WebSocket.OPEN && ws.send('{"event":"ping"}'), CHATTER)
  return () => { closed = true; clearInterval(timer); clearTimeout(again); ws.close() }
}

const UPGRADE = 'HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
/** What attempts begin with, and whether they wait for the answer before they are given up. */
const ATTEMPTS = [
  [search => `/socket.io/${search}&EIO=3&transport=polling HTTP/1.1\r\n`, true],
  [search => `/socket.io/${search}&EIO=3&transport=polling HTTP/1.1\r\n`, false],
  [search => `/socket.io/${search}&EIO=3&transport=websocket ${UPGRADE}`, false],
  [search => `/ws${search} ${UPGRADE}`, false]
]

/** Makes connections for logins that are given up, by `haunt`. */
async function reserve({ url, headers }) {
  const { hostname, port, search } = new URL(url)
  const more = Object.entries({ Host: 'relay', ...headers }).map(([name, value]) => `${name}: ${value}\r\n`).join('')
  await Promise.all(ATTEMPTS.map(([begin, waits]) => new Promise(resolve => {
    const socket = net.connect(port, hostname, resolve)
    socket.on('error', () => {})
    reserved.push(() => {
      socket.write(`GET ${begin(search)}${more}\r\n`)
      waits ? socket.on('data', () => socket.destroy()) : socket.destroy()
    })
  })))
}

const commands = {
  open: (number, value) => {
    const begin = value.version === 'ws' ? plain : socketIo
    clients.set(number, begin(value, (...what) => print(number, ...what)))
  },
  close: number => clients.get(number)(),
  reserve: (number, value) => reserve(value).then(() => print(number, 'reserved')),
  haunt: number => {
    reserved.splice(0).forEach(ghost => ghost())
    print(number, 'haunted')
  }
}
// As in a browser: what a callback of a library throws is reported, and the other clients go on. Whoever then gets nothing any
// more fails the test, which shows the report.
process.on('uncaughtException', error => console.error(error))
readline.createInterface({ input: process.stdin }).on('line', line => {
  const [number, command, value] = JSON.parse(line)
  commands[command](number, value)
})
