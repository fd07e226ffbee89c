'use strict'
// ws without compression. A frame is encoded once and written to every client's socket directly, which is the fastest way
// that the library allows.

const { WebSocketServer, Sender } = require('ws')
const { listen, mayConnect, server } = require('./backend')

const rooms = new Map()

const http = server((room, message) => {
  const text = Buffer.from(JSON.stringify({ event: 'newMsg', ...message }))
  const frame = Buffer.concat(Sender.frame(text, { fin: true, rsv1: false, opcode: 1, mask: false, readOnly: true }))
  for (const client of rooms.get(room) ?? []) client._socket.write(frame)
})

const sockets = new WebSocketServer({
  server: http,
  perMessageDeflate: false,
  verifyClient: ({ req }) => mayConnect(new URL(req.url, 'http://host').searchParams),
})
sockets.on('connection', (client, request) => {
  for (const room of new URL(request.url, 'http://host').searchParams.get('room_ids').split(',')) {
    if (!rooms.has(room)) rooms.set(room, new Set())
    const members = rooms.get(room).add(client)
    client.on('close', () => members.delete(client))
  }
})

listen(http)
