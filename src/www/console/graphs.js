// Graphs of the last 15 minutes: a line or two, the current value, and the peak. In words for screen readers.

import { el, say, set, svg, t } from './text.js'
import { WINDOW, live, series } from './live.js'

const WIDTH = 300, HEIGHT = 56

/** A round number that is not below `value`. */
function ceiling(value, least) {
  const top = Math.max(value, least), power = 10 ** Math.floor(Math.log10(top))
  return [1, 2, 5, 10].map(step => step * power).find(step => step >= top * 0.999)
}

/** A path through the values; gaps where there is none. */
function path(values, top) {
  let d = '', pen = false
  values.forEach((value, index) => {
    if (value === null) { pen = false; return }
    const x = (index / (values.length - 1) * WIDTH).toFixed(1), y = (HEIGHT - 1 - Math.min(1, value / top) * (HEIGHT - 4)).toFixed(1)
    d += `${pen ? 'L' : 'M'}${x} ${y}`
    pen = true
  })
  return d
}
/** The area below a path. */
function area(values, top) {
  let d = '', from = -1
  for (let i = 0; i <= values.length; i++) {
    const there = i < values.length && values[i] !== null
    if (there && from < 0) from = i
    if (!there && from >= 0) {
      const x = index => (index / (values.length - 1) * WIDTH).toFixed(1)
      d += `${path(values.slice(0, i).map((value, index) => index < from ? null : value).concat(new Array(values.length - i).fill(null)), top)}L${x(i - 1)} ${HEIGHT}L${x(from)} ${HEIGHT}Z`
      from = -1
    }
  }
  return d
}

/** A graph. `lines`: one or two of { name, counter, text } (the text names it where there are two); `scale`: what a value is
    multiplied with; `format`: a value as text; `least`: the least top of the axis. */
export function graph({ title, lines, format, scale = 1, least = 1 }) {
  const value = el('b', { class: 'now' }, '–'), peak = el('span', { class: 'dim peak' }), at = el('span', { class: 'at', hidden: true })
  const shapes = lines.map((_, index) => [svg('path', { class: `area a${index}` }), svg('path', { class: `line l${index}`, 'vector-effect': 'non-scaling-stroke' })])
  const cursor = svg('line', { class: 'cursor', y1: 0, y2: HEIGHT, 'vector-effect': 'non-scaling-stroke', x1: -9, x2: -9 })
  const picture = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': title },
    shapes.map(([below]) => below), shapes.map(([, line]) => line), cursor)
  const node = el('figure', { class: 'graph card', 'data-graph': lines[0].name },
    el('figcaption', null, el('span', { class: 'name' }, title), value),
    el('div', { class: 'picture' }, picture, at),
    el('div', { class: 'under' }, lines.length > 1 ? lines.map((line, index) => el('span', { class: `key k${index}` }, line.text)) : null, peak))
  let shownValues = []

  /** Draws what the ring has. */
  function draw() {
    shownValues = lines.map(line => series(line.name, line.counter).map(one => one === null ? null : one * scale))
    const known = shownValues.flat().filter(one => one !== null), most = Math.max(0, ...known)
    const top = ceiling(most, least)
    shapes.forEach(([below, line], index) => {
      below.setAttribute('d', area(shownValues[index], top))
      line.setAttribute('d', path(shownValues[index], top))
    })
    say(peak, t(`peak ${format(most)}`, `峰值 ${format(most)}`))
    words(most)
  }
  function words(most) {
    const first = shownValues[0].findIndex(one => one !== null)
    const minutes = first < 0 ? 0 : Math.max(1, Math.round((shownValues[0].length - first) / shownValues[0].length * WINDOW / 60))
    picture.setAttribute('aria-label', t(`${title}, the last ${minutes} minutes: now ${value.textContent}, peak ${format(most)}`,
      `${title}，最近 ${minutes} 分钟：当前 ${value.textContent}，峰值 ${format(most)}`))
  }
  /** Sets the current value: one for each line. */
  function now(...values) {
    say(value, values.map(format).join(' · '))
  }

  // The value under the pointer.
  picture.addEventListener('pointermove', event => {
    const values = shownValues[0]
    if (!values?.length) return
    const box = picture.getBoundingClientRect(), part = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width))
    const index = Math.round(part * (values.length - 1)), ago = Math.round((values.length - 1 - index) * WINDOW / values.length)
    const what = shownValues.map(line => line[index]).map(one => one === null ? '–' : format(one)).join(' · ')
    cursor.setAttribute('x1', part * WIDTH)
    cursor.setAttribute('x2', part * WIDTH)
    at.hidden = false
    at.className = part > 0.5 ? 'at left' : 'at'
    say(at, `${new Date(Date.now() - (ago + (live.hello?.ahead || 0)) * 1000).toTimeString().slice(0, 8)}  ${what}`)
  })
  picture.addEventListener('pointerleave', () => {
    at.hidden = true
    cursor.setAttribute('x1', -9)
    cursor.setAttribute('x2', -9)
  })
  return { node, draw, now }
}

/** A bar that is filled in part. */
export function bar(title) {
  const fill = svg('rect', { class: 'fill', x: 0, y: 0, height: 10, width: 0 }), text = el('span', { class: 'num' })
  const picture = svg('svg', { class: 'bar-picture', viewBox: '0 0 100 10', preserveAspectRatio: 'none', role: 'img', 'aria-label': title }, fill)
  return {
    node: el('div', { class: 'meter' }, picture, text),
    show(part, words) {
      fill.setAttribute('width', Math.max(0, Math.min(100, part * 100)))
      fill.setAttribute('class', part > 0.9 ? 'fill bad' : part > 0.75 ? 'fill wait' : 'fill')
      picture.setAttribute('aria-label', `${title}: ${words}`)
      say(text, words)
    }
  }
}

/** Rows of a name and a number, the largest first. `rows`: [name, text, number]. */
export function ranking(list, rows, none) {
  if (!rows.length) return set(list, el('p', { class: 'dim' }, none))
  return set(list, el('dl', { class: 'ranking' }, rows.map(([name, text]) => el('div', null, el('dt', null, name), el('dd', { class: 'num' }, text)))))
}
