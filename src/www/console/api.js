// Requests to relay. The token is in this tab's session storage, and in the header `Authorization`; nowhere else.

const BASE = new URL('../', location.href.split('#')[0])
// Another path of the site can belong to another relay.
const KEY = `relay-console token ${BASE.pathname}`

/** Why a request has no answer. `status` 0: relay has not answered; then `proxy` is the status if a proxy has. `wait`: seconds to wait. */
export class Refused extends Error {
  constructor(status, msg, wait = 0, proxy = 0) {
    super(msg)
    Object.assign(this, { status, wait, proxy })
  }
}

let token = stored()
// Functions that are called when relay does not accept the token any more.
const losers = new Set()

function stored() {
  try { return sessionStorage.getItem(KEY) || '' } catch { return '' }
}
export const signedIn = () => token !== ''
/** Keeps a token for this tab. */
export function signIn(value) {
  token = value
  try { sessionStorage.setItem(KEY, value) } catch { /* kept in memory only */ }
}
export function signOut() {
  token = ''
  try { sessionStorage.removeItem(KEY) } catch { /* no storage */ }
}
export const onTokenLost = call => losers.add(call)

/** The answer to a request, whose status is below 400. `body` makes it a POST of JSON. */
export async function ask(path, { query = {}, body, signal, as = token } = {}) {
  const url = new URL(path, BASE)
  for (const [name, value] of Object.entries(query)) if (value !== undefined && value !== null && value !== '') url.searchParams.set(name, value)
  const headers = { Authorization: 'Bearer ' + encoded(as) }
  if (body !== undefined) headers['Content-Type'] = 'application/json'
  let answer
  try {
    answer = await fetch(url, {
      method: body === undefined ? 'GET' : 'POST', headers, body, signal,
      // A proxy may ask for a cookie or a certificate. relay does not.
      credentials: 'same-origin', cache: 'no-store', referrerPolicy: 'no-referrer', redirect: 'manual'
    })
  } catch (error) {
    throw error.name === 'AbortError' ? error : new Refused(0, '')
  }
  if (answer.ok) return answer
  if (answer.type === 'opaqueredirect') throw new Refused(0, '', 0, 302)
  const { msg, proxy } = await refusal(answer), wait = Math.min(3600, Number(answer.headers.get('Retry-After')) || 0)
  if (proxy) throw new Refused(0, '', wait, answer.status)
  if (answer.status === 401 && token !== '' && as === token) {
    signOut()
    for (const call of losers) call()
  }
  throw new Refused(answer.status, msg.slice(0, 500), wait)
}
/** What relay says in a refusal, or that it is not relay's. */
async function refusal(answer) {
  try {
    const { msg } = await answer.json()
    if (typeof msg === 'string') return { msg, proxy: false }
  } catch { /* not JSON */ }
  // A proxy can have pages of its own for relay's refusals.
  return { msg: '', proxy: answer.status !== 401 || !/^Bearer\b/i.test(answer.headers.get('WWW-Authenticate') || '') }
}
// A header can carry bytes only.
function encoded(text) {
  return Array.from(new TextEncoder().encode(text), byte => String.fromCharCode(byte)).join('')
}
/** The answer as JSON. */
export async function get(path, query, signal, as) {
  const answer = await ask(path, { query, signal, as })
  try {
    return await answer.json()
  } catch (error) {
    throw error.name === 'AbortError' ? error : new Refused(0, '')
  }
}
/** Posts JSON text; the answer's `data`. A refusal with status 200 is thrown, too. */
export async function post(path, body) {
  const answer = await (await ask(path, { body })).json().catch(() => ({ msg: '' }))
  if (Number(answer.code) !== 1) throw new Refused(200, String(answer.msg ?? '').slice(0, 500))
  return answer.data
}
