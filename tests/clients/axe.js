'use strict'
// What is checked on every page: axe-core light and dark, wide and on a phone; and whether a keyboard is enough.
const assert = require('node:assert/strict')
const axe = require('axe-core')

const VIEWS = [{ width: 1280, height: 900 }, { width: 360, height: 740 }]

/** What axe finds on a page, light and dark, wide and on a phone, each with the elements it is about. */
async function findings(page, where, impacts) {
  const found = []
  await page.evaluate(axe.source)
  // What is scrolled out of sight is checked too.
  await page.addStyleTag({ content: '#chat, #box, .pane, .list, .follow, .history { height: auto !important; overflow: visible !important; max-height: none !important }' })
  for (const colorScheme of ['light', 'dark']) for (const view of VIEWS) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    await page.setViewportSize(view)
    const { violations } = await page.evaluate(() => window.axe.run())
    for (const { id, impact, nodes } of violations) {
      if (impacts && !impacts.includes(impact)) continue
      const what = nodes.slice(0, 3).map(({ html, any, all }) => `${html.slice(0, 120)} ${((any[0] || all[0] || {}).message || '').slice(0, 160)}`)
      found.push(`${where}, ${colorScheme}, ${view.width} px: ${impact} ${id} (${nodes.length})\n    ${what.join('\n    ')}`)
    }
  }
  return found
}
async function clean(page, where, impacts) {
  const found = await findings(page, where, impacts)
  assert.equal(found.length, 0, '\n' + found.join('\n'))
}

/** Reaches every control of a page by the key Tab, and sees where the focus is. */
async function byKeyboard(page, where) {
  const all = await page.evaluate(() => {
    const found = [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]')]
    const shown = found.filter(e => e.checkVisibility({ visibilityProperty: true }) && !e.disabled)
    shown.forEach((e, i) => e.setAttribute('data-order', i))
    document.activeElement.blur()
    return shown.length
  })
  const seen = new Set()
  for (let i = 0; i < all + 40 && seen.size < all; i++) {
    await page.keyboard.press('Tab')
    const focus = await page.evaluate(() => {
      const e = document.activeElement, style = getComputedStyle(e)
      return { order: e.getAttribute('data-order'), outline: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0, html: e.outerHTML.slice(0, 100) }
    })
    if (focus.order === null) continue
    assert.ok(focus.outline, `${where}: the focus on ${focus.html} is visible`)
    seen.add(focus.order)
  }
  const missed = await page.evaluate(seen => [...document.querySelectorAll('[data-order]')].filter(e => !seen.includes(e.getAttribute('data-order'))).map(e => e.outerHTML.slice(0, 100)), [...seen])
  assert.deepEqual(missed, [], where)
}

module.exports = { VIEWS, byKeyboard, clean }
