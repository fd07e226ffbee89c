// The frame of the console: login, navigation, the state of the connection. Each view is a module.

import * as overview from './overview.js'
import * as session from './session.js'
import * as why from './why.js'
import { Refused, get, onTokenLost, signIn, signOut, signedIn } from './api.js'
import { reason } from './actions.js'
import { forget, live, now, on, want } from './live.js'
import { ordered, sources } from './parts.js'
import { log, tail } from './streams.js'
import { clients, rooms, sessions, sourcesView, users } from './tables.js'
import { el, hash, lang, link, plain, put, say, set, setLang, t } from './text.js'

/** The views of the navigation, in its order; a phone shows the first four and the rest on request. */
const VIEWS = [
  ['overview', overview, () => t('Overview', '概览')], ['sessions', sessions, () => t('Sessions', '会话')], ['rooms', rooms, () => t('Rooms', '房间')],
  ['why', why, () => t('Why', '查原因')], ['clients', clients, () => t('Client generations', '客户端版本')], ['users', users, () => t('Users', '用户')],
  ['sources', sourcesView, () => t('Sources', '源')], ['tail', tail, () => t('Tail', '实时消息')], ['log', log, () => t('Log', '日志')]
]
const FIRST = 4
const HIDDEN = new Map([['session', session]])
const byName = name => HIDDEN.get(name) || VIEWS.find(([known]) => known === name)?.[1]

let open = null, header = null, shownHash = null, booting = false, notice = 0

// Views.

function place() {
  const [name, query = ''] = location.hash.slice(1).split('?', 2), params = Object.create(null)
  for (const [key, value] of new URLSearchParams(query)) if (!(key in params)) params[key] = value
  const secret = history.state?.socket_id
  if (typeof secret === 'string') params.socket_id = secret
  return { name: byName(name) ? name : 'overview', params }
}
/** Goes to a view. `secret` is kept in the history of the tab, not in the address. */
function go(name, params, secret = null) {
  history.pushState(secret, '', hash(name, params))
  show(true)
}
/** Shows the view of the address. `focus`: the reader goes to its heading. */
function show(focus) {
  if (!signedIn()) return login()
  booting = false
  open?.abort()
  open = new AbortController()
  document.querySelectorAll('dialog[open]').forEach(dialog => dialog.close())
  const { name, params } = place(), { signal } = open, module = byName(name)
  shownHash = location.hash
  if (params.source) sources.last = params.source
  frame(name)
  const main = document.querySelector('main')
  set(main)
  document.title = `${module.title()} · relay`
  const view = {
    root: main, params, signal, go,
    /** Has the address say these parameters, without a new entry in the history. `secret`: as in `go`. */
    address(more, secret = null) {
      history.replaceState(secret, '', hash(name, more))
      shownHash = location.hash
    },
    on: (type, call) => on(type, call, signal),
    get: (path, query) => get(path, query, signal),
    every(period, call) {
      const timer = setInterval(() => { if (!document.hidden && live.state === 'on' && !document.querySelector('dialog[open]')) call() }, period)
      signal.addEventListener('abort', () => clearInterval(timer))
    }
  }
  module.mount(view)
  want(module.wants?.(params) || {})
  if (focus) {
    scrollTo(0, 0)
    main.querySelector('h1')?.focus({ preventScroll: true })
  }
}

// The header and the navigation.

function languageButton() {
  return el('button', { type: 'button', class: 'language', lang: lang === 'zh' ? 'en' : 'zh-CN', onclick: () => {
    setLang(lang === 'zh' ? 'en' : 'zh', true)
    header = null
    set(document.body)
    if (signedIn()) show(); else login()
    document.querySelector('.language').focus()
  } }, lang === 'zh' ? 'English' : '中文')
}
function frame(current) {
  if (!header) {
    const chip = el('span', { class: 'state', role: 'status' }), banner = el('div', { class: 'banner', role: 'status', hidden: true })
    const rest = el('ul', { class: 'rest', id: 'rest' }), first = el('ul')
    const more = el('button', { type: 'button', class: 'more', 'aria-expanded': 'false', 'aria-controls': 'rest', onclick: () => fold(more.getAttribute('aria-expanded') === 'true') }, t('More', '更多'))
    const fold = closed => {
      more.setAttribute('aria-expanded', String(!closed))
      rest.classList.toggle('open', !closed)
    }
    const links = new Map(VIEWS.map(([name, , words], index) => {
      const a = link(name, {}, words())
      put(index < FIRST ? first : rest, [el('li', null, a)])
      return [name, a]
    }))
    const nav = el('nav', { 'aria-label': t('Views', '视图'), onkeydown: event => {
      if (event.key !== 'Escape' || more.getAttribute('aria-expanded') !== 'true') return
      fold(true)
      more.focus()
    } }, first, more, rest)
    const out = el('button', { type: 'button', class: 'out', onclick: () => { leave(); login() } }, t('Sign out', '退出'))
    const home = link('overview', {}, el('b', null, t('relay console', 'relay 控制台')))
    home.className = 'home'
    set(document.body, el('header', null, home, chip, el('span', { class: 'grow' }), languageButton(), out), nav, banner, el('main'))
    header = { chip, banner, links, fold, more }
    connection()
  }
  for (const [name, a] of header.links) {
    if (name === current) a.setAttribute('aria-current', 'page'); else a.removeAttribute('aria-current')
  }
  header.more.classList.toggle('inside', VIEWS.findIndex(([name]) => name === current) >= FIRST)
  header.fold(true)
}
/** Shows the state of the live stream. */
function connection() {
  if (!header) return
  const { chip, banner } = header, { state, until, reason: why } = live
  const left = Math.max(1, Math.ceil((until - Date.now()) / 1000))
  const words = { on: t('live', '实时'), connecting: t('connecting…', '连接中…'), waiting: t('not connected', '未连接'), paused: t('paused', '已暂停') }
  chip.className = 'state ' + (state === 'on' ? 'on' : state === 'waiting' ? 'off' : '')
  const node = state === 'on' && live.hello ? ` · ${plain(live.hello.server_ip || live.hello.node, 40)}` : ''
  if (chip.textContent !== (words[state] || '') + node) set(chip, words[state] || '', node && el('span', { class: 'where' }, node))
  if (state === 'waiting') {
    banner.hidden = false
    const text = why ? reason(why) : t('relay is not reachable, trying again.', '无法访问 relay，正在重试。')
    if (banner.dataset.text !== text) {
      banner.dataset.text = text
      set(banner, el('span', null, text), ' ', el('span', { class: 'left', 'aria-hidden': 'true' }), ' ', el('button', { type: 'button', class: 'small', onclick: () => now() }, t('Now', '立即重试')))
    }
    say(banner.querySelector('.left'), t(`(in ${left} s)`, `（${left} 秒后）`))
  } else if (Date.now() > notice && (state === 'on' || state === 'paused')) {
    banner.hidden = true
    delete banner.dataset.text
    set(banner)
  }
}
on('state', connection)
setInterval(() => { if (live.state === 'waiting') connection() }, 1000)
on('resumed', () => {
  if (!header) return
  notice = Date.now() + 5000
  header.banner.hidden = false
  set(header.banner, t('The numbers were paused, because this tab was hidden. They go on now.', '此标签页曾被隐藏，数字已暂停，现在继续。'))
  setTimeout(connection, 6000)
})
on('hello', hello => {
  if (Array.isArray(hello.sources)) learn(hello.sources.map(String))
})
/** Has the sources in the order of their sessions; in that of `names` if relay does not say. */
async function learn(names) {
  const found = await get('api/stats').catch(() => null)
  if (!signedIn()) return
  if (found) know(ordered(found.sources))
  else if (names) know(names)
}
/** The names of the sources, which forms list: a view that was made without them is made again. */
function know(names) {
  const before = [...sources.names].sort().join()
  sources.names = names
  if (booting || (before !== [...names].sort().join() && !document.querySelector('main :focus:not(h1)'))) show()
}
/** Begins with a token that is known. What views need is known when the stream begins, or by a request if there are too many
    streams. */
function boot() {
  const { name, params } = place()
  booting = true
  frame(name)
  set(document.querySelector('main'), el('p', { class: 'dim' }, t('Connecting to relay…', '正在连接 relay…')))
  on('state', ({ state, reason: why }) => { if (booting && state === 'waiting' && why) learn() })
  want(byName(name).wants?.(params) || {})
}

// Login.

function leave() {
  signOut()
  open?.abort()
  forget()
  sources.names = []
  header = null
}
function login(words = '') {
  header = null
  const problem = el('p', { role: 'alert', class: 'problem' }, words)
  const input = el('input', { type: 'password', id: 'token', autocomplete: 'current-password', required: true, spellcheck: 'false' })
  const button = el('button', { type: 'submit', class: 'main' }, t('Sign in', '登录'))
  let timer = 0
  const form = el('form', { class: 'card login', method: 'post', onsubmit: async event => {
    event.preventDefault()
    const token = input.value
    if (!token || button.disabled) return
    clearInterval(timer)
    button.disabled = true
    set(problem)
    try {
      const stats = await get('api/stats', {}, undefined, token)
      input.value = ''
      sources.names = ordered(stats.sources)
      signIn(token)
      return show(true)
    } catch (error) {
      input.value = ''
      if (!(error instanceof Refused)) set(problem, String(error))
      else if (error.status === 401) set(problem, t('The admin token is wrong.', '管理令牌不正确。'))
      else if (error.status === 429) return locked(error.wait || 6)
      else set(problem, reason(error))
    }
    button.disabled = false
    input.focus()
  } },
  el('h1', null, t('relay console', 'relay 控制台')),
  // Password managers keep a password together with a name.
  el('input', { type: 'text', autocomplete: 'username', value: 'admin', hidden: true }),
  el('label', { for: 'token' }, t('Admin token', '管理令牌')), el('div', { class: 'row' }, input, button), problem,
  el('p', { class: 'dim' }, t('It is admin.token or the content of admin.token_file of the configuration, or else in /run/relay/admin.token or in relay\'s log. It is kept in this tab only, until you sign out or close it.',
    '即配置中的 admin.token 或 admin.token_file 的内容；未配置时见 /run/relay/admin.token 或 relay 的日志。令牌只保存在此标签页中，退出或关闭后即清除。')))
  /** Counts down, and then lets one try again. */
  function locked(seconds) {
    const end = Date.now() + seconds * 1000
    const tick = () => {
      const left = Math.ceil((end - Date.now()) / 1000)
      if (left > 0) return say(problem, t(`Too many wrong admin tokens came from this address. Try again in ${left} s.`, `此地址发送的错误令牌过多。请在 ${left} 秒后重试。`))
      clearInterval(timer)
      say(problem, t('You can try again now.', '现在可以重试。'))
      button.disabled = false
      input.focus()
    }
    timer = setInterval(tick, 1000)
    tick()
  }
  document.title = t('relay console', 'relay 控制台')
  set(document.body, el('header', null, el('span', { class: 'grow' }), languageButton()), el('main', null, form))
  input.focus()
}
onTokenLost(() => {
  leave()
  login(t('The admin token has changed. Sign in with the new one.', '管理令牌已变更，请用新令牌登录。'))
})

addEventListener('popstate', () => { if (signedIn()) show(true) })
addEventListener('hashchange', () => { if (signedIn() && location.hash !== shownHash) show(true) })

if (signedIn()) boot(); else login()
