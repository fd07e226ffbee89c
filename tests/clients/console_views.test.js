'use strict'
// What the views of the console show; each is also checked by axe-core, in both languages, and by keyboard alone.
const assert = require('node:assert/strict')
const { after, before, describe, test } = require('node:test')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const io2 = require('socket.io-client-2.5')
const { io: io4 } = require('socket.io-client-4.8')
const { VIEWS, byKeyboard, clean } = require('./axe')
const { login, md5, start, steadyTest, until } = require('./relay')
const { TOKEN, ask, close, launch, live, member, open, relayWith, row, settled, signIn, text, visit } = require('./console_page')

const SHOP = { source: 'shop', sign: md5('shoporders' + 'k') }

let browser, relay, clients = [], directory
/** How many messages the room `kept` has had. */
let kept = 0
before(async () => {
  browser = await launch()
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'relay-test-'))
  relay = await relayWith(`[message_log]\ndir = "${directory}"\n[sources.shop]\nsign_key = "k"\n[history]\ncount = 4\nrooms = [{ room = "kept", count = 20 }]\n`)
  for (let i = 0; i < 60; i++) clients.push(await member(relay, i % 10 ? 'crowd' : 'crowd,kept', { userid: `user-${i}`, username: `name ${i}` }, { Referer: `http://shop.example/page-${i % 3}?secret=1` }))
  clients.push(await member(relay, 'orders', SHOP))
  for (const [io, version] of [[io2, 2], [io4, 4]]) {
    const socket = io(`${relay.url}/?${login('crowd', { userid: `socketio-${version}` })}`, { transports: ['websocket'], extraHeaders: { Referer: `http://old.example/chat-${version}` }, forceNew: true })
    await new Promise((resolve, reject) => { socket.on('connect', resolve); socket.on('connect_error', reject) })
    clients.push({ terminate: () => socket.close() })
  }
})
after(async () => {
  for (const client of clients) client.terminate()
  await browser.close()
  await relay.stop()
})

/** A test with a console of its own, with which nothing may be wrong at the end. */
const onPage = (name, attempt) => steadyTest(name, async () => {
  const page = await open(browser, relay, { bypassCSP: true })
  try {
    await attempt(page)
    await close(page)
  } finally {
    await page.context().close()
  }
})
async function inChinese(page) {
  await page.locator('.language').click()
  await page.getByRole('button', { name: 'English' }).waitFor()
}
/** Goes to a view, and waits for its result if it has one. */
async function reach(page, hash) {
  await visit(page, hash)
  if (!/overview|tail|log$|why$/.test(hash)) await settled(page)
}
/** Checks that nobody has to scroll sideways. */
async function narrow(page, what) {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
  assert.ok(wide <= 0, `${what} is ${wide} px too wide`)
}

/** Each view: its address, and how it gets something to show. */
const STATES = {
  '#overview': page => until('numbers', async () => /^\d/.test(await page.locator('[data-graph=clients] .now').textContent())),
  '#sessions': page => row(page, 'user-').first().waitFor(),
  '#sessions?source=demo': page => row(page, 'user-').first().waitFor(),
  '#sessions?source=demo&search=user-41': async page => {
    await until('one', async () => await page.getByRole('row').count() === 2)
    assert.match(await row(page, 'user-41').innerText(), /name 41[\s\S]*WebSocket[\s\S]*page-2[\s\S]*crowd[\s\S]*live/)
  },
  '#sessions?source=demo&search=nobody-at-all': page => page.getByText('No session matches.').waitFor(),
  '#sessions?source=demo&order=unsent': page => page.getByText('none is slow now').waitFor(),
  '#users?source=demo': page => row(page, 'user-').first().waitFor(),
  '#rooms?source=demo': page => row(page, 'crowd').waitFor(),
  '#rooms?source=demo&order=messages': async page => {
    for (let i = 0; i < 3; i++, kept++) await relay.notify('kept', 'm' + i)
    await relay.notify('crowd', 'one')
    await page.getByRole('button', { name: 'Refresh' }).click()
    // The one with the most deliveries or messages; both are listed with their numbers.
    await until('both', async () => /kept/.test(await text(page)) && /crowd/.test(await text(page)))
    assert.match(await row(page, 'kept').first().innerText(), new RegExp(`\\b${kept}\\b`))
  },
  '#sources': page => row(page, 'shop').waitFor(),
  '#clients': async page => {
    await page.getByText(/\b1 of \d+ clients still use Socket.IO 1.x or 2.x, on 1 page/).waitFor()
    await page.locator('.tile').filter({ hasText: 'Socket.IO 1.x / 2.x' }).click()
    await until('only the old page', async () => await page.getByRole('row').count() === 2)
    assert.match(await text(page), /http:\/\/old\.example\/chat-2/)
    assert.doesNotMatch(await text(page), /secret/)
  },
  '#why': page => page.getByText('Where to begin').waitFor(),
  '#why?source=demo&userid=user-3': async page => {
    await page.getByText('Connected: 1 session.').waitFor()
    await page.getByText(/logged in/).first().waitFor()
    await page.getByRole('heading', { name: 'Ask for one message' }).waitFor()
  },
  '#tail?source=demo&room_id=crowd': async page => {
    await until('the stream', async () => page.requests.some(request => request.url().includes('room_id=crowd') && request.url().includes('/api/live')))
    await until('a message', async () => {
      await relay.notify('crowd', '{"hello":"tail","list":[1,2]}')
      return page.getByText('"hello":"tail"').count()
    })
    await page.getByRole('button', { name: 'Whole' }).first().click()
    await page.locator('.opened pre').waitFor()
  },
  '#log': async page => {
    await until('lines', () => page.locator('.follow .line').count())
    assert.match(await text(page), /listening on/)
  },
  '#log?file=messages&source=demo': page => page.getByText('m2').first().waitFor()
}

describe('each view shows what it is for, and axe finds nothing', () => {
  for (const [hash, shown] of Object.entries(STATES)) {
    onPage(hash, async page => {
      await reach(page, hash)
      await shown(page)
      await clean(page, hash)
    })
  }
  onPage('in Chinese', async page => {
    await inChinese(page)
    // Fifty rows take axe long; the table is the same when it is filtered.
    for (const hash of Object.keys(STATES).filter(hash => !['#sessions', '#sessions?source=demo'].includes(hash))) {
      await reach(page, hash)
      await clean(page, hash + ' in Chinese')
      await narrow(page, hash + ' in Chinese')
    }
  })
})

describe('a relay that does not answer', () => {
  for (const [state, stop] of [['connecting…', () => {}], ['not connected', route => route.abort('connectionrefused')]]) {
    onPage(state, async page => {
      // Those that wait are forgotten with the page.
      await page.route(/\/api\//, stop)
      for (const language of ['English', 'Chinese']) {
        if (language === 'Chinese') await inChinese(page)
        // Other streams than the one that is open.
        for (const hash of ['#log', '#tail?source=demo&room_id=crowd', '#rooms?source=demo', '#clients', '#overview']) {
          await visit(page, hash)
          if (language === 'English') await page.locator('.state').getByText(state).waitFor()
          await clean(page, `${hash}, ${state}, ${language}`)
          for (const width of [360, 320]) {
            await page.setViewportSize({ width, height: 740 })
            await narrow(page, `${hash}, ${state}, ${language}, ${width} px`)
          }
        }
      }
    })
  }
})

test('each kind of memory, and each reason why sessions end, has a name in both languages', async () => {
  const answer = await fetch(relay.url + '/api/live', { headers: { Authorization: 'Bearer ' + Buffer.from(TOKEN).toString('latin1') } })
  let text = ''
  for await (const part of answer.body.pipeThrough(new TextDecoderStream())) {
    text += part
    if (text.includes('"closes":{') && text.endsWith('\n')) break
  }
  const { memory, closes } = text.split('\n').filter(Boolean).map(JSON.parse).find(line => line.closes)
  const source = fs.readFileSync(path.join(__dirname, '../../src/www/console/overview.js'), 'utf8')
  const named = list => [...source.split(`const ${list} = `)[1].split('\n})')[0].matchAll(/\b(\w+): (?=t\(|')/g)].map(([, name]) => name).sort()
  assert.deepEqual(named('KINDS'), Object.keys(memory).sort())
  assert.deepEqual(named('REASONS'), Object.keys(closes).sort())
})

onPage('a search goes on with the next page, and shows 50 at a time', async page => {
  await visit(page, '#sessions?source=demo&search=user-')
  await settled(page)
  await until('50', async () => await page.getByRole('row').count() === 51)
  await page.getByRole('button', { name: 'Next 50' }).click()
  await until('the rest', async () => await page.getByRole('row').count() === 11)
  await page.getByRole('button', { name: 'First page' }).click()
  await until('50 again', async () => await page.getByRole('row').count() === 51)
})

onPage('the page of a session: who, from where, with what, and that it ends', async page => {
  const client = await member(relay, 'crowd,kept', { userid: 'leaver', username: 'name of it' }, { Referer: 'http://shop.example/page-1?secret=1' })
  await visit(page, '#sessions?source=demo&search=leaver')
  await until('the row', () => row(page, 'leaver').count())
  await row(page, 'leaver').getByRole('button', { name: /^Session/ }).click()
  await page.getByText('What has happened').waitFor()
  const shown = await text(page)
  for (const part of ['leaver', 'name of it', '127.0.0.1', 'http://shop.example/page-1', 'WebSocket', 'kept', 'crowd', 'alive']) assert.ok(shown.includes(part), part)
  await page.getByText(/logged in/).first().waitFor()
  // Its id is in the address, which can be sent to a colleague.
  assert.match(page.url(), /#session\?source=demo&socket_id=[\w-]{27}$/)
  await clean(page, '#session')
  await page.setViewportSize(VIEWS[0])
  await byKeyboard(page, '#session')
  await page.reload()
  await page.getByText('name of it').waitFor()
  client.terminate()
  await page.getByText('This session has ended').waitFor()
  await page.locator('.history').getByText(/was lost|ended/).first().waitFor()
  await clean(page, '#session that has ended')
  await page.setViewportSize(VIEWS[0])
  await page.getByRole('link', { name: 'leaver' }).first().click()
  await page.getByText('Not connected: no session has').waitFor()
  await page.getByText(/was lost|ended/).first().waitFor()
})

onPage('the id of a Socket.IO 2.x session, which is a secret, is not in the address; the tab finds it after a reload', async page => {
  await visit(page, '#sessions?source=demo&search=socketio-2')
  await row(page, 'socketio-2').getByRole('button', { name: /^Session/ }).click()
  await page.getByText('What has happened').first().waitFor()
  assert.ok(page.url().endsWith('#session?source=demo'), page.url())
  const { socket_id } = await page.evaluate(() => history.state)
  await page.reload()
  await page.getByText('Socket.IO 1.x / 2.x').first().waitFor()
  // Nor does it stay there.
  await visit(page, `#session?source=demo&socket_id=${encodeURIComponent(socket_id)}`)
  await until('the address without it', () => page.url().endsWith('#session?source=demo'))
})

onPage('without a source all are asked, and an answer says where it is from', async page => {
  await page.getByRole('link', { name: 'Sessions', exact: true }).click()
  await row(page, 'user-').first().waitFor()
  // One source comes after the other.
  await page.getByRole('button', { name: 'Next 50' }).click()
  await row(page, 'shop').first().waitFor()
  await visit(page, '#rooms')
  await row(page, 'orders').getByText('shop').waitFor()
  await row(page, 'crowd').getByText('demo').waitFor()
  await visit(page, '#sessions?source=shop&order=unsent')
  await page.getByText('none is slow now. (In the source shop; try demo.)').waitFor()
  // The user of a source that is not the chosen one.
  await visit(page, '#why?source=shop&userid=user-7')
  await page.getByText('Found in demo, not in shop.').waitFor()
  await page.getByText('Connected: 1 session.').waitFor()
  await visit(page, '#why?userid=nobody-at-all')
  await page.getByText('Looked in all 2 sources').waitFor()
  await clean(page, 'a user of no source')
  // A page that knows none goes to the source with the most sessions.
  await page.reload()
  await visit(page, '#users')
  await row(page, 'user-').first().waitFor()
})

onPage('why: the message of a room, for a user who is in another', async page => {
  await visit(page, '#tail?source=demo&room_id=kept')
  await page.getByRole('heading', { name: 'Room kept' }).waitFor()
  await until('the message', async () => {
    await relay.notify('kept', 'not for user 1')
    return page.getByText('not for user 1').count()
  })
  await page.locator('.message').last().getByRole('link', { name: 'Why?' }).click()
  // The message alone has an answer, too.
  await page.locator('.verdicts').getByText(/published to room kept[\s\S]*Enter a user id/).waitFor()
  await page.getByLabel('User id').fill('user-1')
  await page.getByRole('button', { name: 'Ask' }).click()
  await page.locator('.verdicts li').getByText(/not in/).first().waitFor()
  const { data: { advice } } = await page.evaluate(async () => {
    const ask = new URL('../api/why', location.href.split('#')[0])
    for (const [name, value] of new URLSearchParams(location.hash.split('?')[1])) ask.searchParams.set(name, value)
    return (await fetch(ask, { headers: { Authorization: 'Bearer ' + Array.from(new TextEncoder().encode(Object.values(sessionStorage)[0]), byte => String.fromCharCode(byte)).join('') } })).json()
  })
  assert.ok(advice.length)
  for (const one of advice) await page.locator('.advice').getByText('→ ' + one).waitFor()
  await clean(page, 'a verdict')
  await page.setViewportSize(VIEWS[0])
  // And for one who is in it.
  await page.getByLabel('User id').fill('user-10')
  await page.getByRole('button', { name: 'Ask' }).click()
  await page.locator('.verdicts').getByText(/was in the room/).waitFor()
})

onPage('why, and what has happened to a session, are said in the language of the console', async page => {
  const client = await member(relay, 'kept', { userid: 'spring' })
  client.terminate()
  await until('the loss', async () => !(await ask(relay, '/api/online?source=demo&userid=spring')).list.length)
  await visit(page, '#why?source=demo&userid=spring')
  await page.locator('.verdicts').getByText(/there is no session here: session/).waitFor()
  // The answer is shown again in the other language.
  await page.locator('.language').click()
  await page.locator('.verdicts').getByText(/^本 relay 上没有会话：会话 .* 断线（连接断开）$/).waitFor()
  await page.locator('.advice').getByText('让客户端自行重连').waitFor()
  await page.locator('.history').getByText(/^会话 .* 断线：连接断开$/).waitFor()
  for (const part of ['.verdicts', '.history']) assert.doesNotMatch(await page.locator(part).innerText(), /session|client|lost/)
  await clean(page, 'a verdict in Chinese')
  await page.setViewportSize(VIEWS[0])
  // The ids of sessions are links: to one that has ended, and to one that is there.
  await page.locator('.verdicts').getByRole('button', { name: /^会话 [\w-]{27}$/ }).click()
  await page.getByText('该会话已结束。').waitFor()
  await page.locator('.verdicts').getByText(/^本 relay 上没有会话：会话 /).waitFor()
  await page.locator('.history').getByText(/^会话 .* 登录$/).waitFor()
  await visit(page, '#why?source=demo&userid=user-20')
  await page.locator('.history').getByRole('button', { name: /^会话 [\w-]{27}$/ }).first().click()
  await page.getByText('name 20').waitFor()
  await page.locator('.history').getByText(/^会话 .* 加入房间“kept”$/).waitFor()
  await page.locator('.language').click()
  await page.locator('.history').getByText(/^session .* joined room kept$/).waitFor()
})

onPage('a slow client: the overview says that there is one, and leads to it', async page => {
  const slow = await member(relay, 'stuck', { userid: 'sluggish' })
  try {
    slow._socket.pause()
    // So many that it is slow, and not so many that it falls behind, which is another state. The kernel takes some megabytes
    // first. The overview is a second late and a table does not refresh itself: it is relay that says when it is enough.
    await until('unsent bytes', async () => {
      await relay.notify('stuck', 'x'.repeat(100000))
      const { list } = await ask(relay, '/api/sessions?source=demo&order=unsent')
      return list[0]?.unsent > 300000
    })
    await visit(page, '#overview')
    await until('it on the overview', async () => /^1 client has unsent bytes/.test(await page.locator('.questions .figure').innerText()))
    await page.getByRole('link', { name: 'Clients with unsent bytes' }).click()
    await row(page, 'sluggish').waitFor()
    await row(page, 'sluggish').locator('.badge.wait').filter({ hasText: /^slow: [\d.,]+ (KiB|MiB) wait for it$/ }).waitFor()
    assert.equal(await row(page, 'sluggish').getByText('live').count(), 0)
    await row(page, 'sluggish').getByRole('button', { name: /^Session/ }).click()
    await page.getByText(/wait for it: its network or its page does not read them/).waitFor()
    await page.locator('.pairs .badge.wait').filter({ hasText: /^slow: / }).waitFor()
    await clean(page, 'the session of a slow client')
  } finally {
    slow.terminate()
  }
})

onPage('a tail can be paused, filtered and cleared', async page => {
  await visit(page, '#tail?source=demo&room_id=kept')
  await page.getByRole('heading', { name: 'Room kept' }).waitFor()
  await until('a message', async () => { await relay.notify('kept', 'before'); return page.getByText('before').count() })
  await page.getByRole('button', { name: 'Pause' }).click()
  await relay.notify('kept', 'while paused')
  await page.getByText(/\d+ wait/).waitFor()
  assert.equal(await page.getByText('while paused').count(), 0)
  await page.getByRole('button', { name: 'Go on' }).click()
  await page.getByText('while paused').waitFor()
  await page.getByLabel('Filter').fill('WHILE')
  assert.equal(await page.locator('.message').count(), 1)
  await page.getByLabel('Filter').fill('')
  await page.getByRole('button', { name: 'Clear' }).click()
  assert.equal(await page.locator('.message').count(), 0)
})

onPage('the log shows new lines, at the level that was chosen', async page => {
  await visit(page, '#log?level=error')
  await page.getByRole('heading', { name: 'Log' }).waitFor()
  await page.getByLabel('Level and above').selectOption('info')
  await until('lines', () => page.locator('.follow .line').count())
  const file = relay.child.spawnargs.at(-1)
  fs.appendFileSync(file, '\n# the same\n')
  relay.child.kill('SIGHUP')
  await page.locator('.follow').getByText(/configuration re-read|re-read/).first().waitFor()
})

onPage('every control of every view can be reached and seen by keyboard', async page => {
  for (const hash of Object.keys(STATES)) for (const viewport of VIEWS) {
    await page.setViewportSize(viewport)
    await visit(page, hash)
    if (!/overview|tail|log$|why$/.test(hash)) await settled(page)
    await byKeyboard(page, `${hash}, ${viewport.width} px`)
  }
  // On a phone the other views are behind a button.
  const more = page.getByRole('button', { name: 'More' })
  await more.focus()
  await page.keyboard.press('Enter')
  await page.getByRole('link', { name: 'Sources', exact: true }).waitFor()
  await clean(page, 'the open navigation')
  await page.setViewportSize(VIEWS[1])
  await more.focus()
  await page.keyboard.press('Escape')
  assert.equal(await more.getAttribute('aria-expanded'), 'false')
  await page.setViewportSize(VIEWS[0])
})

steadyTest('axe finds nothing at the login, in its states', async () => {
  const fresh = await open(browser, relay, { token: '', bypassCSP: true })
  try {
    await clean(fresh, 'login')
    await signIn(fresh, 'wrong')
    await fresh.getByText('The admin token is wrong.').waitFor()
    await clean(fresh, 'login that was refused')
    await byKeyboard(fresh, 'login')
    await close(fresh)
  } finally {
    await fresh.context().close()
  }
})

onPage('axe finds nothing while relay is away', async page => {
  const { port } = relay, args = relay.child.spawnargs
  try {
    await relay.stop()
    await page.locator('.banner').waitFor()
    await clean(page, 'away')
    await visit(page, '#rooms')
    await page.locator('.problem').first().waitFor()
    await clean(page, 'away, rooms')
  } finally {
    relay = await start(port, args.slice(args.indexOf('--config')))
  }
  await live(page)
})
