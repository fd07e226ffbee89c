'use strict'
// A proxy that loses connections on demand.

const net = require('node:net')

/** A proxy in front of a port, which can be changed. It can cut all connections and refuse others. */
async function cutter(port) {
  const pairs = new Set()
  const proxy = { port, refusing: false, refused: 0 }
  const server = net.createServer(client => {
    client.on('error', () => {})
    if (proxy.refusing) {
      proxy.refused++
      return client.resetAndDestroy()
    }
    const relay = net.connect(proxy.port, '127.0.0.1')
    const pair = [client, relay]
    pairs.add(pair)
    relay.on('error', () => {})
    for (const [from, to] of [[client, relay], [relay, client]]) {
      from.pipe(to)
      from.on('close', () => {
        to.destroy()
        pairs.delete(pair)
      })
    }
  })
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  proxy.url = `http://127.0.0.1:${server.address().port}`
  proxy.cut = () => pairs.forEach(pair => pair.forEach(socket => socket.destroy()))
  proxy.stop = () => {
    proxy.cut()
    return new Promise(resolve => server.close(resolve))
  }
  return proxy
}

module.exports = { cutter }
