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
/** Milliseconds that a test waits for an event before it fails. On a busy machine much takes 20 s that else takes one. */
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

/** A machine that stands still for so many milliseconds may make clients and proxies give up. */
const STALL = 1000

/**
 * A test that runs `attempt` again, twice at most, if it fails and the machine stood still meanwhile, as virtual machines do for
 * seconds when their host is busy: who has a time-out gives up then, and that says nothing about relay.
 */
const unlessStalled = attempt => async t => {
  for (let left = 2; ; left--) {
    const ends = [], scope = { after: end => ends.push(end), diagnostic: words => t.diagnostic(words) }
    let last = Date.now(), longest = 0
    const timer = setInterval(() => {
      longest = Math.max(longest, Date.now() - last)
      last = Date.now()
    }, 50)
    try {
      return await attempt(scope)
    } catch (error) {
      if (longest < STALL || left === 0) throw error
      t.diagnostic(`once more, because the machine stood still for ${longest} ms: ${String(error.message).slice(0, 2000)}`)
    } finally {
      clearInterval(timer)
      for (const end of ends.reverse()) await end()
    }
  }
}

/** The same as `test`, for tests with short time-outs. */
const steadyTest = (name, attempt) => test(name, unlessStalled(attempt))

/** What a page of the documentation shows: the first block of a language after a heading. */
function shown(page, heading, language) {
  const text = fs.readFileSync(path.join(__dirname, '../..', page), 'utf8')
  const found = text.split(`\n${heading}\n`)[1].split(`\n\`\`\`${language}\n`)[1].split('\n```\n')[0]
  // The script of a page alone.
  return found.replace(/^(<script[^>]*>\n?)+|<\/script>$/g, '')
}

module.exports = { BINARY, KEY, PATIENCE, configuration, login, md5, shown, start, steadyTest, unlessStalled, until }
