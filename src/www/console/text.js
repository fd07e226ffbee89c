// Languages, elements, and texts of clients, which are hostile: they are only ever inserted as text.

const CHOICE = 'relay-console lang'
const root = document.documentElement

function chosen() {
  try { return localStorage.getItem(CHOICE) } catch { return null }
}
export let lang = (chosen() || navigator.languages?.[0] || navigator.language || '').slice(0, 2) === 'zh' ? 'zh' : 'en'

/** Sets the language of the page; `keep`: also of later visits. */
export function setLang(to, keep) {
  lang = to
  root.lang = to === 'zh' ? 'zh-CN' : 'en'
  if (keep) try { localStorage.setItem(CHOICE, to) } catch { /* no storage */ }
}
setLang(lang)

/** The text of the language in use. */
export const t = (en, zh) => lang === 'zh' ? zh : en

const SVG = 'http://www.w3.org/2000/svg'
/** Attributes that an element can get. There is none that loads, links or runs anything, but `href`, which `link` makes. */
const ATTRIBUTES = new Set(['class', 'id', 'type', 'method', 'value', 'for', 'role', 'title', 'placeholder', 'autocomplete', 'rows',
  'spellcheck', 'autocapitalize', 'inputmode', 'max', 'tabindex', 'scope', 'lang', 'enterkeyhint',
  'viewBox', 'preserveAspectRatio', 'd', 'x', 'y', 'x1', 'x2', 'y1', 'y2', 'width', 'height', 'vector-effect', 'rx'])
const PROPERTIES = new Set(['disabled', 'hidden', 'checked', 'selected', 'required', 'open'])

/** An element: `onNAME` are listeners, the rest attributes. Children are nodes or texts; null and false are left out. */
export function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children)
}
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children)
}
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value)
    else if (PROPERTIES.has(name)) element[name] = value
    else if (ATTRIBUTES.has(name) || name.startsWith('aria-') || name.startsWith('data-')) element.setAttribute(name, value)
    else throw new Error(`no attribute ${name}`)
  }
  put(element, children)
  return element
}
/** Appends nodes and texts. */
export function put(element, children) {
  for (const child of children.flat(9)) {
    if (child === undefined || child === null || child === false) continue
    element.append(child instanceof Node ? child : document.createTextNode(String(child)))
  }
}
/** Replaces what is in an element. */
export function set(element, ...children) {
  element.textContent = ''
  put(element, children)
  return element
}
/** Sets a text only if it differs: a screen reader and the layout then have nothing to do. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text
}

// Replaces lone surrogates, which an address cannot carry.
const whole = text => String(text).replace(/[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]/g, c => c.length > 1 ? c : '\ufffd')

/** The hash of a view with its parameters. Empty ones are left out. */
export function hash(view, params = {}) {
  const query = Object.entries(params).filter(([, value]) => value).map(([name, value]) => `${name}=${encodeURIComponent(whole(value))}`).join('&')
  return '#' + view + (query ? '?' + query : '')
}
/** A link to a view. */
export function link(view, params, ...children) {
  const a = el('a', null, ...children)
  a.setAttribute('href', hash(view, params))
  return a
}

// Characters that are not seen or change the direction or order of others, and halves of surrogate pairs.
const ODD = /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb]|[\u{e0000}-\u{e0fff}]|\p{Cs}/gu
const JOINER = '\u200d'

/** How an odd character is shown. */
function visible(c) {
  const code = c.codePointAt(0)
  if (code < 32) return String.fromCharCode(0x2400 + code)
  return code === 127 ? '\u2421' : 'U+' + code.toString(16).toUpperCase().padStart(4, '0')
}
/** Whether a zero width joiner joins two emoji. */
function joins(text, at) {
  const before = text.slice(Math.max(0, at - (/[\udc00-\udfff]/.test(text[at - 1] || '') ? 2 : 1)), at)
  return /^[\p{Extended_Pictographic}\p{EMod}\ufe0f]/u.test(before) && /^\p{Extended_Pictographic}/u.test(text.slice(at + 1, at + 3))
}
/** Splits a text into what is shown as it is, and marks for odd characters. `lines`: keeps line breaks and tabs. */
function pieces(text, lines) {
  const found = []
  let from = 0
  for (const { 0: c, index } of text.matchAll(ODD)) {
    if (c === JOINER && joins(text, index)) continue
    if (lines && (c === '\n' || c === '\t')) continue
    if (index > from) found.push(text.slice(from, index))
    found.push(el('span', { class: 'odd' }, visible(c)))
    from = index + c.length
  }
  if (from < text.length) found.push(text.slice(from))
  return found
}
/** Cuts a text without splitting a character. */
function cut(text, length) {
  const last = text.charCodeAt(length - 1)
  return text.slice(0, last >= 0xd800 && last < 0xdc00 ? length - 1 : length)
}

/** A text of a client for an attribute or a sentence: one line, cut, with odd characters made visible. */
export function plain(value, length = 60) {
  const text = String(value ?? '')
  const kept = text.length > length ? cut(text, length - 1) + '…' : text
  return kept.replace(ODD, (c, at) => c === JOINER && joins(kept, at) ? c : visible(c))
}

/** A text of a client as an element: isolated, cut after `length`, with a button that shows all of it. */
export function shown(value, length = 80, what = '') {
  const text = String(value ?? '')
  if (text.length <= length) return el('bdi', { class: 't' }, pieces(text))
  const more = el('button', {
    type: 'button', class: 'more-text', title: t('Show all of it', '查看全文'), 'aria-label': t(`Show all ${text.length} characters`, `查看全部 ${text.length} 个字符`),
    onclick: event => { event.stopPropagation(); all(text, what) }
  }, '…')
  return el('span', { class: 'cut' }, el('bdi', { class: 't' }, pieces(cut(text, length))), more)
}
/** A text of a client with its line breaks, cut after `length`. */
export function block(value, length = 20000) {
  const text = String(value ?? '')
  return el('bdi', { class: 't' }, pieces(text.length > length ? cut(text, length) + '…' : text, true))
}

/** Shows a whole text in a dialog. */
function all(text, what) {
  const close = el('button', { type: 'button', onclick: () => dialog.close() }, t('Close', '关闭'))
  const dialog = el('dialog', { class: 'all', 'aria-label': what || t('The whole text', '全文'), onclose: () => dialog.remove() },
    el('p', { class: 'dim' }, t(`${count(text.length)} characters. Characters that cannot be seen are marked.`, `共 ${count(text.length)} 个字符，不可见字符已标出。`)),
    el('pre', { tabindex: '0' }, block(text, 100000)),
    el('div', { class: 'row end' }, close))
  document.body.append(dialog)
  dialog.showModal()
  close.focus()
}

// Numbers.
const FORMATS = { en: new Intl.NumberFormat('en'), zh: new Intl.NumberFormat('zh-CN') }
/** A whole number with separators. */
export const count = value => FORMATS[lang].format(Math.round(value || 0))
/** A number of things in English: `1 room`, `2 rooms`. */
export const some = (value, noun) => `${count(value)} ${noun}${Math.round(value || 0) === 1 ? '' : 's'}`
/** A rate: with one digit after the point below 10. */
export const rate = value => !(value > 0) ? '0' : value < 9.95 ? (value < 0.05 ? '<0.1' : value.toFixed(1)) : count(value)
const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
export function bytes(value) {
  let unit = 0, rest = value || 0
  while (rest >= 1024 && unit < UNITS.length - 1) rest /= 1024, unit++
  return `${unit && rest < 99.5 ? rest.toFixed(1) : count(rest)} ${UNITS[unit]}`
}
/** Microseconds. */
export function micros(value) {
  if (!(value > 0)) return '0 ms'
  if (value < 1000) return `${count(value)} µs`
  return value < 1e6 ? `${value < 9950 ? (value / 1000).toFixed(1) : count(value / 1000)} ms` : `${(value / 1e6).toFixed(1)} s`
}
export const percent = value => `${!(value > 0) ? '0' : value < 9.95 ? value.toFixed(1) : count(value)} %`
/** A time span in seconds, in two units. */
export function span(seconds) {
  const s = Math.max(0, Math.round(seconds)), d = Math.floor(s / 86400), h = Math.floor(s / 3600) % 24, m = Math.floor(s / 60) % 60
  if (d) return t(`${d} d ${h} h`, `${d} 天 ${h} 小时`)
  if (h) return t(`${h} h ${m} min`, `${h} 小时 ${m} 分`)
  if (m) return t(`${m} min ${s % 60} s`, `${m} 分 ${s % 60} 秒`)
  return t(`${s} s`, `${s} 秒`)
}
const two = number => String(number).padStart(2, '0')
/** A time of day, of Unix seconds; with the date if it is not today. */
export function clock(seconds, date = true) {
  const at = new Date(seconds * 1000), today = new Date()
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`
  if (!date || at.toDateString() === today.toDateString()) return time
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`
}
