'use strict'
// The files of `examples/` with the addresses of a test, and sockets that keep everything that came.

const fs = require('node:fs')
const http = require('node:http')
const os = require('node:os')
const path = require('node:path')
const { until } = require('./relay')

const FOLDER = path.join(__dirname, '../../examples')
const read = name => fs.readFileSync(path.join(FOLDER, name), 'utf8')

/** The arguments to use an example's configuration, with `more` at its end and text replaced. */
function example(name, more = '', replaced = {}) {
  const bundle = path.join(__dirname, 'node_modules/socket.io-client-4.8/dist/socket.io.min.js')
  let text = read(name).replace(/^client_js = .*$/m, `client_js = ${JSON.stringify(bundle)}`)
  for (const [old, fresh] of Object.entries(replaced)) {
    if (!text.includes(old)) throw new Error(`${name} has no ${old}`)
    text = text.replaceAll(old, fresh)
  }
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'relay-test-')), name)
  fs.writeFileSync(file, `${text}\n${more}`)
  return ['--config', file]
}

/** A server for an example's pages, which find relay at its address of now. */
async function serve(relay) {
  const server = http.createServer((request, response) => {
    const name = path.basename(new URL(request.url, 'http://x').pathname)
    response.setHeader('Content-Type', 'text/html; charset=utf-8')
    response.end(read(name).replaceAll('http://127.0.0.1:4000', relay.url))
  })
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => { server.closeAllConnections(); server.close() } }
}

/** A socket of that generation of socket.io-client, which keeps what came: each event as [name, ...arguments]. */
function open(version, url, options = {}) {
  const io = require(`socket.io-client-${version}`)
  const socket = io(url, { forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 100, timeout: 20000, ...options })
  socket.events = []
  const { onevent } = socket
  socket.onevent = packet => {
    socket.events.push(packet.data)
    onevent.call(socket, packet)
  }
  socket.named = name => socket.events.filter(event => event[0] === name).map(event => event.slice(1))
  /** Waits for so many events of that name: the arguments of each. */
  socket.came = (name, count = 1) =>
    until(`${count} ${name}`, () => socket.named(name).length >= count && socket.named(name)).catch(error => {
      throw new Error(`${error.message}; there came ${JSON.stringify(socket.events)}`)
    })
  /** Sends and waits for the acknowledgement's arguments. */
  socket.ask = (...args) => new Promise(resolve => socket.emit(...args, (...answer) => resolve(answer)))
  return socket
}

/** The same, connected. */
async function connect(version, url, options) {
  const socket = open(version, url, options)
  await until(`${version} to connect to ${url}`, () => socket.connected)
  return socket
}

module.exports = { example, serve, open, connect, FOLDER }
