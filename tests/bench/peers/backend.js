'use strict'
// Shared by the servers: accepts signed notifications over HTTP as relay does, and checks the signatures of clients.

const { createHash } = require('node:crypto')
const http = require('node:http')

const KEY = 'try4dfs%#fs!#$2334ds(%B)'
const md5 = text => createHash('md5').update(text).digest('hex')

/** Whether the signature of a client is valid for its rooms. */
const mayConnect = query => query.get('sign') === md5(query.get('source') + query.get('room_ids') + KEY)

/** Calls `publish(room, message)` for every notification with a valid signature. */
function server(publish) {
  return http.createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8')
    request.on('data', part => (body += part))
    request.on('end', () => {
      const fields = new URLSearchParams(body)
      const [source, room, data] = ['source', 'room_id', 'data'].map(name => fields.get(name))
      const valid = fields.get('sign') === md5(source + room + data + KEY)
      if (valid) publish(room, { source, data, room_id: room, from_sys: true })
      response.setHeader('Content-Type', 'application/json')
      response.end(valid ? '{"code":1,"msg":"","data":""}' : '{"code":0,"msg":"sign verify failed!","data":""}')
    })
  })
}

/** Listens on a free port and logs the address. */
function listen(http) {
  http.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
    console.error(`listening on 127.0.0.1:${http.address().port}`)
  })
}

module.exports = { listen, mayConnect, server }
