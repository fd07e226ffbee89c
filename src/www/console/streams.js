// What streams by: the messages of a room, and the log.

import { buttons } from './actions.js'
import { get } from './api.js'
import { live } from './live.js'
import { field, linked, nowhere, result, select, sessionLink, sourceField, sourceOf, text } from './parts.js'
import { bytes, clock, count, el, link, plain, put, say, set, shown, some, t } from './text.js'

/** Rows that are kept. */
const MOST = 500

/** A list that follows its end, unless it was scrolled up; with pause, clear and a filter. */
function follower(view, label, row, empty, search = '') {
  const list = el('ol', { class: 'follow', tabindex: '0', 'aria-label': label, 'data-empty': empty })
  const filter = text(search, { enterkeyhint: 'search' }), status = el('span', { class: 'dim', role: 'status' })
  const pause = el('button', { type: 'button', class: 'small', 'aria-pressed': 'false', onclick: () => hold(!paused) }, t('Pause', '暂停'))
  const clear = el('button', { type: 'button', class: 'small', onclick: () => { rows = []; waiting = []; omitted = 0; show() } }, t('Clear', '清空'))
  let rows = [], waiting = [], paused = false, omitted = 0, frame = 0
  const matches = one => !filter.value || one.search.includes(filter.value.toLowerCase())

  function hold(on) {
    paused = on
    pause.setAttribute('aria-pressed', String(on))
    set(pause, on ? t('Go on', '继续') : t('Pause', '暂停'))
    if (!on) {
      for (const one of waiting) keep(one)
      waiting = []
      show()
    }
    words()
  }
  function keep(one) {
    rows.push(one)
    if (rows.length > MOST) rows.shift()
  }
  function words() {
    say(status, [t(`${count(rows.length)} shown`, `显示 ${count(rows.length)} 条`), waiting.length ? t(`${waiting.length >= MOST ? `${MOST} or more` : count(waiting.length)} ${waiting.length === 1 ? 'waits' : 'wait'}`, `${waiting.length >= MOST ? `${MOST}+` : count(waiting.length)} 条等待`) : '',
      omitted ? t(`${count(omitted)} left out: too many at once`, `略过 ${count(omitted)} 条：一次太多`) : ''].filter(Boolean).join(' · '))
  }
  /** Draws all rows again. */
  function show() {
    set(list, rows.filter(matches).map(one => one.node ||= row(one.value)))
    list.scrollTop = list.scrollHeight
    words()
  }
  /** Adds what has come since the last frame. */
  let fresh = []
  function draw() {
    frame = 0
    const follow = list.scrollHeight - list.scrollTop - list.clientHeight < 60
    for (const one of fresh) if (matches(one)) list.append(one.node ||= row(one.value))
    fresh = []
    while (list.childNodes.length > MOST) list.firstChild.remove()
    if (follow) list.scrollTop = list.scrollHeight
    words()
  }
  filter.addEventListener('input', show)
  return {
    controls: [field(t('Filter', '筛选'), filter, 'grow'), pause, clear], status, list,
    add(value, search) {
      const one = { value, search: search.toLowerCase(), node: null }
      if (paused) {
        waiting.push(one)
        if (waiting.length > MOST) waiting.shift()
        return words()
      }
      keep(one)
      fresh.push(one)
      if (fresh.length > MOST) fresh.shift()
      // A hidden tab has no frames.
      if (document.hidden) draw()
      else frame ||= requestAnimationFrame(draw)
    },
    omit(number) { omitted += number; words() }
  }
}
/** A button that opens a row of a list, and closes it. */
function opener(words, node, make) {
  const button = el('button', { type: 'button', class: 'small fold', 'aria-expanded': 'false', onclick: () => {
    const open = button.getAttribute('aria-expanded') === 'true'
    button.setAttribute('aria-expanded', String(!open))
    if (open) node.querySelector('.opened')?.remove()
    else node.append(el('div', { class: 'opened' }, make()))
  } }, words)
  return button
}
/** JSON with line breaks, or the text as it is. */
function pretty(data) {
  // Not through JSON.parse: it would change digits, and the order of names.
  let out = '', depth = 0, inside = false
  try { JSON.parse(data) } catch { return data }
  for (let i = 0; i < data.length && out.length < 40000; i++) {
    const c = data[i]
    if (inside) {
      out += c
      if (c === '\\') out += data[++i] ?? ''
      else if (c === '"') inside = false
    } else if (c === '"') { inside = true; out += c } else if (/\s/.test(c)) continue
    else if ('{['.includes(c)) {
      const close = /^\s*[\]}]/.exec(data.slice(i + 1))
      if (close) { out += c + close[0].trim(); i += close[0].length } else out += c + '\n' + '  '.repeat(++depth)
    } else if ('}]'.includes(c)) out += '\n' + '  '.repeat(depth = Math.max(0, depth - 1)) + c
    else if (c === ',') out += ',\n' + '  '.repeat(depth)
    else if (c === ':') out += ': '
    else out += c
  }
  return out
}

export const tail = {
  title: () => t('Tail of a room', '房间实时消息'),
  wants: params => params.room_id ? { source: sourceOf(params), room_id: params.room_id } : {},
  mount(view) {
    const { params } = view, source = sourceOf(params), choice = sourceField(source), room = text(params.room_id, { required: true })
    put(view.root, [
      el('h1', { tabindex: '-1' }, params.room_id ? [t('Room ', '房间 '), shown(params.room_id, 60)] : this.title()),
      el('form', { class: 'search card', 'aria-label': t('Choose a room', '选择房间'), onsubmit: event => { event.preventDefault(); view.go('tail', { source: choice.value(), room_id: room.value }) } },
        choice.node, field(t('Room', '房间'), room, 'grow'), el('button', { type: 'submit', class: 'main' }, t('Follow', '查看')), link('rooms', { source }, t('All rooms', '全部房间')))
    ])
    if (!params.room_id) {
      put(view.root, [el('p', { class: 'card dim' }, t('Enter the name of a room, or choose one from the rooms. Its messages are shown as they are published.', '请填写房间名，或从房间列表中选择。消息发布时会实时显示。'))])
      return
    }
    const members = el('span', { class: 'dim' })
    const what = follower(view, t('Messages of the room', '房间的消息'), line => {
      const { id, from, data, base64, bytes: size, sessions, kept, socket_id } = line, whole = base64 === undefined ? String(data ?? '') : `base64 ${base64}`
      const item = el('li', { class: 'message' })
      const by = from === 'client' ? [t('client ', '客户端 '), socket_id ? sessionLink(view, source, socket_id) : ''] : t('backend', '后台')
      put(item, [
        el('div', { class: 'head' }, el('time', { class: 'mono' }, clock(line.time)), el('span', null, by), el('span', { class: 'dim' }, t(`to ${count(sessions)} ${sessions === 1 ? 'session' : 'sessions'}`, `给 ${count(sessions)} 个会话`), kept ? t(', kept', '，已保存') : ''),
          el('span', { class: 'dim' }, bytes(size)), el('code', { class: 'dim' }, shown(id ?? '', 30)), link('why', { source, room_id: params.room_id, id: String(id ?? '') }, t('Why?', '查原因')),
          opener(t('Whole', '全文'), item, () => el('pre', { tabindex: '0' }, shown(pretty(whole), 1e9), size > whole.length + 1000 ? el('span', { class: 'dim' }, '\n' + t('(relay has cut it)', '（已被 relay 截断）')) : null))),
        el('div', { class: 'data' }, shown(whole, 300))
      ])
      return item
    }, t('No message yet. New ones appear here as they are published.', '还没有消息。新消息发布时会显示在这里。'))
    put(view.root, [
      el('div', { class: 'row' }, link('sessions', { source, room_id: params.room_id }, t('Members', '成员')), members, link('why', { source, room_id: params.room_id }, t('What was published', '发布记录'))),
      buttons({ source, room_id: params.room_id }, { publishes: true }),
      el('div', { class: 'row tools' }, what.controls), what.status, what.list
    ])
    view.get('api/rooms', { source, search: params.room_id, limit: 10000 }).then(({ list }) => {
      const number = list.find(one => one.room_id === params.room_id)?.members || 0
      say(members, t(`${count(number)} now`, `当前 ${count(number)} 个`))
    }, () => {})
    view.on('message', line => { if (line.room_id === params.room_id && line.source === source) what.add(line, [line.id, line.data, line.socket_id].join(' ')) })
    view.on('omitted', line => what.omit(Number(line.messages) || 0))
  }
}

const LEVELS = ['error', 'warn', 'info', 'debug']
const FILES = { messages: ['api/log/messages'], client: ['api/log/client'], sys: ['api/log/sys'], error: ['api/log/error'] }
export const log = {
  title: () => t('Log', '日志'),
  wants: params => params.file ? {} : { log: LEVELS.includes(params.level) ? params.level : 'info' },
  mount(view) {
    const { params } = view, level = LEVELS.includes(params.level) ? params.level : 'info'
    const names = { messages: t('messages', '消息'), client: t('logins and ends', '登录与断开'), sys: t('relay itself', 'relay 自身'), error: t('refusals', '拒绝') }
    const which = select([['', t('live log', '实时日志')], ...Object.keys(FILES).map(key => [key, t('file: ', '文件：') + names[key]])], params.file || '',
      { onchange: () => view.go('log', { file: which.value, level: params.level, source: params.source }) })
    put(view.root, [el('h1', { tabindex: '-1' }, this.title())])
    if (Object.hasOwn(FILES, params.file || '')) return file(view, params.file, which)
    const box = select(LEVELS.map(name => [name, name]), level, { onchange: () => view.go('log', { level: box.value, search: params.search }) })
    const seen = new Set()
    const what = follower(view, t('Lines of the log', '日志行'), line => el('li', { class: 'line ' + (LEVELS.includes(String(line.level).toLowerCase()) ? String(line.level).toLowerCase() : 'info') },
      el('time', { class: 'mono dim' }, clock(line.time)), el('span', { class: 'level' }, plain(line.level, 8)), el('span', { class: 'mono' }, shown(line.text, 600))),
    t('No line yet. New ones appear here as relay writes them.', '还没有日志。relay 写日志时会显示在这里。'), params.search)
    put(view.root, [
      el('div', { class: 'row tools' }, field(t('Which', '来源'), which), field(t('Level and above', '级别及以上'), box), what.controls),
      el('p', { class: 'dim' }, live.hello?.log_level ? t(`relay writes its log from the level ${plain(live.hello.log_level, 10)} on (log_level).`, `relay 的日志级别为 ${plain(live.hello.log_level, 10)}（log_level）。`) : ''),
      what.status, what.list
    ])
    view.on('log', line => {
      // Each stream begins with recent lines: they have been shown.
      const key = `${line.time} ${line.level} ${line.text}`
      if (seen.has(key)) return
      seen.add(key)
      if (seen.size > 1000) seen.delete(seen.values().next().value)
      what.add(line, `${line.level} ${line.target} ${line.text}`)
    })
    view.on('omitted', line => what.omit(Number(line.lines) || 0))
  }
}
/** The end of a file of the message log. */
function file(view, name, which) {
  const { params } = view, source = sourceOf(params), choice = sourceField(source)
  const date = el('input', { type: 'date', value: /^\d{4}-\d\d-\d\d$/.test(params.date || '') ? params.date : '' }), filter = text(params.search)
  const go = () => view.go('log', { file: name, source: choice.value(), date: date.value, search: filter.value })
  const found = result(view, async () => {
    const answer = await get(FILES[name][0], { source: name === 'messages' ? source : undefined, date: params.date, bytes: 131072 }, view.signal)
    const lines = (answer.lines || []).map(line => ({ line, words: JSON.stringify(line) })).filter(({ words }) => !params.search || words.toLowerCase().includes(params.search.toLowerCase())).slice(-200).reverse()
    return [
      el('p', { class: 'dim' }, shown(answer.file ?? '', 100), ': ', t(`${some(lines.length, 'line')}, the newest first`, `${count(lines.length)} 行，最新在前`), answer.omitted ? t(`, ${bytes(answer.omitted)} before them`, `，之前还有 ${bytes(answer.omitted)}`) : ''),
      lines.length ? el('ol', { class: 'follow file', tabindex: '0', 'aria-label': t('Lines of the file', '文件的行') }, lines.map(({ line, words }) => {
        const item = el('li', { class: 'line' })
        const rest = name === 'messages' ? [el('code', null, shown(line.id ?? '', 30)), ' ', shown(line.room_id ?? '', 40), ' ', shown(typeof line.data === 'string' ? line.data : JSON.stringify(line.data ?? ''), 200), ' ', line.id ? link('why', { source, id: String(line.id), room_id: String(line.room_id ?? '').split(',')[0] }, t('Why?', '查原因')) : ''] : linked(view, source, words)
        put(item, [el('time', { class: 'mono dim' }, plain(line.time ?? '', 40).slice(11, 19)), el('span', { class: 'mono' }, rest)])
        return item
      })) : el('p', { class: 'card dim' }, t('No line matches.', '没有符合条件的行。'), name === 'messages' ? nowhere(source, 'log', params) : '')
    ]
  })
  put(view.root, [
    el('form', { class: 'row tools', onsubmit: event => { event.preventDefault(); go() } }, field(t('Which', '来源'), which), name === 'messages' ? choice.node : null, field(t('Day', '日期'), date), field(t('Filter', '筛选'), filter, 'grow'), el('button', { type: 'submit', class: 'main' }, t('Show', '显示'))),
    found.node
  ])
  found.run()
}
