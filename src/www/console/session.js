// The page of a session: who, from where, with what; its rooms, queue, heartbeat, what it missed, and what has happened.

import { Refused } from './api.js'
import { buttons } from './actions.js'
import { SLOW, age, answer, asked, browser, generation, history, result, roomLink, sessionState, userLink } from './parts.js'
import { bytes, clock, count, el, lang, link, plain, put, rate, shown, some, span, t } from './text.js'

export const title = () => t('Session', '会话')

const yes = value => value ? t('yes', '是') : t('no', '否')

export function mount(view) {
  const socket_id = view.params.socket_id
  const top = el('h1', { tabindex: '-1' }, title())
  if (!socket_id) {
    put(view.root, [top, el('p', { class: 'card' }, t('No session is chosen. ', '没有选择会话。'), link('sessions', {}, t('Find one', '查找会话')))])
    return
  }
  let gone = false
  const found = result(view, async () => {
    let session
    try {
      session = await view.get('api/session', { socket_id, language: lang })
    } catch (error) {
      if (!(error instanceof Refused && error.status === 404)) throw error
      gone = true
      const last = known, found = await records(view, last?.source || view.params.source, socket_id), why = found?.why
      return [
        el('p', { class: 'card', role: 'status' }, why?.lines?.length ? t('This session has ended.', '该会话已结束。')
          : t('This session has ended, or is not on this relay: the records have nothing about it. Another relay of the cluster may know it.', '该会话已结束，或不在本 relay 上：没有关于它的记录，集群中的其他 relay 可能有。'), ' ',
          last?.userid ? [t('What has happened to its user: ', '其用户的记录：'), userLink(last.source, last.userid)] : link('sessions', {}, t('Find another', '查找其他会话'))),
        why ? answer(view, found.source, why) : null,
        why?.lines?.length ? el('section', { class: 'card' }, el('h2', null, t('What has happened', '发生的事')), history(view, found.source, why.lines, '')) : null,
        last ? body(view, last, true, Boolean(why?.lines?.length)) : null
      ]
    }
    known = session
    // So that the address can be sent to a colleague. The id of an old Socket.IO client has its `sid`, with which one can speak in its name.
    if (!view.signal.aborted) view.address(...secret(session) ? [{ source: session.source }, { socket_id }] : [{ source: session.source, socket_id }])
    // It is gone soon.
    if (session.state === 'ending') setTimeout(() => { if (!view.signal.aborted) found.run(true) }, 1000)
    return body(view, session)
  })
  let known = null
  put(view.root, [top, found.node])
  found.run()
  view.every(5000, () => {
    const busy = found.body.contains(document.activeElement) || String(getSelection() || '') !== ''
    if (!gone && !busy) found.run(true)
  })
}

/** Whether the id of a session lets those who know it act in its name (docs/protocol.md, Ids). */
const secret = session => session.protocol === 'engine.io 3'
/** What the records have about a session that is not there any more, with its source. */
async function records(view, source, socket_id) {
  let first = null
  for (const name of asked(source)) {
    try {
      const { data } = await view.get('api/why', { source: name, socket_id, language: lang })
      if (data?.lines?.length) return { source: name, why: data }
      first ||= { source: name, why: data }
    } catch (error) {
      if (!(error instanceof Refused) || error.status === 401) throw error
    }
  }
  return first
}

function body(view, session, ended, told) {
  const { source, recovery } = session, client = session.client || {}, heartbeat = session.heartbeat || {}, rooms = session.all_rooms || []
  const rows = (...list) => el('dl', { class: 'pairs' }, list.filter(Boolean).map(([name, ...value]) => el('div', null, el('dt', null, name), el('dd', null, value))))
  const card = (name, ...inner) => el('section', { class: 'card' }, el('h2', null, name), inner)

  // What is wrong, in a sentence: the page is opened because something is.
  const troubles = [], slow = session.unsent > SLOW || session.state === 'behind'
  if (session.state === 'behind') troubles.push(t('It is behind: it reads too slowly, and gets the rest from the history.', '已积压：接收过慢，其余消息将由历史补发。'))
  if (session.state === 'ending') troubles.push(t('It is being ended.', '正在结束。'))
  if (session.unsent > 0) troubles.push(t(`${bytes(session.unsent)} wait for it: its network or its page does not read them.`, `有 ${bytes(session.unsent)} 待发送：其网络或页面没有读取。`))
  if (heartbeat.state === 'overdue') troubles.push(t('It has not answered a ping.', '它没有应答心跳。'))
  if (session.transport === 'none') troubles.push(t('It has no connection at the moment: a poll may be on its way.', '此刻没有连接：可能处于两次轮询之间。'))
  if (client.unconfirmed > 0 && !(session.unsent > 0)) troubles.push(t(`${bytes(client.unconfirmed)} are on their way to it.`, `有 ${bytes(client.unconfirmed)} 正在传输。`))
  if (!rooms.length) troubles.push(t('It is in no room, so it gets no messages of rooms.', '它不在任何房间，因此收不到房间消息。'))

  const states = { alive: t('alive', '正常'), asked: t('asked, not answered yet', '已发送，等待应答'), overdue: t('overdue', '超时'), none: t('none', '无') }
  const beat = Object.hasOwn(states, heartbeat.state) ? states[heartbeat.state] : plain(heartbeat.state || '–', 30)
  const transports = { websocket: 'WebSocket', polling: t('polling', '轮询'), stream: t('stream', '流'), none: t('none now', '当前无') }
  return [
    ended ? null : el('p', { class: !troubles.length ? 'verdict' : slow ? 'verdict old' : 'verdict bad' }, troubles.length ? troubles.join(' ') : t('Connected, nothing waits for it, nothing is overdue.', '已连接，没有待发送数据，心跳正常。')),
    ended ? null : buttons({ source, socket_id: session.socket_id }, { disconnects: true, nsp: session.nsp }),
    el('div', { class: 'columns wide' },
      card(t('Who', '是谁'), rows(
        [t('User id', '用户 id'), userLink(source, session.userid, 100)],
        [t('User name', '用户名'), shown(session.username || '', 100)],
        [t('Source', '源'), shown(source, 64)],
        session.ext_info ? [t('Extra info', '附加信息'), shown(session.ext_info, 200)] : null,
        [t('Session id', '会话 id'), el('code', null, shown(session.socket_id, 80))],
        [t('Online for', '在线时长'), session.since ? `${span(age(session.since))} (${t('since', '自')} ${clock(session.since)})` : '–'],
        secret(session) ? [t('This page\'s address', '本页地址'), t('It has no session id: whoever knows that of a Socket.IO 1.x or 2.x client can act in its name.', '不含会话 id：知道 Socket.IO 1.x/2.x 客户端会话 id 的人可冒用该会话。')] : null,
        session.userid ? [t('Messages', '消息'), link('why', { source, userid: session.userid }, t('Why does this user miss messages?', '该用户为何收不到消息？'))] : null)),
      card(t('From where', '来自何处'), rows(
        [t('Address', '地址'), shown(session.ip || '–', 60)],
        [t('Page', '页面'), shown(session.referer || '–', 300)],
        [t('Browser', '浏览器'), browser(session.user_agent) || '–'],
        [t('User agent', 'User-Agent'), shown(session.user_agent || '–', 200)],
        client.tls === true || client.tls === false ? ['TLS', yes(client.tls)] : null)),
      card(t('Client', '客户端'), rows(
        [t('Client generation', '客户端版本'), generation(session.protocol, client.library)],
        [t('Protocol', '协议'), shown(session.protocol, 40), client.revision ? t(`, revision ${client.revision}`, `，修订 ${client.revision}`) : ''],
        [t('Transport', '传输'), Object.hasOwn(transports, session.transport) ? transports[session.transport] : '–'],
        [t('Namespace', '命名空间'), shown(session.nsp || '/', 60)],
        client.namespaces?.length > 1 ? [t('All of the client', '该客户端的全部'), client.namespaces.slice(0, 10).map((nsp, index) => [index ? ', ' : '', shown(nsp, 40)])] : null)),
      card(t('Queue and heartbeat', '队列与心跳'), rows(
        [t('State', '状态'), ended ? el('span', { class: 'badge bad' }, t('ended', '已结束')) : sessionState(session.state, session.unsent)],
        [t('Unsent', '待发送'), bytes(session.unsent)],
        typeof client.unconfirmed === 'number' ? [t('In the network', '网络中'), bytes(client.unconfirmed), ' ', el('span', { class: 'dim' }, t('sent, not confirmed', '已发出，未确认'))] : null,
        [t('Heartbeat', '心跳'), beat],
        heartbeat.interval ? [t('Ping', '间隔'), t(`each ${heartbeat.interval} s, answer within ${heartbeat.timeout} s`, `每 ${heartbeat.interval} 秒，${heartbeat.timeout} 秒内应答`)] : null,
        typeof heartbeat.next === 'number' ? [heartbeat.state === 'alive' ? t('Next ping in', '距下次心跳') : t('Given up in', '放弃倒计时'), t(`${rate(heartbeat.next)} s`, `${rate(heartbeat.next)} 秒`)] : null)),
      card(t('What it has received', '已收到的消息'), recovery ? rows(
        [t('Last confirmed', '最后确认'), recovery.confirmed ? el('code', null, shown(recovery.confirmed, 60)) : '–'],
        [t('Later ones', '其后的消息'), t(`${some(recovery.unconfirmed, 'kept message')}, not confirmed`, `${count(recovery.unconfirmed)} 条已保存，未确认`)],
        recovery.unconfirmed > 0 ? ['', el('span', { class: 'dim' }, t('It gets them when it reads again or comes back.', '恢复接收或重新连接后会补发。'))] : null)
        : el('p', { class: 'dim' }, t('Not followed: its rooms keep no messages, so what is lost on the way is not sent again.', '未跟踪：其房间不保存消息，途中丢失的消息不会补发。')))),
    card(t(`Rooms (${count(rooms.length)})`, `房间（${count(rooms.length)}）`), rooms.length
      ? el('ul', { class: 'chips' }, rooms.slice(0, 50).map(room => el('li', null, roomLink(source, room.room_id, 50),
        room.members === undefined ? '' : el('span', { class: 'dim' }, ' ', t(some(room.members, 'member'), `${count(room.members)} 个成员`)), room.kept ? el('span', { class: 'dim' }, t(', kept', '，有历史')) : '')),
      rooms.length > 50 ? el('li', { class: 'dim' }, `+${count(rooms.length - 50)}`) : null)
      : el('p', { class: 'dim' }, t('None.', '无。'))),
    told ? null : card(t('What has happened', '发生的事'), history(view, source, session.events, t('There are no records about this session.', '没有关于此会话的记录。')))
  ]
}
