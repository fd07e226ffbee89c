/* Shared by the demo pages: the bar at the top, the choice of language, the state of the connection, and helpers.
   For browsers since 2018. */
var Demo = (function () {
  'use strict';
  // The public keys of the built-in demo setting. A real page gets its signature from its backend and never sees a key.
  var KEYS = { demo: 'try4dfs%#fs!#$2334ds(%B)', remote_debug: '5iwdf$%sdfss!#$2334ds(%B)' };
  var PAGES = [['two', 'Two people', '双人聊天'], ['chat', 'Chat', '群聊'], ['history', 'History', '历史'], ['prices', 'Prices', '价格'],
    ['six', 'Six clients', '六种客户端'], ['message', 'Rooms', '房间'], ['monitor', 'Windows', '窗口'], ['remote_debug', 'Debugged page', '被调试页'], ['remote_debug_show', 'Viewer', '调试台']];
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

  var BROKEN = {
    'this source can not be configured!': [
      'This relay has no source “%”, so this demo cannot connect. It works with the demo configuration: start relay without a configuration file.',
      '该 relay 没有名为“%”的源，因此本演示无法连接。请不带配置文件启动 relay，使用内置的演示配置。'],
    'sign verify failed!': [
      'This relay has a source “%” with a key or a signature scheme of its own, so this demo, which knows only the public demo key, cannot connect.',
      '该 relay 的源“%”使用自己的密钥或签名方式，而本演示只有公开的演示密钥，因此无法连接。'],
    'this origin is not allowed': [
      'This relay does not allow pages of ' + location.origin + ': add it to “origins” in its configuration.',
      '该 relay 不允许来自 ' + location.origin + ' 的页面：请把它加入配置中的 origins。']
  };
  /** Says why relay refuses the demo's login to a source, or (no source) a login from the page's address. */
  function refused(source, why) {
    var known = source && BROKEN.hasOwnProperty(why) && BROKEN[why];
    if (known) warn(known[0].replace('%', source), known[1].replace('%', source)); else warn('The relay says:', 'relay 说：', String(why));
    if (chip.firstChild) state('off', 'refused', '被拒绝');
  }
  function plain(source, rooms) {
    return '//' + location.host + location.pathname.replace(/demo\/[^\/]*$/, '') + 'ws?source=' + enc(source) + '&room_ids=' + enc(rooms) +
      '&sign=' + md5(source + rooms + KEYS[source]);
  }
  /** Asks why a WebSocket did not open, because browsers hide that from a page, and shows it. If relay would not refuse it,
      calls done(whether relay answers) instead. */
  function why(source, rooms, done) {
    // To the page's own host a browser sends the origin only with a POST.
    fetch(location.protocol + plain(source, rooms), { method: 'POST' }).then(function (answer) { return answer.json(); }).then(function (answer) {
      if (/WebSocket endpoint|not found/.test(answer.msg)) done(true); else refused(source, answer.msg);
    }).then(null, function () { done(false); });
  }
  /** Says at once if the demo cannot log in here; else calls done(), if given. */
  function check(source, rooms, done) {
    var socket = new WebSocket(location.protocol.replace('http', 'ws') + plain(source, rooms));
    socket.onopen = function () {
      socket.onclose = null;
      socket.close();
      if (done) done();
    };
    socket.onclose = function () { why(source, rooms, function () {}); };
  }

  /** The login in the page's address: `source`, `room_ids` and what `relay sign connect` prints. Null if there is none. */
  function own() {
    var rooms = param('room_ids', 5000);
    return query.get('source') && query.get('sign') && rooms ? { rooms: rooms, query: location.search } : null;
  }
  /** Connects with XIN_NODE. `login` has source, rooms, userid, username, more (query), url, sign, and the callbacks message,
      recovery, connected, lost and error; or the whole query, see own(). */
  function connect(login) {
    var source = login.source || 'demo', rooms = clean(login.rooms), been = false, id = Math.random().toString(36).slice(2, 8), url, more = '', k;
    for (k in login.more) more += '&' + k + '=' + enc(login.more[k]);
    url = login.query ? location.origin + login.query : (login.url || location.origin) + '?source=' + enc(source) + '&room_ids=' + enc(rooms) + '&sign=' +
      (login.sign || md5(source + rooms + KEYS[source])) + '&userid=' + enc(login.userid || id) + '&username=' + enc(login.username || id) + more;
    state('', 'connecting…', '连接中…');
    XIN_NODE.init(url, {
      receive_message_callback: function (message) { login.message(message); },
      connected_callback: function (socket) {
        been = true;
        warn();
        state('on', 'connected', '已连接');
        if (login.connected) login.connected(socket);
      },
      disconnected_callback: function (why) {
        if (why === 'io server disconnect') ended('The relay ended this session.', 'relay 结束了此会话。');
        else state('', 'reconnecting…', '重连中…');
        if (login.lost) login.lost(why);
      },
      recovery_callback: login.recovery,
      sys_error_callback: function (why) {
        if (XIN_NODE.connected()) warn('The relay says:', 'relay 说：', String(why)); else refused(login.query ? '' : source, why);
        if (login.error) login.error(why);
      },
      connect_error_callback: function (error) {
        if (error.reason !== 'refused' && !been) warn('Cannot connect, still trying.', '无法连接，仍在重试。', error.message);
      }
    });
    function ended(en, zh) {
      state('off', 'not connected', '未连接');
      var again = both(el(warn(en, zh), 'button'), 'Try again', '重试');
      again.onclick = function () { XIN_NODE.close(); connect(login); };
    }
    return login;
  }
  /** The query of a login of the source `demo`. */
  function loginQuery(rooms) { return 'source=demo&room_ids=' + enc(rooms) + '&sign=' + md5('demo' + rooms + KEYS.demo); }
  /** Posts as a backend does: with a token instead of a signature. This one is public, and works only for the demo's source.
      Shows why relay refuses, if it does, and calls done(whether it accepted), if given. */
  function post(path, type, body, done) {
    fetch('../api/' + path, { method: 'POST', headers: { Authorization: 'Bearer demo', 'Content-Type': type }, body: body })
      .then(function (answer) { return answer.json(); })
      .then(function (answer) {
        if (+answer.code !== 1) warn('The relay says:', 'relay 说：', answer.msg);
        if (done) done(+answer.code === 1);
      }).then(null, function () {
        warn('The relay cannot be reached: nothing was sent.', '无法访问 relay：没有发送。');
        if (done) done(false);
      });
  }
  /** A word of a shell command: quoted if it must be. */
  function word(text) { return /^[\w.=:\/-]+$/.test(text) ? text : "'" + text.replace(/'/g, "'\\''") + "'"; }
  function field(name, value) { return (/^[\w.-]*$/.test(value) ? ' -d ' : ' --data-urlencode ') + word(name + '=' + clean(value)); }
  /** The address of a path below relay's own. */
  function address(path) { return location.origin + location.pathname.replace(/demo\/[^\/]*$/, '') + path; }
  /** The command that posts a message to a room. */
  function curl(room, data) {
    return "curl -H 'Authorization: Bearer demo' -d source=demo" + field('room_id', room) + field('data', data) + ' ' + word(address('api/notify'));
  }
  /** Makes a button that copies what an element shows. */
  function copier(button, from) {
    both(button, 'Copy', '复制');
    button.onclick = function () {
      copy(from.textContent, function (ok) {
        if (ok) both(button, 'Copied', '已复制'); else both(button, 'Select it', '请手动复制');
        setTimeout(both, 1800, button, 'Copy', '复制');
      });
    };
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
  return { el: el, both: both, clean: clean, enc: enc, param: param, lang: lang, state: state, warn: warn, why: why, check: check, own: own, connect: connect, query: loginQuery, post: post,
    address: address, word: word, curl: curl, copier: copier, sign: sign, text: text,
    clock: clock, near: near, append: append, hue: hue, id: byId, composing: composing, copy: copy };
}());
