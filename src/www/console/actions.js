// Actions on clients. Each is confirmed in a dialog that says what happens to whom; many receivers need their number typed.

import { get, post, Refused } from './api.js'
import { clustered, live, redisFails } from './live.js'
import { count, el, link, plain, put, set, shown, t } from './text.js'

/** What went wrong, for people. */
export function reason(error) {
  if (!(error instanceof Refused)) return t('The console has a defect: ', '控制台出错：') + String(error)
  if (error.status === 401) return t('The admin token has changed.', '管理令牌已变更。')
  const wait = error.wait ? t(` Try again in ${error.wait} s.`, ` 请在 ${error.wait} 秒后重试。`) : ''
  if ([502, 503, 504].includes(error.proxy)) return t(`relay is not reachable: the proxy answers ${error.proxy}.`, `无法访问 relay：代理返回 ${error.proxy}。`) + wait
  if (error.proxy === 302) return t('The proxy leads to another page, perhaps to a login of its own. Load this page again.', '代理重定向到其他页面，可能需要先在代理处登录。请重新加载本页。')
  if (error.proxy) return t(`The proxy refuses: HTTP ${error.proxy}.`, `代理拒绝：HTTP ${error.proxy}。`) + wait
  if (error.status === 0) return t('relay is not reachable.', '无法访问 relay。')
  if (error.status === 429) return t('Too many wrong admin tokens came from this address.', '此地址发送的错误令牌过多。') + wait
  return t('relay refuses: ', 'relay 拒绝：') + plain(error.message || `HTTP ${error.status}`, 300) + wait
}

/** The words for a target: a node and whether it can be many. */
export function target({ source, room_id, userid, socket_id }) {
  const name = value => el('b', null, shown(value, 60))
  if (socket_id) return { many: false, node: [t('the session ', '会话 '), name(socket_id)] }
  if (userid) return { many: false, node: [t('all sessions of the user ', '用户 '), name(userid), t(' of the source ', ' 的全部会话（源 '), name(source), t('', '）')] }
  if (room_id) return { many: true, node: [t('all members of the room ', '房间 '), name(room_id), t(' of the source ', ' 的全部成员（源 '), name(source), t('', '）')] }
  if (source) return { many: true, node: [t('all sessions of the source ', '源 '), name(source), t('', ' 的全部会话')] }
  return { many: true, node: [el('b', null, t('all sessions of all sources', '所有源的全部会话'))] }
}
/** Sessions of a user that an action counts, and reaches one by one. */
const MOST_SESSIONS = 1000
/** The sessions of a target: how many are `here`, on this relay, and how many `there`, at others. `there` is null if that is not known. */
async function reach({ source, room_id, userid, socket_id }) {
  const others = clustered()
  if (socket_id) return { here: 1, there: 0 }
  if (userid) {
    const { list, complete } = await get('api/online', { source, userid, limit: MOST_SESSIONS })
    const here = others ? list.filter(({ node }) => node === live.hello.node).length : list.length
    return { here, there: complete === false ? null : list.length - here, list }
  }
  if (room_id) {
    const { list } = await get('api/rooms', { source, search: room_id, limit: 10000 })
    return { here: list.find(room => room.room_id === room_id)?.members || 0, there: others ? null : 0 }
  }
  const stats = await get('api/stats'), of = found => Object.hasOwn(found || {}, source) ? found[source] : null
  const here = source ? of(stats.sources)?.sessions || 0 : stats.sessions, all = source ? of(stats.all?.sources) : stats.all?.sessions
  return { here, there: !others ? 0 : typeof all === 'number' ? Math.max(0, all - here) : null }
}
const sessionsOf = number => t(`${count(number)} ${number === 1 ? 'session' : 'sessions'}`, `${count(number)} 个会话`)

/** A dialog. `parts`: what is asked for; `act(sessions)` does it to what `reach` has found, and returns a text of success. `local`:
    other relays do not do it. */
function dialog({ title, button, danger, to, effect, parts = [], act, local = false }) {
  const { many, node } = target(to)
  const opener = document.activeElement
  const problem = el('p', { role: 'alert', class: 'problem', hidden: true })
  const done = el('p', { role: 'status', class: 'done', hidden: true })
  const number = el('b', { class: 'reach' }, '…'), where = el('span', null, t(' on this relay.', '。'))
  const typed = el('input', { type: 'text', inputmode: 'numeric', autocomplete: 'off', id: 'typed', disabled: true })
  const deliberate = many && el('label', { class: 'field', hidden: true }, el('span', { class: 'deliberate' }, '…'), typed)
  const go = el('button', { type: 'submit', class: danger ? 'danger' : 'main', disabled: true }, button)
  const cancel = el('button', { type: 'button', onclick: () => box.close() }, t('Cancel', '取消'))
  const fields = el('div', { class: 'fields' }, parts, deliberate)
  const form = el('form', { onsubmit: submit },
    el('h2', { id: 'dialog-title' }, title),
    el('p', null, effect, ' ', node, t('.', '。')),
    el('p', { class: 'reaches' }, t('This reaches ', '影响范围：本 relay 上 '), number, where),
    fields, problem, done, el('div', { class: 'row end' }, cancel, go))
  const box = el('dialog', { class: 'ask', 'aria-labelledby': 'dialog-title', onclose: closed }, form)
  let sessions = null, total = 0, busy = false, finished = false, type = many
  const ready = () => { go.disabled = busy || sessions === null || (type && typed.value.trim() !== String(total)) }
  typed.addEventListener('input', ready)

  function closed() {
    box.remove()
    const like = opener?.isConnected ? opener : [...document.querySelectorAll('main button')].find(one => one.textContent === opener?.textContent)
    ;(like || document.querySelector('main h1'))?.focus()
    if (finished) document.dispatchEvent(new Event('acted'))
  }
  async function submit(event) {
    event.preventDefault()
    if (go.disabled || finished) return
    busy = true
    problem.hidden = true
    ready()
    try {
      const text = await act(sessions)
      finished = true
      document.dispatchEvent(new Event('acted'))
      set(done, text)
      done.hidden = false
      fields.hidden = true
      go.hidden = true
      set(cancel, t('Close', '关闭'))
      cancel.focus()
    } catch (error) {
      set(problem, reason(error))
      problem.hidden = false
    }
    busy = false
    ready()
  }
  document.body.append(box)
  box.showModal()
  const first = box.querySelector('.fields input:not([disabled]), .fields textarea')
  ;(first || cancel).focus()
  reach(to).then(found => {
    const { here, there } = sessions = local ? { ...found, there: 0 } : found
    total = here + (there || 0)
    set(number, sessionsOf(here))
    if (there === null) set(where, t(' on this relay, and all at the other relays.', '，以及其他节点上的全部。'))
    else if (there > 0) set(where, t(' on this relay, and ', '，其他节点上 '), el('b', null, sessionsOf(there)), t(' at other relays.', '。'))
    if (there !== 0 && redisFails()) put(where, [' ', el('span', { class: 'problem' }, t('Redis is failing: the other relays get it when Redis is back, or not at all.', 'Redis 故障：其他节点在 Redis 恢复后才会收到，也可能收不到。'))])
    // One session needs no second step; but other relays may have more.
    type = many && (total > 1 || there === null)
    if (type) {
      deliberate.hidden = false
      set(deliberate.firstChild, t(`Type ${total} to confirm`, `请输入 ${total} 以确认`))
      typed.disabled = false
    }
    ready()
  }, error => {
    set(problem, reason(error))
    problem.hidden = false
  })
  return box
}
/** What was done here, to `sessions`, and at other relays, which do not report it. */
const outcome = (sessions, { there }) => t(`Done: ${sessionsOf(Number(sessions))} on this relay.`, `已完成：本 relay 上 ${sessionsOf(Number(sessions))}。`) +
  (there === 0 ? '' : t(' The command was sent to the other relays, too.', ' 命令也已发送给其他节点。'))
/** Data of a message: JSON if it is JSON, else text. */
function dataField(label) {
  const area = el('textarea', { rows: 4, id: 'data', spellcheck: 'false', oninput: tell })
  const text = el('input', { type: 'checkbox', onchange: tell }), kind = el('span', { class: 'dim', role: 'status' })
  const json = () => {
    if (text.checked) return null
    try { JSON.parse(area.value); return area.value } catch { return null }
  }
  function tell() {
    set(kind, area.value === '' ? '' : json() !== null ? t('will be sent as JSON', '将作为 JSON 发送') : t('will be sent as text', '将作为文本发送'))
  }
  return {
    node: [el('label', { class: 'field' }, el('span', null, label), area),
      el('div', { class: 'row' }, el('label', { class: 'check' }, text, t('as text, even if it is JSON', '即使是 JSON 也作为文本')), kind)],
    /** The value as JSON text, with the digits and the order that were typed. */
    json: () => json() ?? JSON.stringify(area.value),
    empty: () => area.value === ''
  }
}
/** An object as JSON text; `raw` has values that are JSON text already. */
function object(fields, raw = {}) {
  const parts = Object.entries(fields).filter(([, value]) => value).map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`)
  return `{${parts.concat(Object.entries(raw).map(([name, value]) => `${JSON.stringify(name)}:${value}`)).join(',')}}`
}

export function publish({ source, room_id }) {
  const data = dataField(t('Data of the message', '消息内容'))
  return dialog({
    title: t('Publish a message', '发布消息'), button: t('Publish', '发布'), to: { source, room_id },
    effect: t('A message (newMsg) is sent to', '将发送一条消息（newMsg）给'), parts: data.node,
    async act() {
      const receipt = await post('api/notify', object({ source, room_id, receipt: 'count' }, { data: data.json() })), sessions = receipt?.rooms?.[0]?.sessions
      return [t('Published.', '已发布。'), typeof sessions === 'number' ? t(` ${count(sessions)} ${sessions === 1 ? 'session gets' : 'sessions get'} it.`, ` ${count(sessions)} 个会话会收到。`) : '',
        receipt?.complete === false ? t(' Not all relays have answered.', ' 并非所有节点都已应答。') : '',
        receipt?.id ? [t(' Its id is ', ' 消息 id：'), el('code', null, shown(receipt.id, 40)), t('. ', '。'), link('why', { source, room_id, id: String(receipt.id) }, t('What became of it?', '查看去向'))] : '']
    }
  })
}
export function emit(to, { nsp = '/' } = {}) {
  const namespace = el('input', { type: 'text', required: true, autocomplete: 'off', spellcheck: 'false', id: 'namespace', value: nsp })
  const data = dataField(t('Argument (may be empty)', '参数（可为空）'))
  const event = el('input', { type: 'text', required: true, autocomplete: 'off', spellcheck: 'false', id: 'event' })
  return dialog({
    title: t('Emit an event', '发送事件'), button: t('Emit', '发送'), to,
    effect: t('In the namespace below, an event is sent to', '将在下面的命名空间中发送事件给'),
    parts: [el('label', { class: 'field' }, el('span', null, t('Name of the event', '事件名')), event),
      el('label', { class: 'field' }, el('span', null, t('Namespace', '命名空间')), namespace), data.node],
    act: async found => outcome((await post('api/emit', object({ ...to, nsp: namespace.value, event: event.value }, data.empty() ? {} : { data: data.json() }))).sessions, found)
  })
}
export function refresh(to) {
  return dialog({
    title: t('Reload pages', '让页面重新加载'), button: t('Reload pages', '重新加载'), danger: true, to,
    effect: t('The event refreshPage, at which pages reload, is sent to', '将发送 refreshPage 事件（页面收到后会重新加载）给'),
    async act(found) {
      // relay has no such command for a user.
      const each = to.userid ? found.list.map(({ socket_id }) => ({ source: to.source, socket_id })) : [Object.keys(to).length ? to : { all: '1' }]
      let sessions = 0
      for (const one of each) sessions += (await post('api/refresh', object(one))).sessions
      return outcome(sessions, found)
    }
  })
}
export function disconnect(to) {
  return dialog({
    title: t('Disconnect', '断开连接'), button: t('Disconnect', '断开'), danger: true, to,
    effect: t('relay ends', 'relay 将结束'),
    parts: el('p', { class: 'dim' }, t('Official clients of Socket.IO and XIN_NODE do not connect again by themselves after this.', '官方 Socket.IO 客户端和 XIN_NODE 此后不会自动重连。')),
    act: async found => outcome((await post('api/disconnect', object(to))).sessions, found)
  })
}

/** Has relay log what a user does, for ten minutes. */
export function trace({ source, userid }) {
  return dialog({
    title: t('Trace a user', '跟踪用户'), button: t('Trace', '跟踪'), to: { source, userid }, local: true,
    effect: t('For ten minutes relay logs each step, but no contents, of', 'relay 将在十分钟内记录以下会话的每一步（不含内容）：'),
    async act() {
      const { trace: number } = await post('api/trace', object({ source, userid, for: '10m' }))
      return [t(`Trace ${number} has begun. `, `跟踪 ${number} 已开始。`), link('log', { search: `[trace ${number}]` }, t('See it in the log', '在日志中查看'))]
    }
  })
}

/** Buttons for the actions that a target has. */
export function buttons(to, { publishes = false, disconnects = false, traces = false, small = false, nsp } = {}) {
  const button = (text, act, kind = '') => el('button', { type: 'button', class: (small ? 'small ' : '') + kind, onclick: () => act(to, { nsp }) }, text)
  return el('div', { class: 'row actions' },
    publishes && button(t('Publish…', '发布…'), publish),
    // An event needs a source.
    to.source && button(t('Emit…', '发送事件…'), emit),
    button(t('Reload pages…', '重新加载页面…'), refresh),
    traces && button(t('Trace…', '跟踪…'), trace),
    disconnects && button(t('Disconnect…', '断开…'), disconnect, 'alarm'))
}
