// The overview: numbers, graphs, parts, and where to look for the usual questions.

import { bar, graph, ranking } from './graphs.js'
import { gauge, live, perSecond, redisFails } from './live.js'
import { buttons } from './actions.js'
import { anyOf, field, sourceField, text } from './parts.js'
import { bytes, count, el, link, micros, percent, plain, put, rate, say, set, shown, some, span, t } from './text.js'

export const title = () => t('Overview', '概览')

const KINDS = () => ({
  unsent: t('unsent', '待发送'), incomplete: t('incomplete requests', '未完整的请求'), history: t('history', '历史消息'), away: t('sessions expected back', '等待重连的会话'),
  hooks: t('hooks', '回调'), redis: 'Redis', message_log: t('message log', '消息日志'), presence: t('presence', '在线状态'), receipts: t('receipts', '回执'),
  idempotency: t('idempotency keys', '幂等键'), signatures: t('used signatures', '已用签名'), journal: t('records of what has happened', '事件记录'), live: t('samples of the graphs', '图表数据')
})
const REASONS = () => ({
  client: t('the client has left', '客户端离开'), lost: t('lost: no goodbye, or page closed', '断开：无告别或页面关闭'), timeout: t('no answer to a ping', '心跳无应答'),
  slow: t('too slow', '接收过慢'), operator: t('by an operator or the backend', '管理员或后台断开'), expired: t('login expired', '登录过期'), config: t('configuration changed', '配置变更'),
  protocol: t('protocol error', '协议错误'), rate: t('sent too fast', '发送过快'), posts: t('may not post', '无权发送'), too_big: t('message too large', '消息过大'),
  unfinished: t('incomplete message', '消息未完整'), memory: t('memory limit', '内存上限'), stopping: t('relay stopped', 'relay 停止')
})
// The bound of a histogram's bucket.
const bound = value => value > 0 ? `≤ ${micros(value).replace(/\.0 /, ' ')}` : micros(0)
const named = (names, key) => Object.hasOwn(names, key) ? names[key] : plain(key, 40)

export function mount(view) {
  const graphs = [
    { title: t('Clients', '客户端'), lines: [{ name: 'clients' }], format: count, now: () => [gauge('clients')] },
    { title: t('Messages / s', '消息/秒'), lines: [{ name: 'published', counter: true }], format: rate, now: () => [perSecond('published')] },
    { title: t('Deliveries / s', '投递/秒'), lines: [{ name: 'delivered', counter: true }], format: rate, now: () => [perSecond('delivered')] },
    {
      title: t('Logins · losses / s', '登录 · 断线/秒'), format: rate,
      lines: [{ name: 'logins', counter: true, text: t('logins', '登录') }, { name: 'losses', counter: true, text: t('losses', '断线') }], now: () => [perSecond('logins'), perSecond('losses')]
    },
    { title: t('Loop turn, p99', '事件循环单轮 p99'), lines: [{ name: 'turn_p99' }], format: bound, least: 1000, now: () => [gauge('turn_p99')] },
    { title: t('Delivery, p99', '投递延迟 p99'), lines: [{ name: 'delivery_p99' }], format: bound, least: 1000, now: () => [gauge('delivery_p99')] },
    { title: t('CPU', 'CPU'), lines: [{ name: 'cpu', counter: true }], scale: 1e-4, format: percent, least: 5, now: () => [perSecond('cpu') * 1e-4] },
    { title: t('Memory', '内存'), lines: [{ name: 'memory' }], format: bytes, least: 1 << 20, now: () => [gauge('memory')] }
  ].map(options => ({ ...graph(options), values: options.now }))

  const facts = [
    [t('Sessions', '会话'), () => count(gauge('sessions'))],
    [t('Rooms', '房间'), () => count(gauge('rooms'))],
    [t('Connections', '连接'), () => count(gauge('connections'))],
    [t('Expected back', '等待重连'), () => count(gauge('away'))],
    [t('From clients / s', '客户端消息/秒'), () => rate(perSecond('client_messages'))],
    [t('Events / s', '事件/秒'), () => rate(perSecond('emitted'))],
    [t('Logins refused / s', '拒绝登录/秒'), () => rate(perSecond('logins_refused'))],
    [t('Longest turn', '最长单轮'), () => micros(gauge('turn_max'))]
  ].map(([name, value]) => {
    const number = el('dd', { class: 'num' }, '–')
    return { node: el('div', null, el('dt', null, name), number), update: () => say(number, value()) }
  })

  // The usual questions.
  const slow = el('b', { class: 'num' }, '–'), slowMore = el('span', { class: 'dim' })
  const source = sourceField(anyOf({}), true), userid = text('', { id: 'overview-user', enterkeyhint: 'go' })
  const questions = el('section', { class: 'questions', 'aria-label': t('Find the cause', '查找原因') },
    el('form', { class: 'card', onsubmit: event => { event.preventDefault(); view.go('why', { source: source.value(), userid: userid.value.trim() }) } },
      el('h2', null, t('Does a user miss messages?', '某个用户收不到消息？')),
      el('div', { class: 'row' }, source.node, field(t('User id', '用户 id'), userid, 'grow'), el('button', { type: 'submit', class: 'main' }, t('Why?', '查原因')))),
    el('div', { class: 'card' }, el('h2', null, t('Which client is slow?', '哪个客户端慢？')),
      el('p', { class: 'figure' }, slow, ' ', slowMore), link('sessions', { order: 'unsent' }, t('Clients with unsent bytes', '有待发送数据的客户端'))),
    el('div', { class: 'card' }, el('h2', null, t('Which room is busiest?', '哪个房间最忙？')),
      el('p', { class: 'dim' }, t('Messages and deliveries of the last 5 minutes.', '最近 5 分钟的消息与投递。')), link('rooms', { order: 'messages' }, t('Busiest rooms', '最忙的房间'))),
    el('div', { class: 'card' }, el('h2', null, t('Which pages use old clients?', '哪些页面仍用旧客户端？')),
      el('p', { class: 'dim' }, t('Pages by protocol, Socket.IO 1.x and 2.x first.', '按协议列出页面，先列 Socket.IO 1.x 和 2.x。')), link('clients', { protocol: 'engine.io 3' }, t('Client generations', '客户端版本'))))

  // Parts.
  const parts = [['message_log', t('Message log (disk)', '消息日志（磁盘）')], ['hooks', t('Hooks (backend)', '回调（后台）')], ['redis', 'Redis']].map(([key, name]) => {
    const state = el('dd', null, '–')
    let before = ''
    return {
      node: el('div', null, el('dt', null, name), state),
      update(found) {
        const part = Object.hasOwn(found || {}, key) ? found[key] : { state: 'off' }, now = JSON.stringify(part)
        if (now === before) return
        before = now
        const words = part.state === 'ok' ? t('ok', '正常') : part.state === 'failing' ? t('failing', '故障') : t('off', '未启用')
        set(state, el('span', { class: 'badge ' + (part.state === 'ok' ? 'ok' : part.state === 'failing' ? 'bad' : 'off') }, words),
          part.error && el('span', { class: 'error' }, shown(part.error, 160)),
          part.breakers_open > 0 && el('span', { class: 'error' }, t(`${count(part.breakers_open)} circuit ${part.breakers_open === 1 ? 'breaker' : 'breakers'} open`, `${count(part.breakers_open)} 个熔断器已打开`)))
      }
    }
  })
  const alert = el('div', { role: 'status', class: 'alerts' })
  const memory = bar(t('Memory', '内存')), kinds = el('div', { class: 'place' }), ends = el('div', { class: 'place' }), nodes = el('div', { class: 'place' })
  const counters = el('dl', { class: 'ranking' }), about = el('p', { class: 'dim about' })
  const totals = [
    ['fell_behind', t('Slow clients, fed later from history', '慢客户端，稍后由历史补发')], ['slow_consumers', t('Slow clients, closed', '慢客户端，已断开')],
    ['notifies_refused', t('Notifications refused', '被拒绝的通知')], ['logins_refused', t('Logins refused', '被拒绝的登录')],
    ['hook_failures', t('Calls to the backend that failed', '失败的后台调用')], ['message_log_lost', t('Lines of the message log lost', '丢失的消息日志行')]
  ].map(([key, name]) => {
    const number = el('dd', { class: 'num' }, '–')
    counters.append(el('div', null, el('dt', null, name), number))
    return () => say(number, count(gauge(key)))
  })

  put(view.root, [
    el('h1', { tabindex: '-1' }, title()), alert, questions,
    el('section', { class: 'graphs', 'aria-label': t('The last 15 minutes', '最近 15 分钟') }, graphs.map(one => one.node)),
    el('dl', { class: 'facts card' }, facts.map(one => one.node)),
    el('div', { class: 'columns' },
      el('section', { class: 'card' }, el('h2', null, t('Parts', '组件')), el('dl', { class: 'parts' }, parts.map(part => part.node)), el('h2', { class: 'next' }, t('Other relays', '其他节点')), nodes),
      el('section', { class: 'card' }, el('h2', null, t('Memory', '内存')), memory.node, kinds),
      el('section', { class: 'card' }, el('h2', null, t('Why sessions ended', '会话结束原因')), ends),
      el('section', { class: 'card' }, el('h2', null, t('Since the start', '启动以来')), counters)),
    el('section', { class: 'card' }, el('h2', null, t('All clients', '全部客户端')), about, buttons({}))
  ])

  function sample(line) {
    for (const one of graphs) one.now(...one.values())
    for (const one of facts) one.update()
    if (line.parts) for (const part of parts) part.update(line.parts)
    for (const update of totals) update()
    const { clients = 0, bytes: unsent = 0 } = line.unsent || {}
    if (line.unsent) say(slow, count(clients))
    if (line.unsent) say(slowMore, !clients ? t('clients have unsent bytes', '个客户端有待发送数据') : t(`${clients === 1 ? 'client has' : 'clients have'} unsent bytes: ${bytes(unsent)}`, `个客户端有待发送数据：${bytes(unsent)}`))
    const [used, limit] = [gauge('memory'), gauge('memory_limit')]
    memory.show(limit ? used / limit : 0, limit ? t(`${bytes(used)} of ${bytes(limit)}`, `${bytes(used)}，上限 ${bytes(limit)}`) : bytes(used))
    const failing = Object.entries(line.parts || {}).filter(([, part]) => part?.state === 'failing').map(([key]) => named(KINDS(), key))
    const words = [failing.length && t(`Failing: ${failing.join(', ')}.`, `故障：${failing.join('、')}。`), limit && used > limit * 0.9 && t('Memory is almost at its limit.', '内存即将达到上限。')].filter(Boolean).join(' ')
    say(alert, words)
    alert.hidden = words === ''
  }
  let shownLists = ''
  function lists(line) {
    if (!line.memory) return
    const now = JSON.stringify([line.memory, line.closes, line.nodes, redisFails()])
    if (now === shownLists) return
    shownLists = now
    const rows = object => Object.entries(object || {}).map(([key, value]) => [key, Number(value) || 0]).filter(([, value]) => value > 0).sort((a, b) => b[1] - a[1]).slice(0, 14)
    ranking(kinds, rows(line.memory).map(([key, value]) => [named(KINDS(), key), bytes(value)]), t('Nothing is queued or kept.', '没有排队或保存的数据。'))
    ranking(ends, rows(line.closes).map(([key, value]) => [named(REASONS(), key), count(value)]), t('No session has ended yet.', '还没有会话结束。'))
    const others = (line.nodes || []).slice(0, 20)
    set(nodes, others.length
      ? el('ul', { class: 'nodes' }, others.map(({ node, info }) => el('li', null, shown(node, 30), ' ', el('span', { class: 'dim' }, shown(info?.server_ip ?? '', 50)),
        el('div', { class: 'dim' }, [typeof info?.sessions === 'number' ? t(some(info.sessions, 'session'), `${count(info.sessions)} 个会话`) : null, typeof info?.rooms === 'number' ? t(some(info.rooms, 'room'), `${count(info.rooms)} 个房间`) : null,
          typeof info?.uptime === 'number' ? t(`running for ${span(info.uptime)}`, `已运行 ${span(info.uptime)}`) : null].filter(Boolean).join(' · '), ' ', shown(info?.version ?? '', 20)))))
      : el('p', { class: 'dim' }, redisFails() ? t('Not known: Redis is failing.', '未知：Redis 故障。') : t('None: this relay is alone.', '无：仅此一个节点。')))
  }
  function greet() {
    const { version, node, server_ip, started } = live.hello
    set(about, `relay ${plain(version, 30)} · ${t('node', '节点')} ${plain(node, 20)} · ${plain(server_ip, 50)} · ${t('running for', '已运行')} ${span(Date.now() / 1000 - live.hello.ahead - started)}`)
  }
  let drawn = 0
  function ring() {
    drawn = Date.now()
    for (const one of graphs) one.draw()
    if (live.hello) greet()
    if (live.last) sample(live.last)
  }
  let counted = 0
  view.on('sample', () => {
    sample(live.last)
    // Lists of names move only every few seconds, so that they can be read.
    if (counted++ % 3 === 0) lists(live.last)
    // While nothing changes, relay keeps no sample, but time goes on.
    if (Date.now() - drawn > 6000) ring()
  })
  view.on('ring', ring)
  alert.hidden = true
  ring()
  if (live.last) lists(live.last)
}
