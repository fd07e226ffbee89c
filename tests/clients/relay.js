'use strict'
// The real relay, as a child process, and what tests need beside it.

const { spawn } = require('node:child_process')
const { createHash } = require('node:crypto')
const { once } = require('node:events')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const readline = require('node:readline')
const { test } = require('node:test')

const BINARY = process.env.RELAY_BIN || path.join(__dirname, '../../target/release/relay')
const KEY = 'try4dfs%#fs!#$2334ds(%B)'
/** Milliseconds that a test waits for an event before it fails. On a busy machine, work of a second can take 20 s. */
const PATIENCE = 90000

const md5 = text => createHash('md5').update(text).digest('hex')

/** A configuration file with the demo source and `more`, after the keys `first`; the arguments to use it. */
function configuration(more, first = '') {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'relay-test-')), 'relay.toml')
  fs.writeFileSync(file, `${first}\n[sources.demo]\nsign_key = "${KEY}"\n${more}`)
  return ['--config', file]
}

/** Starts relay with the demo setting, or with `args`, and waits until it listens. `prefix` is what its command begins with. */
async function start(port = 0, args = [], { prefix = [], host = '127.0.0.1' } = {}) {
  const env = { ...process.env }
  delete env.RELAY_CONFIG
  const [program, ...words] = [...prefix, BINARY, '--listen', `${host}:${port}`, ...args]
  // Not the runner's standard output: it waits until nobody has it any more, also after the end of a test that hangs.
  const child = spawn(program, words, { stdio: ['ignore', 'ignore', 'pipe'], env })
  const log = []
  const relay = { child, log }
  const ended = once(child, 'exit')
  await new Promise((resolve, reject) => {
    readline.createInterface({ input: child.stderr }).on('line', line => {
      log.push(line)
      const found = /listening on [\d.]+:(\d+)/.exec(line)
      if (found) {
        relay.port = Number(found[1])
        resolve()
      }
    })
    child.on('error', reject)
    ended.then(([code]) => reject(new Error(`relay ended with ${code}:\n${log.join('\n')}`)))
  })
  relay.url = `http://127.0.0.1:${relay.port}`
  /** Ends it by a signal; the exit code. */
  relay.stop = async (signal = 'SIGTERM') => {
    child.kill(signal)
    const [code] = await ended
    return code
  }
  /** Posts a signed notification, which must be accepted. */
  relay.notify = async (room_id, data, source = 'demo', key = KEY) => {
    const sign = md5(source + room_id + data + key)
    const body = new URLSearchParams({ source, room_id, data, sign })
    const answer = await (await fetch(relay.url + '/api/notify', { method: 'POST', body })).json()
    if (answer.code !== 1) throw new Error(JSON.stringify(answer))
  }
  return relay
}

/** The query of a right login. */
function login(room_ids, more = {}) {
  const { source = 'demo' } = more
  const sign = md5(source + room_ids + KEY)
  return new URLSearchParams({ source, room_ids, sign, userid: '7', username: 'spring', ...more }).toString()
}

/** Asks until there is an answer; fails after `patience` milliseconds. */
async function until(what, ask, patience = PATIENCE) {
  const end = Date.now() + patience
  for (;;) {
    const answer = await ask()
    if (answer) return answer
    if (Date.now() > end) throw new Error('waited in vain for ' + what)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

/** Milliseconds for which this process must not have run, so that a failure is taken for one of the machine. */
const STALL = 1000

/**
 * A test that runs `attempt` again, twice at most, if it fails after the machine stood still, as a virtual machine does for seconds
 * when its host is busy: clients and proxies time out then, and that says nothing about relay. `attempt` must not block this process.
 */
const unlessStalled = attempt => async t => {
  for (let left = 2; ; left--) {
    const ends = [], scope = { after: end => ends.push(end), diagnostic: words => t.diagnostic(words) }
    let last = Date.now(), longest = 0
    const look = () => {
      longest = Math.max(longest, Date.now() - last)
      last = Date.now()
    }
    const timer = setInterval(look, 50)
    const failure = await attempt(scope).then(() => null, error => error)
    look()
    clearInterval(timer)
    for (const end of ends.reverse()) await Promise.resolve().then(end).catch(error => t.diagnostic(String(error)))
    if (!failure) return
    if (longest < STALL || left === 0) throw failure
    t.diagnostic(`once more, because the machine stood still for ${longest} ms: ${String(failure.message).slice(0, 2000)}`)
  }
}

/** A test with short time-outs: see unlessStalled. */
const steadyTest = (name, attempt) => test(name, unlessStalled(attempt))

/** What a page of the documentation shows: the first block of a language after a heading. */
function shown(page, heading, language) {
  const text = fs.readFileSync(path.join(__dirname, '../..', page), 'utf8')
  const found = text.split(`\n${heading}\n`)[1].split(`\n\`\`\`${language}\n`)[1].split('\n```\n')[0]
  // The script of a page alone.
  return found.replace(/^(<script[^>]*>\n?)+|<\/script>$/g, '')
}

module.exports = { BINARY, KEY, PATIENCE, configuration, login, md5, shown, start, steadyTest, unlessStalled, until }
