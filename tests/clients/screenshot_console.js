'use strict'
// Makes the picture of the console in docs/operations.md, docs/console.png. It takes 15 minutes, which is what the graphs show.
//
//   cargo build --release && cd tests/clients && npm ci && node screenshot_console.js
//
// SECONDS=60 is enough to see what it will look like.
const path = require('node:path')
const io2 = require('socket.io-client-2.5')
const { io: io4 } = require('socket.io-client-4.8')
const { login } = require('./relay')
const { launch, member, open, relayWith } = require('./console_page')

const FILE = path.join(__dirname, '../../docs/console.png')
const END = Date.now() + 1000 * (process.env.SECONDS || 900)
const CLIENTS = 240

const pause = time => new Promise(resolve => setTimeout(resolve, time))

/** A client, of a protocol that its number chooses. */
async function client(relay, number) {
  const more = { userid: String(1300 + number), username: `user ${number}` }, rooms = `news,orders-${number % 12}`
  if (number % 3 === 0) return member(relay, rooms, more, { Referer: 'https://shop.example.org/board' })
  const [io, page] = number % 3 === 1 ? [io2, 'http://old.example.org/list.aspx'] : [io4, 'https://shop.example.org/cart']
  const socket = io(`${relay.url}/?${login(rooms, more)}`, { transports: ['websocket'], extraHeaders: { Referer: page }, forceNew: true, reconnection: false })
  await new Promise((resolve, reject) => { socket.on('connect', resolve); socket.on('connect_error', reject) })
  return { terminate: () => socket.io.engine.close() }
}

async function main() {
  const relay = await relayWith('[history]\ncount = 20\n'), browser = await launch(), clients = []
  for (let number = 0; number < CLIENTS; number++) clients.push(await client(relay, number))
  const loaded = load(relay, clients)
  await pause(END - Date.now())
  const page = await open(browser, relay, { viewport: { width: 1280, height: 900 }, colorScheme: 'light' })
  await page.locator('.place .ranking').first().waitFor()
  await pause(5000)
  await page.screenshot({ path: FILE })
  await loaded
  for (const one of clients) one.terminate()
  await browser.close()
  await relay.stop()
  process.exit()
}

/** Clients come and go, and messages come in waves, until the picture is made. */
async function load(relay, clients) {
  let number = CLIENTS
  while (Date.now() < END + 8000) {
    const wave = 1.2 + Math.sin(Date.now() / 60000) + Math.sin(Date.now() / 17000) / 3
    for (let i = 0; i < Math.max(1, Math.round(wave * 3)); i++) {
      await relay.notify(Math.random() < 0.15 ? 'news' : `orders-${Math.floor(Math.random() ** 2 * 12)}`, `order ${i}`)
      await pause(1000 / (wave * 8 + 2))
    }
    if (Math.random() < 0.25) {
      clients.splice(Math.floor(Math.random() * clients.length), 1)[0].terminate()
      clients.push(await client(relay, number++))
    }
  }
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
