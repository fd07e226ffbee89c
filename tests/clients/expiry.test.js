'use strict'
// Logins that expire, with real clients (docs/protocol.md, Logins that expire).
const assert = require('node:assert/strict')
const { createHmac, generateKeyPairSync, sign } = require('node:crypto')
const fs = require('node:fs')
const path = require('node:path')
const { test, before, after } = require('node:test')
const WebSocket = require('ws')
const { chromium } = require('playwright-core')
const { start, configuration, until } = require('./relay')

const SECRET = 'a secret of thirty-two characters'
const CONFIG = `[sources.shop]\nsign_key = "k of the shop"\njwt = { secret = "${SECRET}" }\n[admin]\ntoken = "token of the test"\n`
// A login is valid for some seconds after its `exp`.
const LEEWAY = 5

const encode = value => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
const signed = (head, claims, make) => {
  const text = encode(head) + '.' + encode(claims)
  return text + '.' + make(text).toString('base64url')
}
/** A token that is accepted for `seconds` more. */
const token = (seconds, rooms = ['room']) => signed({ alg: 'HS256' }, { sub: '7', rooms, exp: Date.now() / 1000 + seconds - LEEWAY },
  text => createHmac('sha256', SECRET).update(text).digest())

const notify = async (relay, data) => {
  const body = new URLSearchParams({ source: 'shop', room_id: 'room', data, token: 'token of the test' })
  const answer = await (await fetch(relay.url + '/api/notify', { method: 'POST', body })).json()
  assert.equal(answer.code, 1)
}
const counter = async (relay, name) => {
  const headers = { Authorization: 'Bearer token of the test' }
  return (await (await fetch(relay.url + '/api/stats', { headers })).json()).counters[name]
}

let relay
before(async () => { relay = await start(0, configuration(CONFIG)) })
after(() => relay.stop())

for (const version of ['2.5', '4.8']) {
  for (const transport of ['websocket', 'polling']) {
    const library = require('socket.io-client-' + version)
    const io = library.io || library
    /** Options with which a client logs in with a new token each time. */
    const options = next => ({
      transports: [transport],
      forceNew: true,
      reconnectionDelay: 10,
      ...(version === '2.5' ? { query: { source: 'shop', jwt: next() } } : { auth: done => done({ source: 'shop', jwt: next() }) })
    })

    test(`socket.io-client ${version}, ${transport}: renews, and stays`, async () => {
      const socket = io(relay.url, options(() => token(4)))
      const got = []
      socket.on('newMsg', message => got.push(message.data))
      let answer
      let ended = false
      socket.on('disconnect', () => { ended = true })
      socket.on('expiring', its => {
        assert.equal(typeof its.seconds, 'number')
        if (!answer) socket.emit('renew', token(600), its => { answer = its })
      })
      await until('the renewal', () => answer)
      assert.equal(answer.code, 1)
      assert.deepEqual(answer.data.left, [])
      // When another session with such a login has ended, this one would have, too.
      const before = await counter(relay, 'logins_expired')
      const other = new WebSocket(`${relay.url.replace('http', 'ws')}/ws?source=shop&jwt=${token(4)}`)
      const code = await new Promise(resolve => other.on('close', resolve))
      assert.equal(code, 4401)
      assert.equal(await counter(relay, 'logins_expired'), before + 1)
      await notify(relay, 'still here')
      await until('the message', () => got.includes('still here'))
      assert.equal(ended, false)
      socket.close()
    })

    test(`socket.io-client ${version}, ${transport}: comes back with a new token`, async () => {
      let tokens = 0
      const next = () => token(tokens++ ? 600 : 2)
      const socket = io(relay.url, options(next))
      const errors = []
      let connects = 0
      socket.on('sys_error', why => errors.push(why))
      socket.on('connect', () => connects++)
      // What a page does with 2.x.
      if (version === '2.5') socket.on('reconnect_attempt', () => { socket.io.opts.query = { source: 'shop', jwt: next() } })
      const got = []
      socket.on('newMsg', message => got.push(message.data))
      await until('the second login', () => connects === 2)
      assert.deepEqual(errors, ['the login has expired, log in again'])
      await notify(relay, 'back')
      await until('the message', () => got.includes('back'))
      socket.close()
    })
  }
}

test('EdDSA and RS256, and no other use of a public key', async () => {
  const pairs = { EdDSA: generateKeyPairSync('ed25519'), RS256: generateKeyPairSync('rsa', { modulusLength: 2048 }) }
  const pems = {}
  const args = configuration('', '')
  const file = args[1]
  let text = fs.readFileSync(file, 'utf8')
  for (const [alg, pair] of Object.entries(pairs)) {
    pems[alg] = pair.publicKey.export({ type: 'spki', format: 'pem' })
    fs.writeFileSync(path.join(path.dirname(file), alg + '.pem'), pems[alg])
    text += `[sources.${alg}]\nsign_key = "key of ${alg}"\n[[sources.${alg}.jwt.keys]]\nkid = "1"\npublic_key_file = "${alg}.pem"\n`
  }
  fs.writeFileSync(file, text)
  const relay = await start(0, args)
  const claims = { sub: '7', rooms: ['room'], exp: Math.floor(Date.now() / 1000) + 600 }
  const ask = async (source, jwt) => {
    const answer = await fetch(`${relay.url}/ws?source=${source}&jwt=${jwt}`)
    return answer.status === 426 ? 'admitted' : (await answer.json()).reason
  }
  for (const [alg, pair] of Object.entries(pairs)) {
    const hash = alg === 'RS256' ? 'sha256' : null
    const jwt = signed({ alg, kid: '1' }, claims, text => sign(hash, Buffer.from(text), pair.privateKey))
    assert.equal(await ask(alg, jwt), 'admitted')
    const other = alg === 'RS256' ? 'EdDSA' : 'RS256'
    assert.equal(await ask(other, jwt), `alg must be ${other}: the key of the source is for no other`)
    // The public key as the secret of an HMAC.
    const confused = signed({ alg: 'HS256', kid: '1' }, claims, text => createHmac('sha256', pems[alg]).update(text).digest())
    assert.equal(await ask(alg, confused), `alg must be ${alg}: the key of the source is for no other`)
    const lying = signed({ alg, kid: '1' }, claims, text => createHmac('sha256', pems[alg]).update(text).digest())
    assert.equal(await ask(alg, lying), 'the token was not signed with the key of the source')
    const changed = jwt.split('.')
    changed[1] = encode({ ...claims, sub: '8' })
    assert.equal(await ask(alg, changed.join('.')), 'the token was not signed with the key of the source')
    const none = signed({ alg: 'none', kid: '1' }, claims, () => Buffer.alloc(0))
    assert.equal(await ask(alg, none), `alg must be ${alg}: the key of the source is for no other`)
  }
  await relay.stop()
})

test('node_im.js renews, and logs in with a new token', async () => {
  const executablePath = process.env.CHROMIUM || '/usr/bin/chromium'
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
  const page = await browser.newPage()
  // Short ones, until the page has renewed one; then a failure of the page, and a long one.
  let asked = 0
  await page.exposeFunction('nextToken', () => {
    asked++
    if (asked === 3) throw new Error('no token today')
    return token(asked < 3 ? 4 : 600)
  })
  await page.goto(relay.url + '/demo/')
  await page.addScriptTag({ url: relay.url + '/js/node_im.min.js' })
  const renewed = await counter(relay, 'logins_renewed')
  await page.evaluate(() => {
    window.got = []
    window.connects = 0
    window.errors = []
    NODE_IM.create().init('?source=shop', {
      jwt: () => window.nextToken(),
      receive_message_callback: message => window.got.push(message.data),
      connected_callback: () => window.connects++,
      sys_error_callback: why => window.errors.push(why)
    })
  })
  await until('the renewal', async () => await counter(relay, 'logins_renewed') > renewed)
  assert.equal(await page.evaluate(() => window.connects), 1)
  // The next renewal fails, so the session ends and the page logs in again.
  await until('the second login', () => page.evaluate(() => window.connects === 2))
  const errors = await page.evaluate(() => window.errors)
  assert.match(errors[0], /^the jwt function failed: .*no token today/)
  assert.equal(errors[1], 'the login has expired, log in again')
  assert.equal(asked, 4)
  await notify(relay, 'for the page')
  await until('the message', () => page.evaluate(() => window.got.includes('for the page')))
  await browser.close()
})
