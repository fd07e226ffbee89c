// What several views are made of: tables, forms, links to a session, a user or a room.

import { Refused } from './api.js'
import { reason } from './actions.js'
import { clustered, live } from './live.js'
import { bytes, clock, el, link, plain, set, shown, t } from './text.js'

/** Rows that a table shows at a time. */
export const PAGE = 50

/** A table that becomes a list of cards on a phone. `columns`: { name, cell(row), num?, wide?, acts? }; `acts`: its
    cells have buttons, and are as wide as these. Its parts have roles, because browsers forget what they are when a style sheet
    shows them as blocks. */
export function table(label, columns, rows) {
  const head = columns.map(({ name, num }) => el('th', { scope: 'col', role: 'columnheader', class: num ? 'num' : null }, name))
  const body = rows.map(row => el('tr', { role: 'row' }, columns.map(({ name, cell, num, wide, acts }) => {
    const inner = el('div', { class: acts ? 'cell acts' : 'cell' }, cell(row))
    return el('td', { role: 'cell', class: [num && 'num', wide && 'wide'].filter(Boolean).join(' ') || null, 'data-label': name || null }, inner)
  })))
  return el('div', { class: 'scroll' },
    el('table', { role: 'table', 'aria-label': label }, el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' }, head)), el('tbody', { role: 'rowgroup' }, body)))
}

export function field(label, control, kind = '') {
  return el('label', { class: 'field ' + kind }, el('span', null, label), control)
}
export function text(value, attributes = {}) {
  return el('input', { type: 'text', value: value || '', autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', ...attributes })
}
export function select(options, value, attributes = {}) {
  const box = el('select', attributes, options.map(([key, name]) => el('option', { value: key }, name)))
  box.value = value
  if (box.selectedIndex < 0) box.selectedIndex = 0
  return box
}
/** The sources that relay has, the one with the most sessions first. `last`: the one that was asked for last. */
export const sources = { names: [] }
/** Keeps the sources of an answer of `/api/stats`. */
export function ordered(found) {
  const sessions = name => Number(found[name]?.sessions) || 0
  return Object.keys(found || {}).sort((a, b) => sessions(b) - sessions(a))
}
/** How many sources a question about all sources asks: those with the most sessions. */
export const MOST_SOURCES = 8
/** The sources that a view of all sources asks, if `source` is empty. */
export const asked = source => source ? [source] : sources.names.slice(0, MOST_SOURCES)
/** The source of a view that can show all: empty for all. */
export const anyOf = params => params.source || (sources.names.length > 1 ? '' : sources.names[0] || '')
/** Where there was no answer, and where there may be one: `view` with the parameters and another source. Nothing if there is only one source. */
export function nowhere(source, view, params) {
  if (sources.names.length < 2) return ''
  if (!source) {
    return sources.names.length > MOST_SOURCES
      ? t(` (Looked in the ${MOST_SOURCES} sources with the most sessions, of ${sources.names.length}.)`, `（仅查了会话最多的 ${MOST_SOURCES} 个源，共 ${sources.names.length} 个。）`)
      : t(` (Looked in all ${sources.names.length} sources.)`, `（已查全部 ${sources.names.length} 个源。）`)
  }
  const others = sources.names.filter(name => name !== source).slice(0, 3)
  return [t(' (In the source ', '（在源 '), el('b', null, shown(source, 64)), t('; try ', ' 中；可试 '),
    others.map((name, index) => [index ? ', ' : '', link(view, { ...params, source: name }, plain(name, 64))]), t('.)', '。）')]
}
export function sourceOf(params) {
  if (params.source) return params.source
  if (sources.last && sources.names.includes(sources.last)) return sources.last
  return sources.names[0] || ''
}
/** The choice of a source; `all`: or of all. Null if there is only one. */
export function sourceField(current, all = false) {
  if (sources.names.length < 2 && sources.names[0] === current) return { node: null, value: () => current }
  const names = sources.names.includes(current) || !current ? sources.names : [current, ...sources.names]
  const box = select([...all ? [['', t('all sources', '全部源')]] : [], ...names.map(name => [name, plain(name, 64)])], current)
  return { node: field(t('Source', '源'), box), value: () => box.value }
}
/** A form of one row that calls `go` when it is submitted. */
export function searchForm(label, fields, button, go) {
  return el('form', { class: 'search card', role: 'search', 'aria-label': label, onsubmit: event => { event.preventDefault(); go() } },
    fields, el('button', { type: 'submit', class: 'main' }, button))
}

/** A place for a result: says that it is loading, what went wrong, when it was read, and how to read it again. */
export function result(view, load) {
  const status = el('span', { role: 'status', class: 'dim' }), body = el('div', { class: 'result' })
  const again = el('button', { type: 'button', class: 'small', onclick: () => run() }, t('Refresh', '刷新'))
  let turn = 0
  async function run(quiet) {
    const mine = ++turn
    if (!quiet) set(status, t('Loading…', '加载中…'))
    body.setAttribute('aria-busy', 'true')
    try {
      const nodes = await load(words => { if (mine === turn) set(status, words) })
      if (mine !== turn || view.signal.aborted) return
      const focused = document.activeElement, words = body.contains(focused) ? focused.textContent : null
      set(body, nodes)
      // The reader stays at the control, if there is one like it.
      if (words !== null && document.activeElement === document.body) ([...body.querySelectorAll('button, a')].find(one => one.textContent === words) || document.querySelector('main h1'))?.focus({ preventScroll: true })
      set(status, t('As of ', '截至 '), clock(Date.now() / 1000))
    } catch (error) {
      if (error.name === 'AbortError' || mine !== turn || view.signal.aborted) return
      set(status, '')
      if (error instanceof Refused && error.status === 401) return
      set(body, el('p', { role: 'alert', class: 'problem' }, reason(error)))
      if (!(error instanceof Refused)) throw error
    } finally {
      if (mine === turn) body.setAttribute('aria-busy', 'false')
    }
  }
  // An action has changed what is shown; what is known of other relays is up to two seconds old.
  document.addEventListener('acted', () => {
    run(true)
    if (clustered()) setTimeout(() => { if (!view.signal.aborted) run(true) }, 3000)
  }, { signal: view.signal })
  return { node: [el('div', { class: 'row bar-result' }, status, again), body], run, body }
}
/** Says that an answer lacks what other relays have, if it does: `complete` of docs/protocol.md, Lists. */
export const partial = ({ complete }) => complete === false && el('p', { role: 'status', class: 'problem' },
  t('Not complete: what the other relays have could not be read from Redis.', '不完整：无法从 Redis 读取其他节点的数据。'))
/** Buttons below a page of a table: `next` and `first` are functions, or null. */
export function pager(words, first, next) {
  return el('div', { class: 'row pager' }, el('span', { class: 'dim' }, words),
    first && el('button', { type: 'button', class: 'small', onclick: first }, t('First page', '第一页')),
    next && el('button', { type: 'button', class: 'small', onclick: next }, t(`Next ${PAGE}`, `后 ${PAGE} 条`)))
}

/** A button that opens the page of a session. The page puts the id into the address unless it is that of an old Socket.IO client,
    which has its `sid`. */
export function sessionLink(view, source, socket_id, whole) {
  const id = String(socket_id), words = whole ? plain(id, 80) : id.length > 12 ? '…' + plain(id.slice(-9)) : plain(id)
  return el('button', {
    type: 'button', class: 'link mono', title: plain(id, 80), 'aria-label': t(`Session ${words}`, `会话 ${words}`), onclick: () => view.go('session', { source }, { socket_id: id })
  }, words)
}
export const userLink = (source, userid, length = 40) => userid === '' || userid === undefined
  ? el('span', { class: 'dim' }, t('no userid', '无 userid'))
  // relay cuts long texts in lists: this is not the whole id.
  : String(userid).length > 90 && String(userid).endsWith('…') ? el('span', { class: 'name' }, shown(userid, length))
  : el('span', { class: 'name' }, link('why', { source, userid: String(userid) }, shownIn(userid, length)))
export const roomLink = (source, room_id, length = 40) => link('tail', { source, room_id: String(room_id) }, shownIn(room_id, length))
// Within a link there is no button to show the rest.
function shownIn(value, length) {
  const textOf = String(value)
  return textOf.length <= length ? shown(textOf, length) : el('bdi', { class: 't', title: plain(textOf, 300) }, plain(textOf, length))
}

/** A browser in short, as far as it says. */
export function browser(agent) {
  const ua = String(agent || '')
  const found = /\b(Edg|OPR|Firefox|MicroMessenger|Electron)\w*\/(\d+)/.exec(ua) || /\b(Chrome|CriOS|FxiOS)\/(\d+)/.exec(ua) || /\b(Version)\/(\d+)[^ ]* (?:Mobile\/\S+ )?Safari/.exec(ua)
  if (!found) return ''
  const name = { Edg: 'Edge', OPR: 'Opera', MicroMessenger: 'WeChat', Version: 'Safari', CriOS: 'Chrome', FxiOS: 'Firefox' }[found[1]] || found[1]
  const system = /(Android|iPhone|iPad|Windows|Mac OS X|CrOS|Linux)/.exec(ua)
  return `${name} ${found[2]}${system ? ', ' + system[1].replace('Mac OS X', 'macOS') : ''}`
}
/** What a protocol is to people. */
export function generation(protocol, library) {
  const names = {
    'engine.io 3': 'Socket.IO 1.x / 2.x', 'engine.io 4': 'Socket.IO 3.x / 4.x', websocket: 'WebSocket', 'websocket text': t('WebSocket (text)', 'WebSocket（文本）'),
    sse: 'EventSource (SSE)', 'sse text': t('SSE (text)', 'SSE（文本）'), lines: t('HTTP stream (lines)', 'HTTP 流（逐行）')
  }
  return Object.hasOwn(names, protocol) ? names[protocol] : plain(library || protocol || '?', 40)
}
/** So many unsent bytes are a slow client. Fewer may be on their way just now. */
export const SLOW = 64 << 10
/** How a session is, with more than colour. `unsent`: bytes that wait for it; `node`: the relay that has it. */
export function sessionState(state, unsent = 0, node = '') {
  const wait = unsent > SLOW ? t(`${bytes(unsent)} wait for it`, `${bytes(unsent)} 待发送`) : ''
  if (state === 'behind') return el('span', { class: 'badge wait' }, t('behind', '积压'), wait && t(': ', '：') + wait)
  if (wait && state !== 'ending') return el('span', { class: 'badge wait' }, t('slow: ', '慢：') + wait)
  if (state === 'elsewhere') return el('span', { class: 'badge' }, t('at another relay', '在其他节点'), node && [t(': ', '：'), plain(node, 20)])
  if (state === 'ending') return el('span', { class: 'badge bad' }, t('ending', '正在结束'))
  return el('span', { class: 'badge ok' }, t('live', '正常'))
}
/** Seconds since a time of relay's clock. */
export const age = since => Date.now() / 1000 - (live.hello?.ahead || 0) - since

/** A text of events, in either language, in which ids of sessions are links. */
export function linked(view, source, words) {
  const parts = [], found = String(words)
  let from = 0
  for (const match of found.matchAll(/(?:\bsession|会话) ([A-Za-z0-9_-]{16,64})/g)) {
    const at = match.index + match[0].length - match[1].length
    parts.push(shown(found.slice(from, at), 400), sessionLink(view, source, match[1], true))
    from = match.index + match[0].length
  }
  if (from < found.length) parts.push(shown(found.slice(from), 400))
  return parts
}
/** What follows from the records, and what can be done about it (docs/protocol.md, GET /api/why). `none`: if nothing follows. */
export function answer(view, source, { verdicts = [], advice = [] }, none = '') {
  if (!verdicts.length && !advice.length && !none) return null
  return el('section', { class: 'card verdicts' }, el('h2', null, t('Answer', '结论')),
    verdicts.length ? el('ul', null, verdicts.map(verdict => el('li', null, linked(view, source, verdict)))) : none && el('p', null, none),
    advice.length ? [el('h3', null, t('What can be done', '可以怎么做')), el('ul', { class: 'advice' }, advice.map(one => el('li', null, el('span', { 'aria-hidden': 'true' }, '→ '), linked(view, source, one))))] : null)
}
/** Lines of what has happened: { time, text, id }, the oldest first; shown the other way round. The id of a message leads to what became of it for whom `asks` names. */
export function history(view, source, lines, none, asks = {}) {
  if (!lines?.length) return el('p', { class: 'dim' }, none)
  const label = t('What has happened, the newest first', '发生的事，最新在前')
  return [lines.length > 1 ? el('p', { class: 'dim' }, t('The newest first.', '最新在前。')) : null, el('div', { class: 'history', role: 'region', tabindex: '0', 'aria-label': label }, el('ol', null, [...lines].reverse().map(line => el('li', null,
    el('time', { class: 'mono dim' }, plain(line.time, 40).replace(/^(\d{4}-\d\d-\d\d)T?/, '$1 ').replace(/(\.\d{3})\d*/, '$1').replace(/[+-]\d\d:\d\d$/, '')), el('span', null, linked(view, source, line.text), line.id ? [' ', link('why', { ...asks, source, id: line.id }, el('code', null, shown(line.id, 30)))] : '')))))]
}
