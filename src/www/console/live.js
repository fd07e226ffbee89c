// The live stream: one for the page, opened again whenever it ends. It keeps the samples of the last 15 minutes.

import { Refused, ask, signedIn } from './api.js'

/** The longest line that is read: longer ones end the stream. */
const LONGEST = 4 << 20
/** A stream that is silent for so long is dead. Samples come each second. */
const SILENCE = 15000
/** A tab that is hidden for so long has no stream. */
const HIDDEN = 60000
export const WINDOW = 900

const listeners = new Map()
/** What the page wants to get besides the numbers: `source` and `room_id`, `log`. */
let wanted = {}
let running = null, delay = 1000, wake = null, hiddenTimer = 0

export const live = {
  /** `''`, `connecting`, `on`, `waiting` (with `until`, `reason`), `paused`. */
  state: '', until: 0, reason: null,
  hello: null,
  /** The last line of type `sample`, and those before it of the last seconds: [time, values]. */
  last: null, recent: [],
  /** Samples that are kept: { time, epoch, values }. */
  ring: []
}

/** Calls back for lines of a type, or for `state`; until `signal` aborts. */
export function on(type, call, signal) {
  if (!listeners.has(type)) listeners.set(type, new Set())
  listeners.get(type).add(call)
  signal?.addEventListener('abort', () => listeners.get(type).delete(call))
}
function tell(type, value) {
  for (const call of [...listeners.get(type) || []]) call(value)
}
function state(name, more = {}) {
  Object.assign(live, { state: name, until: 0, reason: null }, more)
  tell('state', live)
}

/** Opens the stream, or opens it again if it has to bring something else. */
export function want(what = {}) {
  const same = JSON.stringify(what) === JSON.stringify(wanted)
  wanted = what
  if (same && running) return
  close()
  if (!signedIn()) return
  if (document.hidden && live.state === 'paused') return
  running = new AbortController()
  run(running.signal)
}
export function close() {
  running?.abort()
  running = null
  wake?.()
}
/** Ends the stream and forgets what it has brought. */
export function forget() {
  close()
  wanted = {}
  Object.assign(live, { state: '', hello: null, last: null, recent: [], ring: [] })
}
/** Does not wait for the next attempt. */
export const now = () => wake?.()

async function run(signal) {
  delay = 1000
  while (!signal.aborted) {
    let why = null
    state('connecting')
    try { await stream(signal) } catch (error) { why = error }
    if (signal.aborted || !signedIn()) return
    const wait = Math.max(delay, (why?.wait || 0) * 1000)
    state('waiting', { until: Date.now() + wait, reason: why instanceof Refused && (why.status || why.proxy) ? why : null })
    delay = Math.min(delay * 1.7, 10000)
    await new Promise(resolve => {
      const timer = setTimeout(resolve, wait)
      wake = () => { clearTimeout(timer); resolve() }
    })
    wake = null
  }
}

/** Reads one stream to its end. */
async function stream(signal) {
  const own = new AbortController(), stop = () => own.abort()
  signal.addEventListener('abort', stop)
  let timer = setTimeout(stop, SILENCE)
  try {
    const answer = await ask('api/live', { query: wanted, signal: own.signal })
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader()
    let rest = ''
    for (;;) {
      const { value, done } = await reader.read()
      if (done) return
      clearTimeout(timer)
      timer = setTimeout(stop, SILENCE)
      const lines = (rest + value).split('\n')
      rest = lines.pop()
      for (const line of lines) if (line.trim() !== '' && !signal.aborted) take(line)
      if (rest.length > LONGEST) return
    }
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
    own.abort()
  }
}

function take(line) {
  let value
  try { value = JSON.parse(line) } catch { return }
  if (value === null || typeof value !== 'object') return
  if (value.type === 'hello') hello(value)
  else if (value.type === 'sample') sample(value)
  tell(value.type, value)
}

/** The values of a sample by name. */
function named(values) {
  const found = Object.create(null)
  live.hello.fields.forEach((name, index) => { found[name] = Number(values[index]) || 0 })
  return found
}
function hello(value) {
  const epoch = `${value.node} ${value.started}`
  value.fields = Array.isArray(value.fields) ? value.fields : []
  value.epoch = epoch
  /** How far this machine's clock is ahead of relay's, in seconds. */
  value.ahead = Date.now() / 1000 - (value.now || Date.now() / 1000)
  live.hello = value
  live.last = null
  live.recent = []
  // What an earlier process has counted stays in the graphs.
  const before = live.ring.filter(one => one.epoch !== epoch && one.time < value.started)
  const own = (value.samples || []).map(values => named(values)).map(values => ({ time: values.time, epoch, values }))
  live.ring = before.concat(own)
  trim(value.now)
  const newest = own[own.length - 1]
  if (newest) {
    // If relay has kept none for a while, nothing has changed since.
    const time = value.now - newest.time > 2 * (value.interval || 5) ? value.now : newest.time
    live.recent = [{ ...newest.values, time }]
    live.last = { values: live.recent[0] }
  }
  tell('ring', live)
  state('on')
}
function sample(value) {
  if (!live.hello) return
  delay = 1000
  value.values = named(value.values || [])
  // A line that comes between those of two seconds has the values alone.
  live.last = { ...live.last, ...value }
  live.recent.push(value.values)
  if (live.recent.length > 6) live.recent.shift()
  if (!value.kept) return
  live.ring.push({ time: value.values.time, epoch: live.hello.epoch, values: value.values })
  trim(value.values.time)
  tell('ring', live)
}
function trim(time) {
  live.ring = live.ring.filter(one => one.time > time - WINDOW - 10).slice(-200)
}

/** How much a counter grew in a second, over the last few seconds. */
export function perSecond(name) {
  const [first, last] = [live.recent[0], live.recent[live.recent.length - 1]]
  if (!first || last.time <= first.time) return 0
  return Math.max(0, last[name] - first[name] || 0) / (last.time - first.time)
}
/** Whether there are other relays, or may be: that is not known before the first sample, and while Redis fails. */
export const clustered = () => Boolean(live.hello?.redis) && (!live.last?.nodes || live.last.nodes.length > 0 || redisFails())
/** Whether relay cannot reach the others now. */
export const redisFails = () => live.last?.parts?.redis?.state === 'failing'
export const gauge = name => live.last?.values[name] || 0

/** The values of the last 15 minutes in steps of the interval: of a gauge, or of a counter's growth in a second. Null: relay was not
    running, or it is not known. Where relay kept no sample, nothing had changed. */
export function series(name, counter) {
  const step = live.hello?.interval || 5, slots = Math.round(WINDOW / step), found = new Array(slots).fill(null)
  const end = live.last?.values.time || live.hello?.now || 0
  if (!end) return found
  const slot = time => slots - 1 - Math.floor((end - time) / step)
  live.ring.forEach((one, index) => {
    const at = slot(one.time), next = live.ring[index + 1], before = live.ring[index - 1]
    const value = one.values[name] || 0
    // Until the next sample, or until the process had ended, nothing changed.
    const until = !next ? slots : next.epoch === one.epoch ? slot(next.time) : at + 1
    const held = counter ? 0 : value
    for (let i = Math.max(0, at); i < Math.min(slots, until); i++) found[i] = held
    if (counter && at >= 0 && at < slots && before?.epoch === one.epoch) {
      found[at] = Math.max(0, value - (before.values[name] || 0)) / Math.max(1, Math.min(step, one.time - before.time))
    }
  })
  return found
}

document.addEventListener('visibilitychange', () => {
  clearTimeout(hiddenTimer)
  if (document.hidden) {
    hiddenTimer = setTimeout(() => {
      if (!running) return
      close()
      state('paused')
    }, HIDDEN)
  } else if (live.state === 'paused') {
    tell('resumed')
    live.state = ''
    want(wanted)
  }
})
