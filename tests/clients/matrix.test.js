'use strict'
// Every generation of socket.io-client from 1.4 on, in Node, Chromium and Firefox, over polling, over a WebSocket, and from the
// one to the other, directly and through nginx.
const assert = require('node:assert/strict')
const { execFileSync, spawn } = require('node:child_process')
const { once } = require('node:events')
const { test, before, after } = require('node:test')
const fs = require('node:fs')
const http = require('node:http')
const os = require('node:os')
const path = require('node:path')
const { chromium } = require('playwright-core')
const { startNginx } = require('./nginx')
const { freePort } = require('./proxy')
const { PATIENCE, start, configuration, login, until } = require('./relay')
const { scenario } = require('./matrix/scenario')

const VERSIONS = ['1.4', '1.5', '1.6', '1.7', '2.0', '2.5', '3.1', '4.0', '4.8']
const TRANSPORTS = [['polling'], ['websocket'], ['polling', 'websocket']]
const OPTIONS = [{}, { forceBase64: true }]
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'relay-matrix-'))

let relay, nginx, site
/** Where relay is reached: directly, and through nginx. */
const targets = {}
/** What browsers have reported, by browser and version. */
const reports = {}

before(async () => {
  relay = await start(0, configuration('[limits]\nmessage_rate = 0\n'))
  const port = await freePort()
  nginx = startNginx(folder, [{ listen: `127.0.0.1:${port}`, target: relay.port }])
  Object.assign(targets, { direct: relay.url, nginx: `http://127.0.0.1:${port}` })
  await until('nginx', () => fetch(targets.nginx + '/healthz').then(answer => answer.ok, () => false))
  site = http.createServer(serve)
  site.listen(0, '127.0.0.1')
  await once(site, 'listening')
})
after(async () => {
  site.close()
  site.closeAllConnections()
  await Promise.all([nginx.stop(), relay.stop()])
  fs.rmSync(folder, { recursive: true })
})

/** The runs of one client: a name, the address with a room of its own, transports and options. */
function runs(client) {
  const all = []
  for (const [target, url] of Object.entries(targets)) for (const transports of TRANSPORTS) for (const options of OPTIONS) {
    const name = [target, transports.join('+'), ...Object.keys(options)].join(' ')
    // Through nginx, one kind of options is enough.
    if (target === 'nginx' && options.forceBase64) continue
    all.push({ target, name, transports, options, url: `${url}/?${login((client + name).replace(/\W+/g, '-'))}` })
  }
  return all
}

/** Whether each run succeeded, with the transport that it should end with. */
function check(found, client) {
  const expected = Object.fromEntries(runs(client).map(({ name, transports }) => [name, transports.at(-1)]))
  assert.deepEqual(found, expected)
}

/** Serves the page, which opens a frame for each version, and collects what they report. */
function serve(request, response) {
  const url = new URL(request.url, 'http://x')
  const [browser, version] = [url.searchParams.get('browser'), url.searchParams.get('version')]
  const html = text => response.setHeader('Content-Type', 'text/html;charset=utf-8').end(`<!doctype html>${text}`)
  const script = file => response.setHeader('Content-Type', 'text/javascript;charset=utf-8').end(fs.readFileSync(file))
  switch (url.pathname) {
    case '/page':
      return html(`<script>
        const versions = ${JSON.stringify(VERSIONS)}
        onmessage = next
        function next() {
          document.querySelector('iframe')?.remove()
          if (!versions.length) return
          document.body.append(Object.assign(document.createElement('iframe'), { src: '/frame?browser=${browser}&version=' + versions.shift() }))
        }
        onload = next
      </script>`)
    case '/frame':
      return html(`<script src="/scenario.js"></script><script src="/client.js?version=${version}"></script><script>
        (async () => {
          const runs = ${JSON.stringify(runs(browser + version))}, found = {}
          // A browser has six connections to a server: two polls and a POST for each run.
          const one = async target => {
            for (const { name, url, transports, options } of runs.filter(run => run.target === target)) {
              found[name] = await scenario(io, url, transports, options).catch(error => String(error.message))
            }
          }
          await Promise.all(['direct', 'nginx'].map(one))
          await fetch('/report?browser=${browser}&version=${version}', { method: 'POST', body: JSON.stringify(found) })
          parent.postMessage('', '*')
        })()
      </script>`)
    case '/scenario.js': return script(path.join(__dirname, 'matrix/scenario.js'))
    case '/client.js': {
      const package_ = path.join(__dirname, 'node_modules', `socket.io-client-${version}`)
      return script(['dist/socket.io.js', 'socket.io.js'].map(file => path.join(package_, file)).find(fs.existsSync))
    }
    case '/report': {
      const parts = []
      request.on('data', part => parts.push(part)).on('end', () => {
        reports[browser + version] = JSON.parse(Buffer.concat(parts))
        response.end()
      })
      return
    }
    default: return response.writeHead(404).end()
  }
}

test('in Node', async t => {
  await Promise.all(VERSIONS.map(version => t.test(version, async () => {
    const io = require(`socket.io-client-${version}`)
    const found = {}
    await Promise.all(runs('Node' + version).map(async ({ name, url, transports, options }) => {
      found[name] = await scenario(io, url, transports, options).catch(error => error.message)
    }))
    check(found, 'Node' + version)
  })))
})

const BROWSERS = {
  async Chromium(url) {
    const executablePath = process.env.CHROMIUM || '/usr/bin/chromium'
    const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
    await (await browser.newPage()).goto(url)
    return () => browser.close()
  },
  // Without a driver: the page itself reports.
  async Firefox(url) {
    const profile = path.join(folder, 'firefox')
    fs.mkdirSync(profile)
    fs.writeFileSync(path.join(profile, 'user.js'), Object.entries({
      'browser.shell.checkDefaultBrowser': false, 'browser.aboutwelcome.enabled': false, 'datareporting.policy.dataSubmissionEnabled': false,
      'app.update.enabled': false, 'app.normandy.enabled': false, 'toolkit.telemetry.enabled': false, 'browser.startup.page': 0,
      'browser.sessionstore.resume_from_crash': false, 'network.captive-portal-service.enabled': false,
      'network.connectivity-service.enabled': false, 'extensions.update.enabled': false, 'browser.safebrowsing.downloads.enabled': false,
    }).map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`).join(''))
    const environment = { ...process.env, HOME: folder, MOZ_HEADLESS: '1', MOZ_DISABLE_CONTENT_SANDBOX: '1' }
    const browser = spawn(process.env.FIREFOX || '/usr/bin/firefox-esr', ['--headless', '--no-remote', '--profile', profile, url], { stdio: 'ignore', env: environment, detached: true })
    const ended = once(browser, 'exit')
    return async () => {
      // With the processes of its pages.
      process.kill(-browser.pid, 'SIGKILL')
      await ended
    }
  }
}

for (const [name, launch] of Object.entries(BROWSERS)) test(`in ${name}`, async t => {
  const close = await launch(`http://127.0.0.1:${site.address().port}/page?browser=${name}`)
  try {
    for (const version of VERSIONS) await t.test(version, async () => {
      check(await until(`the report of ${version}`, () => reports[name + version], 2 * PATIENCE), name + version)
    })
  } finally {
    await close()
  }
})
