// Why somebody did not get a message (docs/protocol.md, GET /api/why), with what is known of the user now.

import { buttons } from './actions.js'
import { Refused } from './api.js'
import { live } from './live.js'
import { MOST_SOURCES, anyOf, answer, asked, field, history, linked, nowhere, partial, result, sourceField, sources, table, text } from './parts.js'
import { sessionColumns } from './tables.js'
import { bytes, count, el, lang, link, plain, put, shown, some, t } from './text.js'

/** Sessions of a user that are shown. */
const MOST_SESSIONS = 20

export const title = () => t('Why was it not received?', '为什么没有收到？')

export function mount(view) {
  const { params } = view, chosen = anyOf(params), choice = sourceField(chosen, true)
  const id = text(params.id), userid = text(params.userid), room = text(params.room_id)
  const question = params.id || params.userid || params.room_id
  const form = el('form', { class: 'search card', 'aria-label': t('Question', '问题'), onsubmit: event => { event.preventDefault(); ask() } },
    choice.node, field(t('User id', '用户 id'), userid, 'grow'), field(t('Room', '房间'), room, 'grow'), field(t('Message id', '消息 id'), id, 'grow'), el('button', { type: 'submit', class: 'main' }, t('Ask', '查询')))
  const ask = () => view.go('why', { source: choice.value(), userid: userid.value.trim(), room_id: room.value, id: id.value.trim() })

  put(view.root, [
    el('h1', { tabindex: '-1' }, params.userid && !params.id && !params.room_id ? [t('User ', '用户 '), shown(params.userid, 60)] : title()),
    el('p', { class: 'lead' }, t('A user alone: whether the user is connected, and what has happened. With a message id: whether the message has arrived, and why not.',
      '只填用户：是否在线、发生了什么。再填消息 id：该消息是否送达、为什么没有。')),
    form
  ])
  if (!question) {
    put(view.root, [el('section', { class: 'card help' }, el('h2', null, t('Where to begin', '从哪里开始')), el('ol', null,
      el('li', null, t('Enter the user id, and ask: you see the sessions of the user now, and what has happened to earlier ones.', '填入用户 id 并查询：可看到该用户当前的会话以及以前会话发生的事。')),
      el('li', null, t('If the user is connected and in the right room, ask for one message. Its id is in the answer of the backend\'s receipt, in the ', '如果用户在线且在正确的房间里，再查一条消息。消息 id 可见于 '),
        link('tail', { source: params.source }, t('tail of a room', '房间实时消息')), t(', or in the ', '，或'), link('log', { file: 'messages' }, t('message log', '消息日志')), t('.', '。')),
      el('li', null, t('A room alone shows what was published to it.', '只填房间：显示向其发布过的消息。'))))])
    return
  }
  const found = result(view, async () => {
    const { source, why, online, others } = await look(view, chosen)
    const kept = live.hello?.message_log && !params.id && (params.userid || params.room_id) ? await view.get('api/log/messages', { source, bytes: 65536 }).catch(otherwise) : null
    const { lines = [], since } = why
    const own = await Promise.all((online?.list || []).map(row => describe(view, row)))
    const slow = own.filter(row => row.unsent > 0 || row.state === 'behind'), fine = own.length && !slow.length && (!params.room_id || own.some(row => row.rooms.includes(params.room_id)))
    const away = own.filter(row => row.state === 'elsewhere'), nodes = [...new Set(away.filter(row => row.node).map(row => [row.node, row.server_ip].filter(Boolean).join(', ')))]
    const rooms = new Set(own.flatMap(row => row.rooms)), inRoom = room => own.filter(row => row.rooms.includes(room)).length
    const messages = (kept?.lines || []).filter(line => typeof line.id === 'string' && String(line.room_id).split(',').some(room => params.room_id ? room === params.room_id : rooms.has(room))).slice(-12).reverse()
    return [
      online?.complete === false && !own.length && !lines.length ? null : where(source, others, lines.length > 0 || own.length > 0),
      answer(view, source, why, lines.length ? params.id && !params.userid ? [linked(view, source, lines[lines.length - 1].text), t('. Enter a user id as well to see whether this user got it.', '。再填用户 id，可查看该用户是否收到。')] : '' : t('Nothing follows: the records have nothing about this.', '没有结论：没有相关记录。')),
      params.userid ? el('section', { class: 'card' },
        el('h2', null, t('The user now', '该用户当前状态')),
        el('p', { class: fine ? 'verdict' : 'verdict bad' }, own.length
          ? [t(`Connected: ${some(own.length, 'session')}.`, `在线：${count(own.length)} 个会话。`),
            away.length === own.length ? t(' At another relay.', ' 在其他节点。') : away.length ? t(` ${count(away.length)} of them at another relay.`, ` 其中 ${count(away.length)} 个在其他节点。`) : '',
            params.room_id ? inRoom(params.room_id) ? t(' In the room.', ' 在此房间中。') : t(' Not in the room, so it gets none of its messages.', ' 不在此房间中，因此收不到该房间的消息。') : '',
            slow.length ? t(` ${bytes(slow.reduce((sum, row) => sum + (row.unsent || 0), 0))} wait for ${count(slow.length)} of them, which read too slowly.`, ` 其中 ${count(slow.length)} 个接收过慢，有 ${bytes(slow.reduce((sum, row) => sum + (row.unsent || 0), 0))} 待发送。`) : '']
          : online?.complete === false ? t('Not connected to this relay.', '未连接到本 relay。')
          : online ? t('Not connected: no session has this user id.', '未连接：没有此用户 id 的会话。') : t('The sessions could not be read.', '无法读取会话。')),
        online && partial(online),
        own.length ? table(t('Sessions of the user', '该用户的会话'), sessionColumns(view, source), own) : null,
        nodes.length ? el('p', null, t('What has happened to a session at another relay, and whether it has a message, is recorded there. Open the console of ', '其他节点上会话的记录以及是否收到消息，只保存在该节点。请打开该节点的控制台：'),
          nodes.slice(0, 5).map((node, index) => [index ? '; ' : '', el('b', null, shown(node, 80))]), t('.', '。')) : null,
        buttons({ source, userid: params.userid }, { disconnects: own.length > 0, traces: true })) : null,
      el('section', { class: 'card' }, el('h2', null, t('What has happened', '发生的事')),
        since ? el('p', { class: 'dim' }, t('Older records were dropped; the first is of ', '更早的记录已丢弃，最早的是 '), shown(since, 40)) : null,
        history(view, source, lines, t('There are no records about this. They are kept in memory, and begin when relay starts.', '没有相关记录。记录保存在内存中，自 relay 启动开始。'), { userid: params.userid, room_id: params.room_id })),
      messages.length ? el('section', { class: 'card' }, el('h2', null, t('Ask for one message', '查询某一条消息')), el('ul', { class: 'pick' }, messages.map(line =>
        el('li', null, link('why', { source, userid: params.userid, room_id: params.room_id, id: line.id }, el('code', null, shown(line.id, 30))), ' ', el('span', { class: 'dim' }, shown(line.room_id ?? '', 30)), ' ',
          shown(typeof line.data === 'string' ? line.data : JSON.stringify(line.data ?? ''), 60))))) : null
    ]
  })
  put(view.root, [found.node])
  found.run()

  /** Says in which source the answer is, if there are several. */
  function where(source, others, known) {
    if (sources.names.length < 2) return null
    const more = others.length ? [t(' Also known in ', ' 另见于 '), others.map((name, index) => [index ? ', ' : '', link('why', { ...params, source: name }, plain(name, 64))]), t('.', '。')] : ''
    if (!known) return el('p', { class: 'found' }, t('Not found.', '未找到。'), chosen ? t(' No other source that was asked knows it.', ' 查过的其他源也没有。') : '', nowhere(chosen, 'why', params))
    return el('p', { class: 'found' }, t('Found in ', '在源 '), el('b', null, shown(source, 64)), chosen && chosen !== source ? [t(', not in ', ' 中找到，不在 '), el('b', null, shown(chosen, 64)), t('.', ' 中。')] : t('.', ' 中找到。'), more)
  }
}
/** Asks the chosen source, and the others if it does not know; or all, if none is chosen. `others`: those that know as well. */
async function look(view, chosen) {
  const { id, userid, room_id } = view.params
  const one = async source => {
    const [why, online] = await Promise.all([
      view.get('api/why', { source, id, userid, room_id, language: lang }),
      userid ? view.get('api/online', { source, userid, limit: MOST_SESSIONS }).catch(otherwise) : null
    ])
    const found = why.data || why
    return { source, why: found, online, known: (online?.list?.length || 0) > 0 || (found.lines?.length || 0) > 0, others: [] }
  }
  // What the first one refuses is the answer; another one may be gone by a reload.
  const several = async names => (await Promise.all(names.map(source => one(source).catch(otherwise)))).filter(Boolean)
  const [begin, ...rest] = chosen ? [chosen, ...asked('').filter(name => name !== chosen)] : asked('')
  const first = await one(begin)
  if (chosen && first.known) return first
  const known = [first, ...await several(rest.slice(0, MOST_SOURCES))].filter(found => found.known)
  return known.length ? { ...known[0], others: known.slice(1).map(found => found.source) } : first
}
/** A session of `/api/online`, with its queue and state if it is on this relay. */
async function describe(view, row) {
  const rooms = String(row.room_ids ?? '').split(',').filter(Boolean)
  const session = await view.get('api/session', { socket_id: row.socket_id }).catch(otherwise)
  // One of this relay that is not found has just ended.
  const elsewhere = !live.hello || (live.hello.redis && row.node !== live.hello.node)
  return { since: Date.parse(row.time) / 1000, ...row, ...session, rooms, room_count: rooms.length, state: session?.state || (elsewhere ? 'elsewhere' : 'ending'), node: row.node }
}
// A part of the page that cannot be read leaves the rest.
function otherwise(error) {
  if (!(error instanceof Refused) || error.status === 401) throw error
  return null
}
