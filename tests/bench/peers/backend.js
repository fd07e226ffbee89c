'use strict'
// What the servers share: an HTTP server that takes signed notifications as relay does, and checks who connects.

const { createHash } = require('node:crypto')
const http = require('node:http')

const KEY = 'try4dfs%#fs!#$2334ds(%B)'
const md5 = text => createHash('md5').update(text).digest('hex')

/** Whether a client may sit in these rooms. */
const mayConnect = query => query.get('sign') === md5(query.get('source') + query.get('room_ids') + KEY)

/** Calls `publish(room, data)` for every right notification. */
function server(publish) {
  return http.createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8')
    request.on('data', part => (body += part))
    request.on('end', () => {
      const fields = new URLSearchParams(body)
      const [source, room, data] = ['source', 'room_id', 'data'].map(name => fields.get(name))
      const right = fields.get('sign') === md5(source + room + data + KEY)
      if (right) publish(room, { source, data, room_id: room, from_sys: true })
      response.setHeader('Content-Type', 'application/json')
      response.end(right ? '{"code":1,"msg":"","data":""}' : '{"code":0,"msg":"sign verify failed!","data":""}')
    })
  })
}

/** Listens where there is room, and says where. */
function listen(http) {
  http.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
    console.error(`listening on 127.0.0.1:${http.address().port}`)
  })
}

module.exports = { listen, mayConnect, server }
