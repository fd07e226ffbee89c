'use strict'
// Drives Debian's Firefox by WebDriver BiDi (https://w3c.github.io/webdriver-bidi/). playwright-core cannot: it needs a Firefox of
// its own. The script of a page runs with the page's policy, as what a person does, so a test needs no `bypassCSP`.

const { spawn } = require('node:child_process')
const { once } = require('node:events')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const readline = require('node:readline')
const { WebSocket } = require('ws')
const { PATIENCE, until } = require('./relay')

/** What a fresh profile must not do: ask the user, or call its makers. */
const PREFERENCES = {
  'browser.shell.checkDefaultBrowser': false, 'browser.aboutwelcome.enabled': false, 'browser.startup.page': 0, 'browser.sessionstore.resume_from_crash': false,
  'datareporting.policy.dataSubmissionEnabled': false, 'toolkit.telemetry.enabled': false, 'app.update.enabled': false, 'app.normandy.enabled': false,
  'network.captive-portal-service.enabled': false, 'network.connectivity-service.enabled': false, 'extensions.update.enabled': false,
  'browser.safebrowsing.downloads.enabled': false, 'services.settings.server': 'data:,', 'nimbus.rollouts.enabled': false,
  // Light, until a test says otherwise.
  'layout.css.prefers-color-scheme.content-override': 1
}
/** The keys of WebDriver that tests press. */
const KEYS = { Enter: '\ue007', Escape: '\ue00c' }

/** Starts Firefox with a fresh profile. `open` opens a page, `close` ends it with all its processes. */
async function launch() {
  const home = fs.mkdtempSync(path.join(os.tmpdir(), 'relay-firefox-'))
  fs.writeFileSync(path.join(home, 'user.js'), Object.entries(PREFERENCES).map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`).join(''))
  // System access: the test reads the log of the browser, and changes the preference for dark pages.
  const words = ['--headless', '--no-remote', '--profile', home, '--remote-debugging-port=0', '--remote-allow-system-access']
  const env = { ...process.env, HOME: home, MOZ_HEADLESS: '1', MOZ_DISABLE_CONTENT_SANDBOX: '1' }
  const child = spawn(process.env.FIREFOX || '/usr/bin/firefox-esr', words, { stdio: ['ignore', 'ignore', 'pipe'], env, detached: true })
  const ended = once(child, 'exit'), said = []
  // With the processes of its pages, which belong to its group.
  const kill = () => { try { process.kill(-child.pid, 'SIGKILL') } catch { /* it has ended */ } }
  process.once('exit', kill)
  const close = async () => {
    kill()
    await ended
    process.off('exit', kill)
    fs.rmSync(home, { recursive: true, force: true, maxRetries: 10 })
  }
  try {
    const address = await new Promise((resolve, reject) => {
      readline.createInterface({ input: child.stderr }).on('line', line => {
        said.push(line)
        const found = /WebDriver BiDi listening on (ws:\S+)/.exec(line)
        if (found) resolve(found[1])
      })
      ended.then(([code, signal]) => reject(new Error(`Firefox ended with ${code ?? signal}:\n${said.join('\n')}`)), reject)
    })
    const session = await connect(`${address}/session`)
    return { close, open: options => open(session, options) }
  } catch (error) {
    await close()
    throw error
  }
}

/** A session: `send` calls a command of the protocol, `on` is called with the events of a page. */
async function connect(url) {
  const socket = new WebSocket(url, { maxPayload: 1 << 28 }), waiting = new Map(), pages = new Map()
  await once(socket, 'open')
  let last = 0
  socket.on('message', text => {
    const message = JSON.parse(text)
    if (message.type === 'event') {
      const context = message.params.context ?? message.params.source?.context
      pages.get(context)?.(message.method, message.params)
      return
    }
    const { resolve, reject, method } = waiting.get(message.id)
    waiting.delete(message.id)
    if (message.type === 'success') resolve(message.result)
    else reject(Object.assign(new Error(`${method}: ${message.error}: ${message.message}`), { code: message.error }))
  })
  socket.on('close', () => { for (const { reject, method } of waiting.values()) reject(new Error(`${method}: Firefox has ended`)) })
  const send = (method, params = {}) => new Promise((resolve, reject) => {
    waiting.set(++last, { resolve, reject, method })
    socket.send(JSON.stringify({ id: last, method, params }))
  })
  // A certificate of the test is accepted.
  await send('session.new', { capabilities: { alwaysMatch: { acceptInsecureCerts: true } } })
  await send('session.subscribe', { events: ['log.entryAdded', 'network.beforeRequestSent', 'browsingContext.userPromptOpened'] })
  const { contexts: [{ context: chrome }] } = await send('browsingContext.getTree', { 'moz:scope': 'chrome' })
  return { send, chrome, on: (context, call) => pages.set(context, call) }
}

/** Opens a page in a container of its own: no other page has its storage. */
async function open(session, { width = 1280, height = 900, locale = 'en-US' } = {}) {
  const { send, chrome } = session
  const { userContext } = await send('browser.createUserContext')
  const { context } = await send('browsingContext.create', { type: 'tab', userContext })
  const page = {
    /** What is wrong: errors of scripts, what scripts log as an error, dialogs, and what the policy of the page forbids. */
    wrong: [],
    /** The requests that the page makes: `{ url, method, headers }`. */
    requests: []
  }
  session.on(context, (method, params) => {
    if (method === 'log.entryAdded' && ['error', 'warn'].includes(params.level)) page.wrong.push(params.text)
    if (method === 'browsingContext.userPromptOpened') page.wrong.push(`dialog: ${params.message}`)
    if (method === 'network.beforeRequestSent') {
      const { url, method: verb, headers } = params.request
      page.requests.push({ url, method: verb, headers: headers.map(({ name, value }) => [name.toLowerCase(), value.value]) })
    }
  })
  await send('script.addPreloadScript', { contexts: [context], functionDeclaration: `() => document.addEventListener('securitypolicyviolation', event =>
    console.error('policy: ' + event.violatedDirective + ' ' + event.blockedURI + ' ' + event.sample))` })
  await send('emulation.setLocaleOverride', { contexts: [context], locale })

  page.resize = (width, height) => send('browsingContext.setViewport', { context, viewport: { width, height } })
  page.goto = url => send('browsingContext.navigate', { context, url, wait: 'complete' })
  page.reload = () => send('browsingContext.reload', { context, wait: 'complete' })
  page.screenshot = async file => fs.writeFileSync(file, Buffer.from((await send('browsingContext.captureScreenshot', { context })).data, 'base64'))
  /** Calls a function in the page. Its arguments and its result are JSON. */
  page.evaluate = (call, ...values) => evaluate(call, values, context)
  /** Waits until a function in the page returns something. */
  page.until = (what, call, ...values) => until(what, () => page.evaluate(call, ...values)).catch(async error => {
    throw new Error(`${error.message}: ${await page.evaluate(() => document.body.innerText.slice(0, 2000)).catch(String)}`)
  })
  /** Waits until the page shows a text, in `where`. */
  page.shows = (words, where = 'body') => page.until(words, (words, where) => [...document.querySelectorAll(where)].some(one => one.innerText.includes(words)), words, where)

  /** Waits for the first element with a role and a name, as a screen reader finds it. */
  async function find(role, name) {
    return until(`${role} ${name}`, async () => {
      const { nodes } = await send('browsingContext.locateNodes', { context, locator: { type: 'accessibility', value: { role, name } } })
      return nodes[0]
    }).catch(async error => { throw new Error(`${error.message}: ${await page.evaluate(() => document.body.innerText.slice(0, 2000))}`) })
  }
  /** Clicks it with the mouse. */
  page.click = async (role, name) => {
    for (let last = Date.now() + PATIENCE; ;) {
      const element = await find(role, name)
      try {
        await send('script.callFunction', { functionDeclaration: `element => element.scrollIntoView({ block: 'center' })`, arguments: [{ sharedId: element.sharedId }], target: { context }, awaitPromise: false })
        return await send('input.performActions', { context, actions: [{ type: 'pointer', id: 'mouse', actions: [
          { type: 'pointerMove', x: 0, y: 0, origin: { type: 'element', element: { sharedId: element.sharedId } } }, { type: 'pointerDown', button: 0 }, { type: 'pointerUp', button: 0 }] }] })
      } catch (error) {
        // The page has replaced it meanwhile.
        if (!['no such node', 'no such element', 'move target out of bounds', 'stale element reference'].includes(error.code) || Date.now() > last) throw error
      }
    }
  }
  /** Types a text or presses a key, where the focus is. */
  page.type = words => send('input.performActions', { context, actions: [{ type: 'key', id: 'keyboard', actions:
    (KEYS[words] ? [KEYS[words]] : [...words]).flatMap(value => [{ type: 'keyDown', value }, { type: 'keyUp', value }]) }] })
  /** Whether pages are dark, for all of the browser. */
  page.dark = on => evaluate(on => Services.prefs.setIntPref('layout.css.prefers-color-scheme.content-override', on ? 0 : 1), [on], chrome)
  /** What the browser itself has logged about pages, such as files that it did not load: those of a URL. */
  page.log = url => evaluate(url => Services.console.getMessageArray().map(one => one.message).filter(message => message.includes(url)), [url], chrome)
  await page.resize(width, height)
  return page

  async function evaluate(call, values, target) {
    const body = `async values => {
      try { return JSON.stringify({ value: await (${call})(...JSON.parse(values)) }) } catch (error) { return JSON.stringify({ error: String(error) }) }
    }`
    const { result } = await send('script.callFunction', { functionDeclaration: body, arguments: [{ type: 'string', value: JSON.stringify(values) }], target: { context: target }, awaitPromise: true })
    const { value, error } = JSON.parse(result.value)
    if (error) throw new Error(error)
    return value
  }
}

module.exports = { launch }
