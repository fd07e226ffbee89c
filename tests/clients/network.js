'use strict'
// A network between relay and its clients that can be cut on single paths: packets are dropped in both directions, without a
// word to either end, and connections stay half open.
//
// relay, a router and the clients have a network namespace each, and the router drops what it shall forward. Nothing of it is
// seen on the machine's own network, and it ends with the processes in it. Where the machine does not allow this, each path is
// a proxy on loopback that swallows the bytes.

const { execFileSync, spawn } = require('node:child_process')
const fs = require('node:fs')
const net = require('node:net')
const path = require('node:path')
const readline = require('node:readline')

/** The port of relay in its namespace, where nobody else is. */
const PORT = 4000
const RELAYS = '10.0.1', CLIENTS = '10.0.2'

/**
 * A network with `count` paths. In `directory` it keeps a script. CUTS=proxy chooses the proxy.
 *
 * Each path has the `url` of relay for the clients on it, `cut()` and `mend()`; `drop()` breaks the clients' connections on it,
 * and during a cut relay does not learn of that. `relay` and `clients` are what commands begin with that run there, and `listen`
 * is the address for relay. `connect(port)` says where relay listens. To end a path at a proxy in front of relay, let the proxy
 * listen at the `listen` of the path, and relay on loopback with a port other than PORT; `path.connect(port)` says where.
 */
async function network(count, directory) {
  return withPrograms(await either(count, directory))
}

async function either(count, directory) {
  if (process.env.CUTS === 'proxy') return proxies(count, 'CUTS=proxy')
  const refusals = []
  // Who is not root may do so in a user namespace, on most machines.
  for (const user of process.getuid() === 0 ? [[], ['--user', '--map-root-user']] : [['--user', '--map-root-user']]) {
    const held = []
    try {
      return await namespaces(count, directory, user, held)
    } catch (error) {
      held.forEach(child => child.kill('SIGKILL'))
      refusals.push(error.message.trim().split('\n').pop())
    }
  }
  return proxies(count, refusals.join('; '))
}

/** Adds `run`, which starts programs where the clients are. The network ends them when it stops. */
function withPrograms(network) {
  const running = new Set(), { stop } = network
  /** The program's lines go to `out` and `error`. */
  network.run = (command, out, error = () => {}) => {
    // A group of its own, with all that a shell starts; it ends by itself if this process is killed.
    const [program, ...words] = [...network.clients, 'timeout', '--signal=KILL', '600', ...command]
    const child = spawn(program, words, { stdio: ['pipe', 'pipe', 'pipe'], detached: true })
    readline.createInterface({ input: child.stdout }).on('line', out)
    readline.createInterface({ input: child.stderr }).on('line', error)
    child.stdin.on('error', () => {})
    const ended = new Promise(resolve => child.on('close', resolve))
    const started = {
      write: line => child.stdin.write(line + '\n'),
      kill: () => {
        running.delete(started)
        try { process.kill(-child.pid, 'SIGKILL') } catch { /* it has ended */ }
        return ended
      }
    }
    running.add(started)
    return started
  }
  network.stop = async () => {
    await Promise.all([...running].map(program => program.kill()))
    stop()
  }
  return network
}

/** A process that keeps a new network namespace until its input ends, at the latest with this process. */
async function hold(command, held) {
  const child = spawn(command[0], [...command.slice(1), 'sh', '-c', 'echo held; exec cat'], { stdio: ['pipe', 'pipe', 'pipe'] })
  held.push(child)
  child.stdin.on('error', () => {})
  let said = ''
  child.stderr.on('data', text => { said += text })
  await new Promise((resolve, reject) => {
    child.stdout.once('data', resolve)
    child.on('error', reject)
    child.on('close', () => reject(new Error(said)))
  })
  return child.pid
}

async function namespaces(count, directory, user, held) {
  const first = await hold(['unshare', ...user, '--net'], held)
  const enter = pid => ['nsenter', '--target', String(pid), ...(user.length ? ['--user', '--preserve-credentials'] : []), '--net']
  const inUser = user.length ? ['nsenter', '--target', String(first), '--user', '--preserve-credentials'] : []
  const router = first
  const relay = await hold([...inUser, 'unshare', '--net'], held)
  const clients = await hold([...inUser, 'unshare', '--net'], held)
  const inside = (pid, script) => {
    const [program, ...args] = [...enter(pid), 'sh', '-ec', script]
    return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  }
  inside(router, `
    ip link add relay type veth peer name eth0 netns ${relay}
    ip link add clients type veth peer name eth0 netns ${clients}
    ip address add ${RELAYS}.254/24 dev relay
    ip address add ${CLIENTS}.254/24 dev clients
    ip link set relay up
    ip link set clients up
    echo 1 >/proc/sys/net/ipv4/ip_forward`)
  const addresses = Array.from({ length: count }, (_, i) => `${RELAYS}.${i + 1}`)
  for (const [pid, own, gateway] of [[relay, addresses, RELAYS], [clients, [`${CLIENTS}.1`], CLIENTS]]) {
    inside(pid, `
      ip link set lo up
      ${own.map(address => `ip address add ${address}/24 dev eth0`).join('\n')}
      ip link set eth0 up
      ip route add default via ${gateway}.254`)
  }
  const rules = (verb, address) => inside(router, ['to', 'from'].map(way => `ip rule ${verb} ${way} ${address} blackhole`).join('\n'))
  const paths = addresses.map(address => ({
    url: `http://${address}:${PORT}`, listen: `${address}:${PORT}`, connect: () => {},
    cut: () => rules('add', address),
    mend: () => rules('del', address),
    // As Android does when it leaves a network. The RST gets lost in the cut.
    drop: () => inside(clients, `ss --kill dst ${address}`)
  }))
  // Fails here, and not in the tests, if the router's kernel has no such rules.
  paths[0].cut()
  paths[0].mend()
  return {
    kind: 'namespaces', paths, listen: `0.0.0.0:${PORT}`, relay: enter(relay), clients: enter(clients), connect: () => {},
    /** A program that starts `program` where the clients are, with all arguments. */
    wrap: program => {
      const file = path.join(directory, 'inside')
      fs.writeFileSync(file, `#!/bin/sh\nexec ${enter(clients).join(' ')} ${program} "$@"\n`, { mode: 0o755 })
      return file
    },
    stop: () => held.forEach(child => child.kill('SIGKILL'))
  }
}

async function proxies(count, why) {
  const servers = []
  const paths = await Promise.all(Array.from({ length: count }, async () => {
    const pairs = new Set()
    let cut = false, port
    const server = net.createServer(client => {
      const pair = { client, torn: cut }
      pairs.add(pair)
      client.on('error', () => {}).on('close', () => end(pair, pair.relay))
      // A new connection of a time without a network gets no further.
      if (cut) return client.resume()
      pair.relay = net.connect(port, '127.0.0.1')
      pair.relay.on('error', () => {}).on('close', () => end(pair, client))
      for (const [from, to] of [[client, pair.relay], [pair.relay, client]]) {
        from.on('data', bytes => {
          if (cut) pair.torn = true
          if (!pair.torn && !to.write(bytes)) {
            from.pause()
            to.once('drain', () => from.resume())
          }
        })
        // An end is a packet, too.
        from.on('end', () => { if (cut) pair.torn = true })
      }
    })
    function end(pair, other) {
      if (cut) pair.torn = true
      if (pair.torn && cut) return
      pairs.delete(pair)
      if (other) other.destroy()
    }
    await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
    servers.push({ close: () => { server.close(); pairs.forEach(({ client, relay }) => [client, relay].forEach(socket => socket && socket.destroy())) } })
    return {
      url: `http://127.0.0.1:${server.address().port}`, listen: '127.0.0.1:0', connect: known => { port = known },
      cut: () => { cut = true },
      drop: () => pairs.forEach(({ client }) => client.resetAndDestroy()),
      /** Connections that lost bytes meanwhile are reset, as by a peer that has given them up. */
      mend: () => {
        cut = false
        for (const pair of [...pairs].filter(({ torn }) => torn)) {
          pairs.delete(pair)
          for (const socket of [pair.client, pair.relay]) if (socket && !socket.destroyed) socket.resetAndDestroy()
        }
      }
    }
  }))
  return {
    kind: 'proxy', why, paths, listen: '127.0.0.1:0', relay: [], clients: [], connect: port => paths.forEach(path => path.connect(port)),
    wrap: program => program, stop: () => servers.forEach(server => server.close())
  }
}

module.exports = { PORT, network }
