'use strict'
// Makes the picture in README, docs/chat.png: two people and a backend in the chat demo.
//
//   cargo build --release && cd tests/clients && npm ci && node screenshot.js
//
// It needs a font with Chinese characters (Debian: fonts-wqy-microhei).
const path = require('node:path')
const { chromium } = require('playwright-core')
const { start, until } = require('./relay')

const FILE = path.join(__dirname, '../../docs/chat.png')

async function main() {
  const relay = await start()
  const executablePath = process.env.CHROMIUM || '/usr/bin/chromium'
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
  const context = await browser.newContext({ locale: 'en-US', colorScheme: 'light', viewport: { width: 900, height: 700 }, deviceScaleFactor: 1.25 })
  // The pages show the time of a message. Without this, each run would make another picture.
  const open = async name => {
    const page = await context.newPage()
    await page.clock.setFixedTime(new Date('2026-11-28T09:41:00'))
    await page.goto(`${relay.url}/demo/chat.html?name=${name}`)
    await page.locator('.state.on').waitFor()
    return page
  }
  const ada = await open('Ada')
  const li = await open('Li')
  const seen = text => until(text, () => ada.getByText(text, { exact: true }).count())
  const say = async (page, text) => {
    await page.locator('#text').fill(text)
    await page.locator('#text').press('Enter')
    await seen(text)
  }
  await seen('Li joined')
  await say(li, 'Did the new build go out?')
  await say(ada, 'Ten minutes ago. The backend tells us when it is live.')
  await relay.notify('chat_room', 'Version 0.1.0 is live on all machines.')
  await seen('Version 0.1.0 is live on all machines.')
  await say(li, '太好了！')
  await until('the ticks', async () => /✓/.test(await ada.locator('.me small').last().textContent()))
  await ada.locator('h1').click()
  await ada.screenshot({ path: FILE })
  await browser.close()
  await relay.stop()
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
