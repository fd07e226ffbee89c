'use strict'
// A relay in a network that can be cut (network.js), to which numbers are published, and clients that come back by themselves
// (clients.js, ../python/returning_clients.py).

const { execFileSync } = require('node:child_process')
const fs = require('node:fs')
const http = require('node:http')
const os = require('node:os')
const path = require('node:path')
const { PORT, network } = require('../network')
const { startNginx } = require('../nginx')
const { freePort } = require('../proxy')
const { publish } = require('../publisher')
const { configuration, login, start, until } = require('../relay')

const RATE = 50
/** Relay's times, and after how many milliseconds of silence the plain WebSocket gives up: the usual ones. */
const USUAL = { pings: '', silence: 30000 }
/** Each end notices a cut after 4 to 6 s. With less, a busy machine would delay clients for so long that they give up. */
const FREQUENT = { pings: 'ping_interval = 2\nping_timeout = 4', silence: 5000 }
/** Clients of Socket.IO 2 give up 3 to 11 s after a cut, relay not before 11 s, because they send more than pings. */
const RARE = { pings: 'ping_interval = 8\nping_timeout = 3', silence: 5000 }
/** Messages go to these rooms in turn. Everybody is in both. */
const ROOMS = ['a', 'b']
/** Milliseconds until a client must be back. */
const PATIENCE = 120000
/**
 * What was published within these milliseconds before the last message of a connection may come twice: the way of a TCP
 * acknowledgement, and behind a proxy recovery.pong_interval and the way of a pong.
 */
const TWICE = 250, UNPROVEN = 1000 + 500
/**
 * Milliseconds for which a message must have been on its way if it waited for a mend; and within which relay has the proof of what
 * comes from then on, on a busy machine.
 */
const LATE = 1000, PROOF = 5000
const TOKEN = 'the token of these tests'

const pythons = new Map()
/** The command that runs clients of a version. The first time, it installs those for Python, which takes up to a minute. */
function program(version) {
  const generation = version.startsWith('python') && version.slice(6)
  if (!generation) return [process.execPath, path.join(__dirname, 'clients.js')]
  const folder = path.join(__dirname, '../python')
  if (!pythons.has(generation)) {
    pythons.set(generation, execFileSync(path.join(folder, 'environment'), [generation], { encoding: 'utf8' }).trim())
  }
  return [pythons.get(generation), '-u', '-W', 'ignore', path.join(folder, 'returning_clients.py')]
}

const sections = ({ pings }, recovery) => `
[admin]
token = "${TOKEN}"
[websocket]
${pings}
[socketio]
${pings}
[limits]
message_rate = 0
[history]
count = 5000
age = 300
bytes = 4194304
[recovery]
${recovery}
`
let told = false

/**
 * Starts it all; it ends with the test. With `front`, nginx is in front of relay and has these directives. `first` is what the
 * configuration begins with, `recovery` is in its section of that name. `twice` replaces TWICE.
 */
async function stage(t, { times, paths = 1, front, first, recovery = '', twice }) {
  const ends = []
  t.after(async () => {
    for (const end of ends.reverse()) await end()
  })
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'relay-returning-'))
  ends.push(() => fs.rmSync(directory, { recursive: true, force: true }))
  const net = await network(paths, directory)
  ends.push(() => net.stop())
  const proxied = front !== undefined || net.kind === 'proxy'
  twice ??= proxied ? UNPROVEN : TWICE
  // The proxies on the paths acknowledge what no client has, and relay cannot know that they are there.
  if (net.kind === 'proxy' && front === undefined) recovery += '\nproof = "pong"'
  const args = configuration(sections(times, recovery), first)
  ends.push(() => fs.rmSync(path.dirname(args[1]), { recursive: true, force: true }))
  if (net.kind === 'proxy' && !told) t.diagnostic(`SKIPPED: cuts in network namespaces (${net.why}); a proxy makes them`)
  told = true

  const socketPath = path.join(directory, 'relay.sock')
  const [host, port] = front === undefined ? net.listen.split(':') : ['127.0.0.1', net.kind === 'proxy' ? 0 : PORT + 1]
  const relay = await start(port, [...args, '--listen', `unix:${socketPath}`, '--allow-demo-keys'], { prefix: net.relay, host })
  ends.push(() => relay.stop('SIGKILL'))
  net.connect(relay.port)
  if (front !== undefined) {
    const sites = await Promise.all(net.paths.map(async one => {
      const [host, port] = one.listen.split(':')
      const listen = `${host}:${port === '0' ? await freePort() : port}`
      one.connect(listen.split(':')[1])
      return { listen, target: relay.port, more: front }
    }))
    const nginx = startNginx(directory, sites, net.relay)
    ends.push(() => nginx.stop())
  }

  const clients = [], cuts = new Map(), programs = new Map()
  let published = { sent: [] }
  const sent = () => published.sent

  /** The process for clients of a version on a path, and what it does for one of them. */
  function send(at, version, number, command, value = {}) {
    const words = program(version), key = `${at} ${words.join(' ')}`
    if (!programs.has(key)) programs.set(key, net.run(words, line => {
      const [number, ...what] = JSON.parse(line)
      clients[number].note(...what)
    }, line => clients.filter(one => one.at === at).forEach(one => one.errors.push(line))))
    programs.get(key).write(JSON.stringify([number, command, value]))
  }

  /** A client on a path: its version, transports, and login. */
  function open({ at = 0, version, transports, userid, headers = {} }) {
    const made = {
      at, version, transports, userid, connections: [], newest: -1, errors: [], notes: {}, number: clients.length,
      name: `${clients.length}: ${version} ${transports.join('+')}`.trim(),
      /** It says which session it had. */
      hasPid: version === '4.8',
      note(name, value) {
        made.notes[name] = (made.notes[name] || 0) + 1
        if (name === 'connect') made.connections.push({ time: Date.now(), from: sent().length, messages: [], ...value })
        if (name === 'message') {
          const number = Number(value[1])
          made.newest = Math.max(made.newest, number)
          made.connections.at(-1).messages.push({ id: value[0], number, time: Date.now() })
        }
        if (name === 'loss' || name === 'error') made.errors.push(String(value))
      }
    }
    clients.push(made)
    made.end = () => send(at, version, made.number, 'close')
    made.login = at => ({ url: `${net.paths[at].url}/?${login(ROOMS.join(','), { userid, username: 'u' })}`, headers })
    send(at, version, made.number, 'open', { version, transports, silence: times.silence, ...made.login(at) })
    return made
  }

  const notes = name => clients.reduce((sum, { notes }) => sum + (notes[name] || 0), 0)
  /** Makes connections on a path for logins with the names of all clients. */
  async function reserve(at) {
    const end = notes('reserved') + clients.length
    for (const one of clients) send(at, '', one.number, 'reserve', one.login(at))
    await until('connections', () => notes('reserved') === end)
  }
  /** Uses them, and gives them up. */
  async function haunt(at) {
    const end = notes('haunted') + 1
    send(at, '', 0, 'haunt')
    await until('ghosts', () => notes('haunted') === end)
  }

  /** Waits until something is true of some clients. */
  async function all(what, some, is) {
    const missing = () => some.filter(one => !is(one))
    await until(what, () => missing().length === 0, PATIENCE).catch(error => {
      const words = missing().map(one => `${one.name} (${one.connections.length} connects, at ${one.newest}; ${one.errors.slice(-12)})`)
      throw new Error(`${error.message}: ${words.join(', ')}`)
    })
  }
  const connected = some => all('a connection', some, one => one.connections.length > 0)
  const caughtUp = (some = clients) => {
    const { length } = sent()
    return all('the newest message', some, one => one.newest >= length - 1)
  }

  /** What relay answers to an operator. */
  const ask = path => new Promise((resolve, reject) => {
    http.get({ socketPath, path, headers: { Authorization: `Bearer ${TOKEN}` } }, answer => {
      let text = ''
      answer.on('data', piece => { text += piece }).on('error', reject)
      answer.on('end', () => { try { resolve(JSON.parse(text)) } catch { reject(new Error(text)) } })
    }).on('error', reject)
  })
  /** Waits until relay knows that clients, each with a login of its own, have all that was published so far. */
  async function confirmed() {
    const { length } = sent()
    await Promise.all(clients.map(({ name, userid }) => until(`relay to know what ${name} has`, async () => {
      const { list } = await ask(`/api/sessions?source=demo&search=${userid}`)
      const session = list.find(one => one.userid === userid)
      const { recovery } = session ? await ask(`/api/session?source=demo&socket_id=${session.socket_id}`) : {}
      // If it is null, the client says itself what it has.
      return recovery === null || recovery?.unconfirmed <= sent().length - length
    }, PATIENCE)))
  }

  function begin() {
    published = publish(socketPath, RATE, i => [ROOMS[i % ROOMS.length], {}])
    ends.push(() => published.stop())
  }
  /** Waits for messages, and for as long as they should take: after a delay they are published faster. */
  const messages = async count => {
    const end = sent().length + count, time = Date.now() + count * 1000 / RATE
    await until('messages', () => sent().length >= end && Date.now() >= time, PATIENCE)
  }

  /** Cuts a path. With `dropped`, its clients learn of it at once, but not relay. */
  function cut(at, dropped = false) {
    net.paths[at].cut()
    if (dropped) net.paths[at].drop()
    const first = sent().length
    cuts.set(at, first)
  }
  /** Mends it; nothing of the cut may have come before. Waits until its clients have a message that was published after it. */
  async function mend(at) {
    const first = cuts.get(at), its = clients.filter(one => one.at === at)
    const early = its.filter(one => one.newest >= first)
    if (early.length) throw new Error(`not cut at ${first}: ${early.map(one => `${one.name} at ${one.newest}`)}`)
    const { length } = sent(), time = Date.now()
    net.paths[at].mend()
    const back = []
    await all('a message after the cut', its, one => one.newest >= length && (back.includes(one) || back.push(one)))
    return Date.now() - time
  }
  async function cutFor(at, seconds, dropped) {
    cut(at, dropped)
    await messages(seconds * RATE)
    return mend(at)
  }

  /**
   * How many messages a client need not have proven when it had this one as its last: those of the time just before; and if it was
   * lost soon after messages came that had waited for a mend, all from those on, as its pong may be on its way then. A busy machine
   * delays proofs, too.
   */
  function unproven({ number, time }, arrivals) {
    if (!sent()[number]) return 0
    const published = sent()[number].time, delay = time - published
    const hasWaited = ({ time: begin }, index) => arrivals.get(index) - begin > LATE && arrivals.get(index) >= time - PROOF
    const waited = sent().findIndex((message, index) => index <= number && hasWaited(message, index))
    const late = Math.min(published - delay, waited >= 0 ? sent()[waited].time : Infinity) - twice
    const isLate = message => message.time >= late
    return sent().filter((message, index) => index <= number && isLate(message, index)).length
  }

  /** The last message that a client has proven before its connection `index`: those after it may come once more. */
  function proven({ connections }, index) {
    const messages = connections.slice(0, index).flatMap(({ messages }) => messages)
    if (!messages.length) return -1
    const newest = messages.reduce((one, other) => other.number > one.number ? other : one)
    return newest.number - unproven(newest, new Map(messages.map(({ number, time }) => [number, time])))
  }

  /**
   * What a client has had: what is wrong with it in words, how many messages were lost, and how many came twice after each
   * return. Within a connection numbers must rise, and what is new must rise over all of them.
   */
  function judge(client) {
    const { connections, hasPid } = client
    // A client must get all that was published after its login.
    const begin = Math.min(connections[0].from, ...connections[0].messages.map(({ number }) => number).slice(0, 1))
    const had = new Map(), wrong = []
    // Nobody can tell which of them comes back, so each gets what any of them may have missed.
    const tabs = clients.filter(({ userid }) => userid === client.userid)
    let newest = { number: begin - 1 }, said = begin - 1
    const repeated = connections.map(({ messages }, index) => {
      // When it has come back once, it says which message was the last since then.
      const known = hasPid && index > 1 ? said : Math.min(...tabs.map(tab => proven(tab, index)))
      const most = newest.number - known
      let last = -1, count = 0
      for (const message of messages) {
        const { id, number } = message
        if (number <= last) wrong.push(`${number} came after ${last}`)
        last = number
        if (had.has(number)) count++
        else if (number < newest.number) wrong.push(`${number} came for the first time after ${newest.number}`)
        if (had.has(number) && had.get(number) !== id) wrong.push(`${number} came with the ids ${had.get(number)} and ${id}`)
        had.set(number, id)
        if (number > newest.number) newest = message
      }
      if (index > 0 && last >= 0) said = last
      if (count > most) wrong.push(`${count} came twice after return ${index}, ${most} may`)
      return count
    })
    if (new Set(had.values()).size < had.size) wrong.push('two messages had one id')
    const lost = []
    for (let number = begin; number <= newest.number; number++) if (!had.has(number)) lost.push(number)
    const began = connections.map(({ messages: [first] }) => first && first.number)
    if (lost.length) wrong.push(`${lost.length} of ${newest.number - begin + 1} lost: ${ranges(lost)}; connections began with ${began}`)
    return { wrong: wrong.map(words => `${client.name}: ${words}`), lost: lost.length, repeated }
  }
  /** All that is wrong with some clients. */
  const wrong = (some = clients) => some.flatMap(one => {
    const words = judge(one).wrong
    return words.length > 5 ? [...words.slice(0, 5), `${one.name}: and ${words.length - 5} more`] : words
  })
  /** Fails if something is wrong, with what relay knows of those who lost messages. */
  async function right(some = clients) {
    const words = wrong(some)
    if (!words.length) return
    const losers = some.filter(one => one.connections.length && judge(one).lost)
    const stories = await Promise.all(losers.slice(0, 3).map(async ({ name, userid, connections }) => {
      const { data } = await ask(`/api/why?source=demo&userid=${userid}`)
      const connects = connections.map(({ time, messages: [first] }) => `${new Date(time).toISOString().slice(11, 23)} ${first?.number ?? ''}`)
      return `${name}: connected at ${connects.join(', ')}\n${data.lines.map(({ time, text }) => `  ${time.slice(11, 19)} ${text}`).join('\n')}`
    }))
    throw new Error([...words, ...stories].join('\n'))
  }
  /** Says what came twice. */
  const report = what => {
    const counts = clients.map(one => [one.name, judge(one).repeated.slice(1)]).filter(([, counts]) => counts.some(Boolean))
    t.diagnostic(`${what}; twice: ${counts.map(([name, counts]) => `${name} ${counts.join(', ')}`).join('; ') || 'nothing'}`)
  }

  return { net, clients, open, reserve, haunt, all, connected, caughtUp, confirmed, begin, messages, cut, mend, cutFor, proven, judge, right, wrong, report }
}

/** Numbers in words: 3 to 5, 9. */
function ranges(numbers) {
  const found = []
  for (const number of numbers) {
    const last = found.at(-1)
    if (last && last[1] === number - 1) last[1] = number
    else found.push([number, number])
  }
  return found.map(([from, to]) => from === to ? from : `${from} to ${to}`).join(', ')
}

module.exports = { FREQUENT, RARE, RATE, USUAL, program, stage }
