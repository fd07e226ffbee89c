'use strict'
// What every generation of socket.io-client must be able to do, in Node and in a browser: text of every kind, bytes, and
// acknowledgements, both ways.

const TEXTS = ['ascii', 'héllo ü', '中文', '😀 𝄞', 'mixed é 中 😀 end', '"\\\u2028\u0001']
const BYTES = [0, 1, 4, 127, 128, 255, 0xe4, 0xb8, 0xad]

/** Runs all of it over some transports. Fails with what went wrong; resolves to the name of the transport at the end. */
async function scenario(io, url, transports, options = {}) {
  const sockets = []
  const within = (what, promise) => Promise.race([promise, new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`waited in vain for ${what}`)), 90000)
  })])
  try {
    const open = async () => {
      const socket = io(url, { transports, forceNew: true, reconnection: false, ...options })
      sockets.push(socket)
      socket.messages = []
      socket.on('newMsg', message => socket.messages.push(message.data))
      await within('a connection', new Promise((resolve, reject) => {
        socket.on('connect', resolve)
        for (const event of ['error', 'connect_error', 'sys_error']) {
          socket.on(event, error => reject(new Error(`${event}: ${(error && error.message) || error}`)))
        }
        socket.on('disconnect', reason => reject(new Error(`disconnect: ${reason}`)))
      }))
      return socket
    }
    const [one, other] = [await open(), await open()]
    const ended = Promise.all([one, other].map(socket => new Promise((_, reject) => {
      socket.on('disconnect', reason => reject(new Error(`disconnect after the login: ${reason}`)))
    })))
    const bytes = typeof Buffer === 'undefined' ? new Uint8Array(BYTES).buffer : Buffer.from(BYTES)
    // More than the arguments that a call may have, and more than one frame header can say.
    const large = '中😀'.repeat(12000)
    const data = [...TEXTS, { 键: ['中', { é: '😀' }], n: 1.5 }, bytes, { before: '中', inner: [bytes, '😀'] }, large]
    const room = /room_ids=([^&]*)/.exec(url)[1]
    const post = value => within('an acknowledgement', new Promise(resolve => one.emit('postMsg', value, room, resolve)))
    const work = async () => {
      // One at a time, then in a burst, so that payloads have one packet, and several.
      for (const value of data) {
        const { code, msg } = await post(value)
        if (code !== 1) throw new Error(`refused: ${msg}`)
      }
      await Promise.all(TEXTS.map(post))
      const refused = await within('a refusal', new Promise(resolve => one.emit('nobody handles this', '中', resolve)))
      if (refused.code !== 0) throw new Error(`accepted: ${JSON.stringify(refused)}`)
      for (const socket of [one, other]) {
        await within('all messages', (async () => {
          while (socket.messages.length < data.length + TEXTS.length) await new Promise(resolve => setTimeout(resolve, 5))
        })())
        const [found, expected] = [socket.messages, [...data, ...TEXTS]].map(list => list.map(plain))
        for (let i = 0; i < expected.length; i++) {
          if (found[i] !== expected[i]) throw new Error(`${String(found[i]).slice(0, 200)} in place of ${expected[i].slice(0, 200)}`)
        }
      }
      if (transports.length === 2) {
        await within('the upgrade', (async () => {
          while (name(one) !== 'websocket') await new Promise(resolve => setTimeout(resolve, 5))
        })())
        // Again, over the transport that has taken over.
        for (const value of [...TEXTS, bytes]) await post(value)
      }
      return name(one)
    }
    return await Promise.race([work(), ended])
  } finally {
    for (const socket of sockets) socket.off ? socket.off('disconnect') : 0, socket.close()
  }
}

const name = socket => socket.io.engine.transport.name

/** A value as JSON, with the numbers of bytes. */
function plain(value) {
  const isBytes = value => value instanceof ArrayBuffer || ArrayBuffer.isView(value)
  const unpack = value => {
    if (isBytes(value)) return { bytes: Array.from(new Uint8Array(value.buffer ? value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength) : value)) }
    if (Array.isArray(value)) return value.map(unpack)
    if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([key, value]) => [key, unpack(value)]))
    return value
  }
  return JSON.stringify(unpack(value))
}

if (typeof module !== 'undefined') module.exports = { scenario }
