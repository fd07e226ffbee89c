/* Shared by the demo pages: the bar at the top, the choice of language, the state of the connection, and helpers.
   For browsers since 2018. */
var Demo = (function () {
  'use strict';
  // The public keys of the built-in demo setting. A real page gets its signature from its backend and never sees a key.
  var KEYS = { demo: 'try4dfs%#fs!#$2334ds(%B)', remote_debug: '5iwdf$%sdfss!#$2334ds(%B)' };
  var PAGES = [['two', 'Two people', '双人聊天'], ['chat', 'Chat', '群聊'], ['message', 'Rooms', '房间'], ['monitor', 'Windows', '窗口'],
    ['remote_debug', 'Debugged page', '被调试页'], ['remote_debug_show', 'Viewer', '调试台']];
  var root = document.documentElement, query = new URLSearchParams(location.search), chip, banner, bar;

  // Replaces lone surrogates, which UTF-8 and JSON cannot carry.
  function clean(text) {
    return String(text).replace(/[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]/g, function (c) { return c.length > 1 ? c : '\ufffd'; });
  }
  function enc(text) { return encodeURIComponent(clean(text)); }
  function param(name, max, otherwise) {
    return clean((query.get(name) || '').slice(0, max || 64)).trim() || otherwise || '';
  }
  // Text of others is inserted as text, never as HTML.
  function el(parent, tag, cls, text) {
    var e = document.createElement(tag);
    if (cls) e.className = cls;
    if (text !== undefined) e.textContent = text;
    return parent ? parent.appendChild(e) : e;
  }
  // Inserts both languages; the style sheet hides one.
  function both(parent, en, zh) {
    parent.textContent = '';
    el(parent, 'span', '', en).lang = 'en';
    el(parent, 'span', '', zh).lang = 'zh';
    return parent;
  }
  function lang() { return root.className === 'zh' ? 'zh' : 'en'; }
  function setLang(to, keep) {
    root.className = to;
    root.lang = to === 'zh' ? 'zh-CN' : 'en';
    if (keep) try { localStorage.setItem('relay-demo lang', to); } catch (e) { /* no storage */ }
    // An attribute has both languages in one value: data-t-placeholder="English|中文".
    ['placeholder', 'aria-label', 'title', 'label', 'data-empty'].forEach(function (name) {
      var key = 'data-t-' + name;
      [].forEach.call(document.querySelectorAll('[' + key + ']'), function (e) {
        e.setAttribute(name, e.getAttribute(key).split('|')[to === 'zh' ? 1 : 0]);
      });
    });
  }
  function kept() { try { return localStorage.getItem('relay-demo lang'); } catch (e) { return null; } }
  setLang(kept() || (/^zh/i.test(navigator.language) ? 'zh' : 'en'));

  function header() {
    bar = el(null, 'header', 'bar');
    var home = el(bar, 'a', 'home');
    home.href = '../demo/';
    both(home, 'relay demo', 'relay 演示');
    var nav = el(bar, 'nav');
    nav.setAttribute('data-t-aria-label', 'Demo pages|演示页面');
    var here = location.pathname.replace(/\/+$/, '');
    PAGES.forEach(function (page) {
      var a = both(el(nav, 'a'), page[1], page[2]);
      a.href = '../demo/' + page[0] + '.html';
      if (here.slice(-page[0].length - 6) === '/' + page[0] + '.html') {
        a.setAttribute('aria-current', 'page');
        setTimeout(function () { nav.scrollLeft = a.offsetLeft - nav.offsetLeft - 60; }, 0);
      }
    });
    chip = el(bar, 'span', 'state');
    chip.setAttribute('role', 'status');
    var other = el(bar, 'button');
    other.type = 'button';
    both(other, '', '');
    el(other.firstChild, 'span', '', '中文').lang = 'zh-CN';
    el(other.lastChild, 'span', '', 'English').lang = 'en-US';
    other.onclick = function () { setLang(lang() === 'zh' ? 'en' : 'zh', true); };
    document.body.insertBefore(bar, document.body.firstChild);
    setLang(lang());
  }

  function state(cls, en, zh) {
    chip.className = 'state ' + cls;
    both(chip, en, zh);
  }
  /** Shows a warning below the bar, or removes it. */
  function warn(en, zh, detail) {
    if (banner) banner.parentNode.removeChild(banner);
    banner = null;
    if (!en) return;
    banner = el(null, 'div', 'banner');
    banner.setAttribute('role', 'alert');
    both(el(banner, 'span'), en, zh);
    if (detail) el(banner, 'span', '', ' ' + detail);
    bar.parentNode.insertBefore(banner, bar.nextSibling);
    return banner;
  }

  /** Connects with XIN_NODE. `login` has source, rooms, userid, username, more (query), url, sign, and callbacks. */
  function connect(login) {
    var source = login.source || 'demo', rooms = clean(login.rooms), id = Math.random().toString(36).slice(2, 8), url, more = '', k;
    for (k in login.more) more += '&' + k + '=' + enc(login.more[k]);
    url = (login.url || location.origin) + '?source=' + enc(source) + '&room_ids=' + enc(rooms) + '&sign=' +
      (login.sign || md5(source + rooms + KEYS[source])) + '&userid=' + enc(login.userid || id) + '&username=' + enc(login.username || id) + more;
    state('', 'connecting…', '连接中…');
    XIN_NODE.init(url, {
      max_attemptNumber: 1000,
      receive_message_callback: function (message) { login.message(message); },
      connected_callback: function (socket) {
        warn();
        state('on', 'connected', '已连接');
        if (login.connected) login.connected(socket);
      },
      disconnected_callback: function (why) {
        if (why === 'io server disconnect') ended('The relay ended this session.', 'relay 结束了此会话。');
        else state('', 'reconnecting…', '重连中…');
      },
      sys_error_callback: function (why) {
        warn('The relay says:', 'relay 说：', String(why));
        if (login.error) login.error(why);
        setTimeout(function () { if (!XIN_NODE.connected()) state('off', 'refused or unreachable', '被拒绝或无法访问'); }, 0);
      },
      reconnect_attempt_failed_callback: function () { ended('The relay does not answer.', 'relay 没有应答。'); }
    });
    function ended(en, zh) {
      state('off', 'not connected', '未连接');
      var again = both(el(warn(en, zh), 'button'), 'Try again', '重试');
      again.onclick = function () { XIN_NODE.close(); connect(login); };
    }
    return login;
  }
  /** The md5 signature of a notification. */
  function sign(source, room, data) { return md5(source + room + data + KEYS[source]); }

  /** Any value as text. */
  function text(value) {
    if (typeof value === 'string') return value;
    try { return JSON.stringify(value); } catch (e) { return String(value); }
  }
  function clock(at) { return new Date(at || Date.now()).toTimeString().slice(0, 8); }
  function near(list) { return list.scrollHeight - list.scrollTop - list.clientHeight < 60; }
  /** Appends to a list of at most `max` entries, and keeps it scrolled to its end. */
  function append(list, entry, max) {
    var stay = near(list);
    list.appendChild(entry);
    while (list.childNodes.length > max) list.removeChild(list.firstChild);
    if (stay) list.scrollTop = list.scrollHeight;
    return entry;
  }
  function hue(name) {
    for (var h = 7, i = 0; i < name.length; i++) h = (h * 31 + name.charCodeAt(i)) % 360;
    return h;
  }
  function byId(id) { return document.getElementById(id); }
  // Enter that ends a composition of an input method does not send.
  function composing(e) { return e.isComposing || e.keyCode === 229; }
  /** Copies text, also over plain http, which has no clipboard API. Calls done(ok). */
  function copy(value, done) {
    function old() {
      var area = el(document.body, 'textarea'), ok = false;
      area.value = value;
      area.select();
      try { ok = document.execCommand('copy'); } catch (e) { /* not allowed */ }
      document.body.removeChild(area);
      done(ok);
    }
    if (navigator.clipboard) navigator.clipboard.writeText(value).then(function () { done(true); }, old); else old();
  }

  header(); // the script is the first element of the body
  document.addEventListener('DOMContentLoaded', function () { setLang(lang()); });
  return { el: el, both: both, clean: clean, enc: enc, param: param, lang: lang, state: state, warn: warn, connect: connect, sign: sign, text: text,
    clock: clock, near: near, append: append, hue: hue, id: byId, composing: composing, copy: copy };
}());
