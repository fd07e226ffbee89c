'use strict'
// node plain_client.js ADDRESS…: the plain WebSocket client of docs/clients.md, in Node with `ws`, once for each address. Prints
// what happens as lines of JSON: [number of the address, name, value].
const vm = require('node:vm')
const { WebSocket } = require('ws')
const { shown } = require('./relay')

const script = shown('docs/clients.md', '## Plain WebSocket', 'html')
process.argv.slice(2).forEach((address, number) => {
  const say = (name, value) => process.stdout.write(JSON.stringify([number, name, value]) + '\n')
  /** Says what the client does not show: each connection, and what relay says at its begin. */
  class Watched extends WebSocket {
    constructor(...args) {
      super(...args)
      this.on('open', () => say('connect', ''))
      this.on('message', text => {
        const frame = JSON.parse(text)
        if (frame.event === 'recovery') say('recovery', frame)
      })
    }
  }
  const console = { log: (room, data) => say('message', [room, data]), warn: (text, rooms) => say('warning', [text, rooms]) }
  const adapted = script.replace(/'ws:\/\/127\.0\.0\.1:4000[^']*'/, JSON.stringify(address))
  vm.runInNewContext(adapted, { WebSocket: Watched, setTimeout, setInterval, clearInterval, console })
})
