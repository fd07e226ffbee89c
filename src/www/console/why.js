// Why somebody did not get a message (docs/protocol.md, GET /api/why), with what is known of the user now.

import { buttons } from './actions.js'
import { Refused } from './api.js'
import { live } from './live.js'
import { field, history, linked, result, sourceField, sourceOf, table, text } from './parts.js'
import { sessionColumns } from './tables.js'
import { el, link, put, shown, t } from './text.js'

export const title = () => t('Why was it not received?', '为什么没有收到？')

export function mount(view) {
  const { params } = view, source = sourceOf(params), choice = sourceField(source)
  const id = text(params.id), userid = text(params.userid), room = text(params.room_id)
  const asked = params.id || params.userid || params.room_id
  const form = el('form', { class: 'search card', 'aria-label': t('Question', '问题'), onsubmit: event => { event.preventDefault(); ask() } },
    choice.node, field(t('User id', '用户 id'), userid, 'grow'), field(t('Room', '房间'), room, 'grow'), field(t('Message id', '消息 id'), id, 'grow'), el('button', { type: 'submit', class: 'main' }, t('Ask', '查询')))
  const ask = () => view.go('why', { source: choice.value(), userid: userid.value.trim(), room_id: room.value, id: id.value.trim() })

  put(view.root, [
    el('h1', { tabindex: '-1' }, params.userid && !params.id && !params.room_id ? [t('User ', '用户 '), shown(params.userid, 60)] : title()),
    el('p', { class: 'lead' }, t('A user alone: is he connected, and what has happened. With a message id: whether that message has reached him, and why not.',
      '只填用户：是否在线、发生了什么。再填消息 id：该消息是否送达、为什么没有。')),
    form
  ])
  if (!asked) {
    put(view.root, [el('section', { class: 'card help' }, el('h2', null, t('Where to begin', '从哪里开始')), el('ol', null,
      el('li', null, t('Enter the user id, and ask: you see the sessions of the user now, and what has happened to earlier ones.', '填入用户 id 并查询：可看到该用户当前的会话以及以前会话发生的事。')),
      el('li', null, t('If the user is connected and in the right room, ask for one message. Its id is in the answer of the backend\'s receipt, in the ', '如果用户在线且在正确的房间里，再查一条消息。消息 id 可见于 '),
        link('tail', { source }, t('tail of a room', '房间实时消息')), t(', or in the ', '，或'), link('log', { file: 'messages' }, t('message log', '消息日志')), t('.', '。')),
      el('li', null, t('A room alone shows what was published to it.', '只填房间：显示向其发布过的消息。'))))])
    return
  }
  const found = result(view, async () => {
    const [why, sessions, kept] = await Promise.all([
      view.get('api/why', { source, id: params.id, userid: params.userid, room_id: params.room_id }),
      params.userid ? view.get('api/sessions', { source, search: params.userid, limit: 200 }).catch(otherwise) : null,
      live.hello?.message_log && !params.id && (params.userid || params.room_id) ? view.get('api/log/messages', { source, bytes: 65536 }).catch(otherwise) : null
    ])
    const { verdicts = [], lines = [], since } = why.data || why
    const own = sessions?.list?.filter(row => String(row.userid) === params.userid) || []
    const inRoom = room => own.filter(row => (row.rooms || []).includes(room)).length
    const messages = (kept?.lines || []).filter(line => typeof line.id === 'string' && (!params.room_id || String(line.room_id).split(',').includes(params.room_id))).slice(-12).reverse()
    return [
      verdicts.length ? el('section', { class: 'card verdicts' }, el('h2', null, t('Answer', '结论')), el('ul', null, verdicts.map(verdict => el('li', null, linked(view, source, verdict))))) : null,
      params.userid ? el('section', { class: 'card' },
        el('h2', null, t('The user now', '该用户当前状态')),
        el('p', { class: own.length ? 'verdict' : 'verdict bad' }, own.length
          ? [t(`Connected: ${own.length} ${own.length === 1 ? 'session' : 'sessions'} on this relay.`, `在线：本 relay 上 ${own.length} 个会话。`),
            params.room_id ? inRoom(params.room_id) ? t(' In the room.', ' 在此房间中。') : t(' Not seen in the room: see the page of the session.', ' 未见其在此房间中：请看会话页。') : '']
          : sessions ? t('Not connected to this relay: no session has this user id.', '未连接到本 relay：没有此用户 id 的会话。') : t('The sessions could not be read.', '无法读取会话。')),
        own.length ? table(t('Sessions of the user', '该用户的会话'), sessionColumns(view, source), own.slice(0, 20)) : null,
        own.length ? buttons({ source, userid: params.userid }, { disconnects: true }) : null) : null,
      el('section', { class: 'card' }, el('h2', null, t('What has happened', '发生的事')),
        since ? el('p', { class: 'dim' }, t('Older records were dropped; the first is of ', '更早的记录已丢弃，最早的是 '), shown(since, 40)) : null,
        history(view, source, lines, t('The journal has nothing about this. It is kept in memory, and begins when relay starts.', '没有相关记录。记录保存在内存中，自 relay 启动开始。'))),
      messages.length ? el('section', { class: 'card' }, el('h2', null, t('Ask for one message', '查询某一条消息')), el('ul', { class: 'pick' }, messages.map(line =>
        el('li', null, link('why', { source, userid: params.userid, room_id: params.room_id, id: line.id }, el('code', null, shown(line.id, 30))), ' ', el('span', { class: 'dim' }, shown(line.room_id ?? '', 30)), ' ',
          shown(typeof line.data === 'string' ? line.data : JSON.stringify(line.data ?? ''), 60))))) : null
    ]
  })
  put(view.root, [found.node])
  found.run()
}
// A part of the page that cannot be read leaves the rest.
function otherwise(error) {
  if (!(error instanceof Refused) || error.status === 401) throw error
  return null
}
