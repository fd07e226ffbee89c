'use strict'
// A backend for relay's hooks (hooks.toml): it admits clients, answers their events and sends events to rooms.
//   HOOK_SECRET='change me' PORT=8080 node backend.js
const { createHmac, timingSafeEqual } = require('node:crypto')
const http = require('node:http')

const SECRET = process.env.HOOK_SECRET || 'change me'
const USERS = { 'token-of-li': ['1', 'Li'], 'token-of-wang': ['2', 'Wang'] }
const PRICES = { tea: 3, coffee: 4 }
let orders = 0

const events = {
  connect({ auth, query }) {
    // Socket.IO 3 and later clients send `auth`; older ones and plain WebSocket clients use the query.
    const user = USERS[auth?.token ?? query.token]
    if (!user) return { allow: false, error: 'wrong token' }
    const [userid, username] = user
    // Without a userid in the answer, relay would use the one that the client claims.
    return { userid, username, join: ['lobby'], emit: [{ event: 'came', args: [username], to: { room: 'lobby' } }] }
  },
  disconnect({ userid, username }) {
    console.log(`disconnect ${userid} ${username}`)
  },
  message({ name, args: [first], username, rooms }) {
    switch (name) {
      case 'ask': return { ack: [{ of: first, price: PRICES[first] ?? null }] }
      case 'order': return { ack: [{ number: ++orders, of: first }] }
      // One room: a comma would separate several.
      case 'room': return { leave: rooms, join: [String(first).replaceAll(',', '')], ack: ['ok'] }
      case 'say': return { emit: rooms.map(room => ({ event: 'said', args: [username, first], to: { room } })) }
    }
  },
}

/** Checks the signature, and that the call is recent: `ts` in the body is signed, so an old call cannot be replayed. */
function isFromRelay(headers, body) {
  const right = 'sha256=' + createHmac('sha256', SECRET).update(body).digest('hex')
  const given = String(headers['x-relay-signature'])
  if (given.length !== right.length || !timingSafeEqual(Buffer.from(given), Buffer.from(right))) return false
  const fresh = ts => Math.abs(Date.now() / 1000 - ts) <= 300
  return fresh(headers['x-relay-timestamp']) && fresh(JSON.parse(body).ts)
}

// Relay retries a call when it does not know whether the call arrived. A retry has the same Idempotency-Key, which the
// signed body repeats as `id`; it gets the first answer again, so that an order is not counted twice.
const answered = new Map()
function answer(call) {
  if (!answered.has(call.id)) {
    answered.set(call.id, events[call.event]?.(call) ?? {})
    if (answered.size > 10000) answered.delete(answered.keys().next().value)
  }
  return answered.get(call.id)
}

const server = http.createServer(async (request, response) => {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  const body = Buffer.concat(chunks)
  if (!isFromRelay(request.headers, body)) return response.writeHead(401).end()
  response.setHeader('Content-Type', 'application/json')
  response.end(JSON.stringify(answer(JSON.parse(body))))
})
// Relay reuses connections; by default, Node closes idle ones after 5 s.
server.keepAliveTimeout = 75000
server.listen(process.env.PORT || 8080, '127.0.0.1', () => console.log(`listening on ${server.address().port}`))
