'use strict'
// The proxies of docs/operations.md: completes a block of the page to what its proxy runs with, as if it were
// pasted into the configuration that Debian ships.

const { spawn, execFileSync } = require('node:child_process')
const fs = require('node:fs')
const https = require('node:https')
const net = require('node:net')
const path = require('node:path')

const { until } = require('./relay')

const ROOT = path.join(__dirname, '../..')
const NAME = 'relay.example.org'
const PROGRAMS = { nginx: 'nginx', caddy: 'caddy', haproxy: 'haproxy', apache: 'apache2' }

/** The blocks of a page that configure a whole proxy. */
function blocks(page) {
  const text = fs.readFileSync(path.join(ROOT, page), 'utf8')
  const found = [...text.matchAll(/^```(nginx|caddy|haproxy|apache)\n(.*?)^```/gms)]
  // A location alone belongs into a server of another block.
  const isWhole = ({ kind, text }) => text.includes('127.0.0.1:4000') && (kind !== 'nginx' || text.includes('server {'))
  return found.map(([, kind, text]) => ({ kind, text })).filter(isWhole)
}

async function freePort() {
  const server = net.createServer()
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address()
  await new Promise(resolve => server.close(resolve))
  return port
}

/** What the proxy runs with: its configuration, and its arguments. */
function complete({ kind, text }, port, other, relayPort, directory) {
  const address = `127.0.0.1:${port}`
  text = text.replaceAll('127.0.0.1:4000', `127.0.0.1:${relayPort}`).replaceAll('/etc/ssl/', directory + '/')
  const file = path.join(directory, kind + '.conf')
  const debian = name => fs.readFileSync(name, 'utf8')
  switch (kind) {
    case 'nginx': {
      // In conf.d, beside Debian's default site, which has another free port in place of 80.
      fs.mkdirSync(path.join(directory, 'conf.d'))
      fs.writeFileSync(path.join(directory, 'conf.d/relay.conf'), text.replace(/listen 443\b/, `listen ${address}`))
      const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
        .map(name => `${name}_temp_path ${directory}/${name};`).join(' ')
      const site = '/etc/nginx/sites-enabled/default'
      const sites = fs.existsSync(site) ? debian(site).replace(/listen (\[::\]:)?80\b/g, `listen $1${other}`) : ''
      fs.writeFileSync(path.join(directory, 'default'), sites)
      const main = debian('/etc/nginx/nginx.conf')
        .replace(/^(user|pid|error_log|include \/etc\/nginx\/modules-enabled).*$/gm, '')
        .replace(/access_log .*;/, 'access_log off; ' + temporary)
        .replace('/etc/nginx/conf.d/', directory + '/conf.d/')
        .replace('/etc/nginx/sites-enabled/*', directory + '/default')
      // Without a master process, because its worker would outlive a kill of the master.
      fs.writeFileSync(file, `daemon off; master_process off; pid ${directory}/nginx.pid; error_log stderr;\n${main}`)
      return ['-c', file, '-e', 'stderr']
    }
    case 'caddy': {
      const site = `https://${NAME}:${port} {\n    bind 127.0.0.1\n    tls ${directory}/relay.crt ${directory}/relay.key`
      fs.writeFileSync(file, `{\n    admin off\n    auto_https off\n}\n${text.replace(NAME + ' {', site)}`)
      return ['run', '--adapter', 'caddyfile', '--config', file]
    }
    case 'haproxy': {
      const shipped = fs.existsSync('/etc/haproxy/haproxy.cfg') ? debian('/etc/haproxy/haproxy.cfg') : ''
      const main = shipped.replace(/^\s*(log \/dev|chroot|stats|user|group|daemon).*$/gm, '')
      fs.writeFileSync(file, `${main}\n${text.replace('bind :443', 'bind ' + address)}`)
      return ['-db', '-f', file]
    }
    default: {
      const modules = ['mpm_event', 'authz_core', 'reqtimeout', 'proxy', 'proxy_http', 'socache_shmcb', 'ssl']
      fs.writeFileSync(file, `ServerRoot ${directory}\nPidFile ${directory}/apache.pid\nErrorLog ${directory}/error.log\nServerName localhost\n` +
        `DefaultRuntimeDir ${directory}\nMutex file:${directory}\nListen ${address}\nUser www-data\nGroup www-data\n` +
        modules.map(name => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so\n`).join('') +
        text.replace('*:443', address))
      return ['-X', '-f', file]
    }
  }
}

/** Starts the proxy of a block in front of 127.0.0.1:`relayPort`. The visitors of its agent come from 127.0.0.5. */
async function startProxy(block, relayPort, directory) {
  const [port, other] = [await freePort(), await freePort()]
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', '/CN=' + NAME, '-keyout', directory + '/relay.key', '-out', directory + '/relay.crt'], { stdio: 'ignore' })
  const [crt, key] = ['relay.crt', 'relay.key'].map(name => fs.readFileSync(path.join(directory, name), 'utf8'))
  fs.writeFileSync(path.join(directory, 'relay.pem'), crt + key)
  const args = complete(block, port, other, relayPort, directory)
  const env = { ...process.env, PATH: process.env.PATH + ':/usr/sbin', HOME: directory, XDG_DATA_HOME: directory }
  const log = []
  let child, ended
  const run = async () => {
    ended = undefined
    child = spawn(PROGRAMS[block.kind], args, { env, cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] })
    child.stderr.on('data', data => log.push(String(data)))
    child.on('error', error => { ended = error })
    child.on('exit', code => { ended = code })
    await until(block.kind, () => {
      if (ended !== undefined) throw new Error(`${block.kind} ended with ${ended}: ${log.join('')}`)
      return new Promise(resolve => {
        const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true) })
        socket.on('error', () => resolve(false))
      })
    })
  }
  await run()
  const lookup = (host, options, done) =>
    options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4)
  const options = { lookup, localAddress: '127.0.0.5', rejectUnauthorized: false, servername: NAME }
  const agent = new https.Agent(options)
  /** What it says: Apache cannot write to a socket, which Node's pipes are. */
  const said = () => {
    const file = path.join(directory, 'error.log')
    return log.join('') + (fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '')
  }
  const proxy = { port, said, agent, name: NAME, url: `https://${NAME}:${port}` }
  proxy.stop = () => new Promise(resolve => {
    if (ended !== undefined) return resolve()
    child.on('exit', resolve)
    child.kill('SIGKILL')
  })
  /** Starts it again, with the same port. */
  proxy.start = run
  /** A request through the proxy: its status and its body. */
  proxy.request = (method, target, body, headers = {}) => new Promise((resolve, reject) => {
    const request = https.request(proxy.url + target, { method, agent, headers }, answer => {
      let text = ''
      answer.setEncoding('utf8').on('data', data => { text += data }).on('end', () => resolve({ status: answer.statusCode, text }))
      answer.on('error', reject)
    })
    request.on('error', reject)
    request.end(body)
  })
  return proxy
}

module.exports = { blocks, freePort, startProxy }
