// Tables: sessions, users, rooms, sources, and the generations of clients. Each shows one page at a time.

import { buttons, publish } from './actions.js'
import { clustered } from './live.js'
import { PAGE, age, anyOf, asked, browser, field, generation, nowhere, ordered, pager, partial, result, roomLink, searchForm, select, sessionLink, sessionState, sourceField, sourceOf, sources, table, text, userLink } from './parts.js'
import { bytes, count, el, link, plain, put, shown, some, span, t } from './text.js'

const none = (...words) => el('p', { class: 'card dim' }, words)
/** The search is over when there is no further page. */
const from = (first, list) => list.length ? t(`Rows ${first + 1} to ${first + list.length}`, `第 ${first + 1} 至 ${first + list.length} 行`) : ''

/** Requests of a search: each looks at some thousand sessions, so that relay is not busy with one for long. */
const MOST_REQUESTS = 40
/** Finds a page of sessions of a source, with as many requests as it takes. `says(text)`: how far it is. */
async function find(view, query, says, most = MOST_REQUESTS, wanted = PAGE) {
  const newest = query.order === 'newest'
  let list = [], next = query.after || null, total
  for (let i = 0; i < most; i++) {
    const answer = await view.get('api/sessions', { ...query, after: next, limit: newest ? PAGE : wanted - list.length })
    list = list.concat(answer.list)
    total = answer.sessions
    next = answer.next ?? null
    // The newest are known when all have been looked at.
    if (newest) list = list.sort((a, b) => b.since - a.since).slice(0, PAGE)
    if (next === null || (!newest && list.length >= wanted)) break
    says(t(`Searching: ${count(next)} of ${count(total)} sessions…`, `查找中：${count(next)} / ${count(total)} 个会话…`))
  }
  return { list: list.map(row => ({ ...row, source: query.source })), next: newest ? null : next, total }
}
/** Finds a page of sessions of several sources. In an order they are merged, and there is no further page; else one source comes
    after the other, and `after` is the number of a source and where to go on in it. */
async function findInAll(view, query, names, says) {
  const [begin = 0, inside = ''] = String(query.after || '').split(':'), most = Math.ceil(MOST_REQUESTS / names.length)
  const per = { newest: row => row.since, unsent: row => row.unsent }[query.order]
  if (per) {
    const found = await Promise.all(names.map(source => find(view, { ...query, source, after: '' }, says, most)))
    return { list: found.flatMap(one => one.list).sort((a, b) => per(b) - per(a)).slice(0, PAGE), next: null, total: found.reduce((sum, one) => sum + (one.total || 0), 0) }
  }
  let list = []
  for (let i = Number(begin) || 0; i < names.length; i++) {
    const one = await find(view, { ...query, source: names[i], after: i === Number(begin) ? inside : '' }, says, most, PAGE - list.length)
    list = list.concat(one.list)
    if (one.next !== null && one.next !== undefined) return { list, next: `${i}:${one.next}` }
    if (list.length >= PAGE && i + 1 < names.length) return { list, next: `${i + 1}:` }
  }
  return { list, next: null }
}
/** The column of the source, in tables of all. */
const sourceColumn = () => ({ name: t('Source', '源'), cell: row => shown(row.source, 30) })

/** The columns of sessions; `source` is empty for those of all sources. */
export function sessionColumns(view, source) {
  const of = row => source || row.source
  return [
    { name: t('User', '用户'), wide: true, cell: row => [userLink(of(row), row.userid), row.username && row.username !== row.userid ? el('div', { class: 'dim' }, shown(row.username, 40)) : null] },
    // The page of a session is at the relay that has it.
    { name: t('Session', '会话'), cell: row => row.state === 'elsewhere' ? el('span', { class: 'mono' }, shown(row.socket_id, 12)) : sessionLink(view, of(row), row.socket_id) },
    source ? null : sourceColumn(),
    { name: t('Client', '客户端'), cell: row => [generation(row.protocol), el('div', { class: 'dim' }, row.user_agent ? browser(row.user_agent) || shown(row.user_agent, 30) : '', row.nsp && row.nsp !== '/' ? [' ', shown(row.nsp, 30)] : null)] },
    { name: t('Page and address', '页面与地址'), wide: true, cell: row => [shown(row.referer || '', 60), el('div', { class: 'dim' }, shown(row.ip || '', 45))] },
    { name: t('Rooms', '房间'), wide: true, cell: row => [(row.rooms || []).slice(0, 3).map((room, index) => [index ? ', ' : '', roomLink(of(row), room, 24)]), row.room_count > 3 ? el('span', { class: 'dim' }, ` +${count(row.room_count - 3)}`) : null] },
    { name: t('Online for', '在线时长'), num: true, cell: row => row.since ? span(age(row.since)) : '' },
    { name: t('Unsent', '待发送'), num: true, cell: row => row.unsent === undefined ? '–' : bytes(row.unsent) },
    { name: t('State', '状态'), cell: row => sessionState(row.state, row.unsent, row.node) }
  ].filter(Boolean)
}

export const sessions = {
  title: () => t('Sessions', '会话'),
  mount(view) {
    const { params } = view, source = anyOf(params), choice = sourceField(source, true)
    const search = text(params.search, { enterkeyhint: 'search', placeholder: t('user, address, page, browser, session id', '用户、地址、页面、浏览器、会话 id') }), room = text(params.room_id)
    const order = select([['', t('any order', '不排序')], ['newest', t('newest first', '最新优先')], ['unsent', t('slow: most unsent', '慢：待发送最多')]], params.order || '')
    let after = '', first = 0
    const found = result(view, async says => {
      const query = { search: params.search, room_id: params.room_id, order: params.order, after }
      const { total, list, next } = source ? await find(view, { ...query, source }, says) : await findInAll(view, query, asked(), says)
      const more = next !== null
      const restart = first || after ? () => { after = ''; first = 0; found.run() } : null
      const words = [from(first, list), total === undefined ? '' : t(`${some(total, 'session')} in all`, `共 ${count(total)} 个会话`)].filter(Boolean).join(' · ')
      const empty = params.order === 'unsent' ? t('No client has unsent bytes: none is slow now.', '没有客户端有待发送数据：现在没有慢客户端。') : t('No session matches.', '没有符合条件的会话。')
      return [
        list.length ? table(this.title(), sessionColumns(view, source), list.slice(0, PAGE)) : none(empty, nowhere(source, 'sessions', params), clustered() ? [t(' Only sessions of this relay are searched. ', ' 仅查找本 relay 的会话。'),
          params.search && link('why', { source: params.source, userid: params.search }, t(`Is ${plain(params.search, 40)} a user at another relay?`, `${plain(params.search, 40)} 是其他节点的用户？`))] : ''),
        pager(words, restart, more ? () => { after = String(next); first += list.length; found.run() } : null)
      ]
    })
    put(view.root, [
      el('h1', { tabindex: '-1' }, this.title()),
      searchForm(t('Search sessions', '查找会话'), [choice.node, field(t('Search', '查找'), search, 'grow'), field(t('Only in room', '仅限房间'), room), field(t('Order', '排序'), order, 'order')], t('Search', '查找'),
        () => view.go('sessions', { source: choice.value(), search: search.value.trim(), room_id: room.value, order: order.value })),
      params.room_id && source && el('div', { class: 'row' }, roomLink(source, params.room_id), buttons({ source, room_id: params.room_id }, { publishes: true, small: true })),
      found.node
    ])
    found.run()
  }
}

export const users = {
  title: () => t('Users', '用户'),
  mount(view) {
    const { params } = view, source = sourceOf(params), choice = sourceField(source), search = text(params.search, { enterkeyhint: 'search' })
    let offset = 0
    const found = result(view, async () => {
      const answer = await view.get('api/users', { source, search: params.search, limit: PAGE, offset }), list = answer.list || []
      const columns = [
        { name: t('User id', '用户 id'), wide: true, cell: row => userLink(source, row.userid, 60) },
        { name: t('Sessions', '会话'), num: true, cell: row => link(clustered() ? 'why' : 'sessions', { source, [clustered() ? 'userid' : 'search']: String(row.userid) }, count(row.sessions)) },
        { name: t('By namespace', '按命名空间'), cell: row => Object.entries(row.nsp || {}).slice(0, 4).map(([nsp, number], index) => [index ? ', ' : '', shown(nsp, 30), ` ${count(number)}`]) }
      ]
      return [
        partial(answer),
        list.length ? table(this.title(), columns, list) : none(t('No user matches. Sessions without a userid are not counted.', '没有符合条件的用户。没有 userid 的会话不计入。'), nowhere(source, 'users', params)),
        pager([from(offset, list), t(some(answer.users, 'user'), `共 ${count(answer.users)} 个用户`)].filter(Boolean).join(' · '),
          offset ? () => { offset = 0; found.run() } : null, offset + list.length < answer.users && list.length ? () => { offset += PAGE; found.run() } : null)
      ]
    })
    put(view.root, [
      el('h1', { tabindex: '-1' }, this.title()),
      searchForm(t('Search users', '查找用户'), [choice.node, field(t('Part of the user id', '用户 id 的一部分'), search, 'grow')], t('Search', '查找'), () => view.go('users', { source: choice.value(), search: search.value.trim() })),
      found.node
    ])
    found.run()
  }
}

export const rooms = {
  title: () => t('Rooms', '房间'),
  mount(view) {
    const { params } = view, source = anyOf(params), choice = sourceField(source, true), search = text(params.search, { enterkeyhint: 'search' })
    const busiest = params.order === 'messages'
    const order = select([['members', t('largest: members', '最大：成员')], ['messages', t('busiest (by deliveries)', '最忙（按投递）')]], params.order || 'members')
    let offset = 0
    const found = result(view, async () => {
      // Of several sources the page is among the first of each.
      const answers = await Promise.all(asked(source).map(async name => {
        const one = await view.get('api/rooms', { source: name, search: params.search, order: params.order || 'members', limit: source ? PAGE : Math.min(10000, offset + PAGE), offset: source ? offset : 0 })
        return { ...one, list: (one.list || []).map(row => ({ ...row, source: name })) }
      }))
      const sum = key => answers.reduce((all, one) => all + (Number(one[key]) || 0), 0), per = busiest ? 'deliveries' : 'members'
      const answer = { rooms: sum('rooms'), elsewhere: sum('elsewhere') }, time = Math.max(0, ...answers.map(one => Number(one.seconds) || 0))
      const list = source ? answers.flatMap(one => one.list) : answers.flatMap(one => one.list).sort((a, b) => b[per] - a[per]).slice(offset, offset + PAGE)
      const most = Math.max(1, ...list.map(row => busiest ? row.deliveries : row.members))
      const columns = [
        { name: t('Room', '房间'), wide: true, cell: row => [el('span', { class: 'name' }, roomLink(row.source, row.room_id, 60)), share((busiest ? row.deliveries : row.members) / most)] },
        source ? null : sourceColumn(),
        { name: t('Members', '成员'), num: true, cell: row => link('sessions', { source: row.source, room_id: row.room_id }, count(row.members)) },
        busiest && { name: t('Messages', '消息'), num: true, cell: row => count(row.messages) },
        busiest && { name: t('Deliveries', '投递'), num: true, cell: row => count(row.deliveries) },
        busiest && { name: t('Messages / s', '消息/秒'), num: true, cell: row => (row.messages / Math.max(1, time)).toFixed(2) },
        busiest && { name: t('Deliveries / s', '投递/秒'), num: true, cell: row => (row.deliveries / Math.max(1, time)).toFixed(2) },
        { name: t('Actions', '操作'), acts: true, cell: row => el('div', { class: 'row actions' }, link('tail', { source: row.source, room_id: row.room_id }, t('Tail', '实时消息')), el('button', { type: 'button', class: 'small', onclick: () => publish({ source: row.source, room_id: row.room_id }) }, t('Publish…', '发布…'))) }
      ].filter(Boolean)
      const empty = busiest ? t('No message was published in this time.', '这段时间没有发布消息。') : t('No room matches.', '没有符合条件的房间。')
      return [
        list.length ? table(this.title(), columns, list.slice(0, PAGE)) : none(empty, nowhere(source, 'rooms', params)),
        pager([from(offset, list), t(some(answer.rooms, 'room'), `共 ${count(answer.rooms)} 个房间`), busiest && time ? t(`numbers of the last ${span(time)}`, `最近 ${span(time)} 的数字`) : '',
          busiest && answer.elsewhere ? t(`${some(answer.elsewhere, 'message')} to rooms without members`, `${count(answer.elsewhere)} 条消息发往无成员的房间`) : ''].filter(Boolean).join(' · '),
        offset ? () => { offset = 0; found.run() } : null, list.length && offset + list.length < answer.rooms ? () => { offset += PAGE; found.run() } : null)
      ]
    })
    put(view.root, [
      el('h1', { tabindex: '-1' }, busiest ? t('Busiest rooms', '最忙的房间') : this.title()),
      searchForm(t('Search rooms', '查找房间'), [choice.node, field(t('Part of the name', '名称的一部分'), search, 'grow'), field(t('Order', '排序'), order, 'order')], t('Search', '查找'),
        () => view.go('rooms', { source: choice.value(), search: search.value.trim(), order: order.value })),
      found.node
    ])
    found.run()
  }
}
/** A bar for a part of the largest. */
function share(part) {
  const bar = el('progress', { max: '100', value: String(Math.round(part * 100)), 'aria-hidden': 'true' })
  return el('div', { class: 'share' }, bar)
}

export const sourcesView = {
  title: () => t('Sources', '源'),
  mount(view) {
    const found = result(view, async () => {
      const answer = await view.get('api/stats'), names = ordered(answer.sources)
      sources.names = names
      const rows = names.map(name => ({ name, ...answer.sources[name], all: answer.all && Object.hasOwn(answer.all.sources || {}, name) ? answer.all.sources[name] : null })).sort((a, b) => b.sessions - a.sessions)
      const columns = [
        { name: t('Source', '源'), wide: true, cell: row => [el('span', { class: 'name' }, shown(row.name, 64)), share(row.sessions / Math.max(1, rows[0].sessions))] },
        { name: t('Sessions', '会话'), num: true, cell: row => link('sessions', { source: row.name }, count(row.sessions)) },
        'all' in answer && { name: t('On all relays', '全部节点'), num: true, cell: row => row.all === null ? '–' : count(row.all) },
        { name: t('Rooms', '房间'), num: true, cell: row => link('rooms', { source: row.name }, count(row.rooms)) },
        { name: t('Actions', '操作'), acts: true, cell: row => el('div', { class: 'row actions' }, link('clients', { source: row.name }, t('Client generations', '客户端版本')), buttons({ source: row.name }, { small: true })) }
      ].filter(Boolean)
      return [partial({ complete: answer.all !== null }), rows.length ? table(this.title(), columns, rows.slice(0, 200)) : none(t('There is no source.', '没有源。')), rows.length > 200 ? pager(t('Only the first 200 are shown.', '只显示前 200 个。')) : null]
    })
    put(view.root, [el('h1', { tabindex: '-1' }, this.title()), found.node])
    found.run()
    view.every(5000, () => { if (!view.root.querySelector('.result :focus')) found.run(true) })
  }
}

/** What relay cannot tell about a generation. */
const vague = protocol => protocol === 'engine.io 3' ? t(' · relay cannot tell 1.x from 2.x', ' · relay 无法区分 1.x 与 2.x') : protocol === 'engine.io 4' ? t(' · relay cannot tell 3.x from 4.x', ' · relay 无法区分 3.x 与 4.x') : ''

export const clients = {
  title: () => t('Client generations', '客户端版本'),
  mount(view) {
    const { params } = view
    const choice = select([['', t('all sources', '全部源')], ...sources.names.map(name => [name, plain(name, 64)])], params.source || '')
    let start = 0
    const found = result(view, async () => {
      const { list: every = [] } = await view.get('api/generations', { source: params.source })
      // By protocol: how many clients, on how many pages.
      const groups = new Map()
      for (const row of every) {
        const group = groups.get(row.protocol) || { protocol: row.protocol, library: row.library, clients: 0, pages: new Set() }
        group.clients += row.clients
        group.pages.add(row.page)
        groups.set(row.protocol, group)
      }
      const total = every.reduce((sum, row) => sum + row.clients, 0)
      const chosen = params.protocol || ''
      const order = ['engine.io 3', 'engine.io 4']
      const tabs = [...groups.values()].sort((a, b) => (order.indexOf(a.protocol) + 1 || 9) - (order.indexOf(b.protocol) + 1 || 9) || b.clients - a.clients)
      const card = (protocol, name, number, pages) => {
        const a = link('clients', { source: params.source, protocol }, el('span', { class: 'name' }, name), el('b', { class: 'num' }, count(number)),
          el('span', { class: 'dim' }, t(`${number === 1 ? 'client' : 'clients'} on ${count(pages)} ${pages === 1 ? 'page' : 'pages'}`, `个客户端，${count(pages)} 个页面`)))
        a.className = 'card tile'
        if (protocol === chosen) a.setAttribute('aria-current', 'true')
        return a
      }
      const list = chosen ? every.filter(row => row.protocol === chosen) : every, rows = list.slice(start, start + PAGE)
      const columns = [
        { name: t('Page', '页面'), wide: true, cell: row => [el('span', { class: 'name' }, row.page ? shown(row.page, 90) : el('span', { class: 'dim' }, t('no page: an app or a program', '无页面：应用或程序'))), share(row.clients / Math.max(1, list[0].clients))] },
        { name: t('Client generation', '客户端版本'), cell: row => [generation(row.protocol, row.library), el('div', { class: 'dim' }, shown(row.protocol, 30), vague(row.protocol))] },
        { name: t('Clients', '客户端数'), num: true, cell: row => count(row.clients) },
        { name: t('Kinds of browsers', '浏览器种类'), num: true, cell: row => row.browsers === undefined ? '' : count(row.browsers) },
        { name: t('Example', '示例'), cell: row => row.example ? sessionLink(view, params.source, row.example) : '' }
      ]
      const old = groups.get('engine.io 3')
      const verdict = old ? t(`${count(old.clients)} of ${count(total)} clients still use Socket.IO 1.x or 2.x, on ${count(old.pages.size)} ${old.pages.size === 1 ? 'page' : 'pages'}.`,
        `${count(total)} 个客户端中有 ${count(old.clients)} 个仍在使用 Socket.IO 1.x 或 2.x，分布在 ${count(old.pages.size)} 个页面。`) : t('No client uses Socket.IO 1.x or 2.x.', '没有客户端使用 Socket.IO 1.x 或 2.x。')
      return [
        el('p', { class: old ? 'verdict old' : 'verdict' }, verdict),
        el('div', { class: 'tiles' }, card('', t('All', '全部'), total, new Set(every.map(row => row.page)).size), tabs.map(group => card(group.protocol, generation(group.protocol, group.library), group.clients, group.pages.size))),
        rows.length ? table(this.title(), columns, rows) : none(t('There are no such clients.', '没有这样的客户端。')),
        pager([from(start, rows), every.length >= 200 ? t('the 200 most frequent', '最多的 200 种') : ''].filter(Boolean).join(' · '),
          start ? () => { start = 0; found.run() } : null, start + PAGE < list.length ? () => { start += PAGE; found.run() } : null)
      ]
    })
    put(view.root, [
      el('h1', { tabindex: '-1' }, this.title()),
      el('p', { class: 'lead' }, t('Which generation of clients connects, and from which page.', '哪一代客户端在连接，来自哪个页面。')),
      sources.names.length > 1 && searchForm(t('Choose a source', '选择源'), [field(t('Source', '源'), choice)], t('Show', '显示'), () => view.go('clients', { source: choice.value, protocol: params.protocol })),
      found.node
    ])
    found.run()
  }
}
