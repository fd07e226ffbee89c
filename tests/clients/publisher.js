'use strict'
// A backend that publishes numbers at a steady rate.

const http = require('node:http')
const { KEY, md5 } = require('./relay')

/**
 * Publishes 0, 1, 2, … through relay's Unix socket until it is stopped, one after the other over one connection: messages of
 * several connections have no order. `next(number)` says to which rooms, and what `sent` shall have of the message; it gets
 * the `time` too. `accepted(message)` is called after relay's answer, if there is one.
 */
function publish(socketPath, rate, next, accepted = () => {}) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  const sent = [], begin = Date.now()
  let stopped = false
  const post = (room_id, data) => new Promise((resolve, reject) => {
    const body = new URLSearchParams({ source: 'demo', room_id, data, sign: md5('demo' + room_id + data + KEY) }).toString()
    const headers = { 'Content-Type': 'application/x-www-form-urlencoded', 'Content-Length': body.length }
    const request = http.request({ socketPath, agent, method: 'POST', path: '/api/notify', headers }, answer => {
      let text = ''
      answer.on('data', piece => { text += piece }).on('error', reject)
      answer.on('end', () => text.startsWith('{"code":1,') ? resolve() : reject(new Error(text)))
    })
    request.on('error', reject).end(body)
  })
  const done = (async () => {
    for (let i = 0; !stopped; i++) {
      await new Promise(resolve => setTimeout(resolve, Math.max(begin + i * 1000 / rate - Date.now(), 0)))
      const [rooms, message] = next(i)
      sent.push(Object.assign(message, { time: Date.now() }))
      await post(rooms, String(i)).then(() => accepted(message), () => {})
    }
  })()
  return { sent, stop: () => { stopped = true; return done.then(() => agent.destroy()) } }
}

module.exports = { publish }
