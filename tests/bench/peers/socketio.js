'use strict'
// socket.io 4 with its defaults: the engine ws, and the in-memory adapter, which encodes a broadcast once. Polling is enabled.

const { Server } = require('socket.io')
const { listen, mayConnect, server } = require('./backend')

const http = server((room, message) => io.to(room).emit('newMsg', message))
const io = new Server(http, { perMessageDeflate: false, serveClient: false })

io.use((socket, next) => {
  next(mayConnect(new URLSearchParams(socket.handshake.query)) ? undefined : new Error('sign verify failed!'))
})
io.on('connection', socket => socket.join(socket.handshake.query.room_ids.split(',')))

listen(http)
