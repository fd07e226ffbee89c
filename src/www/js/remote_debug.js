/* Remote debugging: with one script tag, the viewer (demo/remote_debug_show.html) also shows what the page logs.

   <script src="https://RELAY/js/node_im_remote_debug.js" data-url data-source data-room data-sign data-user></script>

   The served file is this source behind a private copy of node_im, which is NODE_IM below. Nothing here may throw into
   the page, or log: a line of its own would be sent, shown, and cause another one. */
(function () {
  'use strict';
  if (window.NODE_IM_REMOTE_DEBUG) return;
  var script = document.currentScript || document.querySelector('script[src*="node_im_remote_debug"]');
  var given = (script && script.dataset) || {}, file = (script && script.src) || '';
  var source = given.source || 'remote_debug', room = given.room || 'console-log';
  // Made with the public demo key, for the default source and room.
  var sign = given.sign || '5b092ffd2f7bcd3eddc9a7655600a998';
  var DEPTH = 5, KEYS = 100, BYTES = 50, TEXT = 10000, STACK = 4000, HTML = 500, RECORD = 60000; // a record's limits
  var QUEUE = 200, RATE = 50, BURST = 150;                                                      // lines, a second, at once

  function random() { return Math.random().toString(36).slice(2, 8); }
  function whoIsIt() {
    var id = given.user, key = 'node_im_remote_debug user';
    try {
      id = id || sessionStorage.getItem(key) || random();
      sessionStorage.setItem(key, id);
    } catch (e) { /* no storage: the name changes with each reload */ }
    return id || random();
  }
  var user = whoIsIt(), session = random() + random();
  window.NODE_IM_REMOTE_DEBUG = { user: user, session: session, room: room };

  // --- Any value as JSON. Values that JSON lacks become {"$": kind, …}; an object with a key "$" becomes {"$":"Object","props":…}.
  var left = 0, around = []; // bytes left for the record; the objects around the current value
  var toString = Object.prototype.toString;
  function getter(proto, name) {
    try { return Object.getOwnPropertyDescriptor(proto, name).get; } catch (e) { return null; }
  }
  // A native getter recognizes real nodes, also of other frames, without calling code of the page.
  var nodeType = getter(window.Node && Node.prototype, 'nodeType');

  // Cuts a text to `max` characters and to the rest of the record, and replaces lone surrogates, which JSON cannot carry.
  function text(s, max) {
    var i = 0, end = Math.min(s.length, max), c;
    for (; i < end && left > 0; i++) {
      c = s.charCodeAt(i);
      left -= c < 32 ? 6 : c === 34 || c === 92 ? 2 : c < 128 ? 1 : c < 2048 ? 2 : 3;
    }
    if (i && i < s.length && (s.charCodeAt(i - 1) & 0xfc00) === 0xd800) i--;
    return s.slice(0, i).replace(/[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]/g, function (c) { return c.length > 1 ? c : '\ufffd'; });
  }
  function long(s) {
    var part = text(s, TEXT);
    return part.length === s.length ? part : { $: 'String', text: part, more: s.length - part.length };
  }
  function tag(kind, value) {
    left -= 24;
    return { $: kind, value: text(String(value), 1000) };
  }
  function field(v, name, max) {
    var found;
    try { found = v[name]; } catch (e) { /* a getter that throws */ }
    return typeof found === 'string' ? text(found, max || 1000) : '';
  }
  function why(e) {
    try { return text(e && typeof e.message === 'string' ? e.message : String(e), 300); } catch (again) { return ''; }
  }

  function value(v, depth) {
    if (left <= 0) return { $: 'Cut' };
    left -= 8;
    switch (typeof v) {
      case 'string': return long(v);
      case 'boolean': return v;
      case 'number': return isFinite(v) && (v || 1 / v > 0) ? v : tag('Number', v === 0 ? '-0' : v);
      case 'undefined': return { $: 'undefined' };
      case 'bigint': return tag('BigInt', v);
      case 'symbol': return tag('Symbol', v);
      case 'function': return { $: 'Function', name: field(v, 'name', 100) };
    }
    if (v === null) return null;
    if (around.indexOf(v) >= 0) return { $: 'Circular', up: around.length - around.indexOf(v) };
    var known, kind = '';
    around.push(v);
    try {
      kind = toString.call(v).slice(8, -1);
      known = special(v, kind, depth);
    } catch (e) { /* not what its tag claims */ }
    try {
      return known || object(v, kind, depth);
    } catch (e) { // a proxy that throws or was revoked, a window of another origin
      return { $: 'Unreadable', value: why(e) };
    } finally { around.pop(); }
  }
  function member(v, key, depth) {
    var found;
    try { found = v[key]; } catch (e) { return { $: 'Thrown', value: why(e) }; }
    return value(found, depth + 1);
  }
  function items(v, length, max, depth) {
    for (var out = [], i = 0; i < length && i < max && left > 0; i++) out.push(member(v, i, depth));
    return out;
  }
  /** Copies the members into `out`. Returns how many were left out. */
  function members(v, out, depth) {
    var keys = Object.keys(v), i = 0;
    for (; i < keys.length && i < KEYS && left > 0; i++) out[text(keys[i], 200)] = member(v, keys[i], depth);
    return keys.length - i;
  }
  function object(v, kind, depth) {
    var array = Array.isArray(v), props = Object.create(null), name = '', list, more, maker; // no prototype: __proto__ is a key
    if (array) {
      if (depth >= DEPTH) return { $: 'Array', length: v.length };
      list = items(v, v.length, KEYS, depth);
      return list.length === v.length ? list : { $: 'Array', length: v.length, items: list, more: v.length - list.length };
    }
    maker = Object.getPrototypeOf(v);
    if (maker) try { maker = maker.constructor; name = maker && maker.name !== 'Object' ? field(maker, 'name', 100) || kind : ''; } catch (e) { name = kind; }
    if (depth >= DEPTH) return { $: 'Object', name: name };
    more = members(v, props, depth);
    if (!name && !more && !('$' in props)) return props;
    left -= 40;
    return { $: 'Object', name: name, props: props, more: more };
  }
  function special(v, kind, depth) {
    var type, next, list = [], e, n;
    if (nodeType) {
      try { type = nodeType.call(v); } catch (e) { /* no node */ }
      if (type) return { $: 'Element', html: html(v, type) };
    }
    if (v instanceof Error || kind === 'Error' || kind === 'DOMException') return error(v, depth);
    if (ArrayBuffer.isView(v) || /ArrayBuffer$/.test(kind)) {
      e = v.length === undefined ? new Uint8Array(v.buffer || v, v.byteOffset || 0, Math.min(v.byteLength, BYTES)) : v;
      n = v.length === undefined ? v.byteLength : v.length;
      list = items(e, e.length, BYTES, depth);
      return { $: 'Bytes', name: kind, length: n, items: list, more: n - list.length };
    }
    switch (kind) {
      case 'Date': return tag('Date', isNaN(Date.prototype.getTime.call(v)) ? 'Invalid Date' : Date.prototype.toISOString.call(v));
      case 'RegExp': return tag('RegExp', RegExp.prototype.toString.call(v));
      case 'Promise': case 'WeakMap': case 'WeakSet': return { $: 'Object', name: kind };
      case 'Window': return tag('Window', v.location.href);
      case 'Map': case 'Set':
        n = window[kind].prototype;
        next = n.entries.call(v);
        n = getter(n, 'size').call(v);
        if (depth < DEPTH) {
          while (list.length < KEYS && left > 0 && !(e = next.next()).done) {
            list.push(kind === 'Set' ? value(e.value[0], depth + 1) : [value(e.value[0], depth + 1), value(e.value[1], depth + 1)]);
          }
        }
        return { $: kind, length: n, items: list, more: n - list.length };
    }
  }
  function error(e, depth) {
    var out = { $: 'Error', name: field(e, 'name'), message: field(e, 'message', TEXT), stack: field(e, 'stack', STACK) }, props = Object.create(null);
    if (depth >= DEPTH) return out;
    members(e, props, depth);
    if ('cause' in e) props.cause = member(e, 'cause', depth); // not enumerable
    if (Object.keys(props).length) out.props = props;
    return out;
  }
  function html(node, type) {
    if (type === 9) return '#document ' + text(String(node.URL), 300);
    if (type !== 1) return text(node.nodeName + (node.nodeValue ? ' ' + node.nodeValue : ''), HTML);
    if (node.getElementsByTagName('*').length < 200) return text(node.outerHTML, HTML);
    // Serializing half a page for its first characters costs too much.
    var out = '<' + node.localName, i, a = node.attributes;
    for (i = 0; i < a.length && out.length < HTML; i++) out += ' ' + a[i].name + '="' + a[i].value.slice(0, HTML) + '"';
    return text(out + '>…', HTML);
  }

  // --- Lines.
  var queue = [], seq = 0, dropped = 0, tokens = BURST, filled = Date.now(), busy = false, timer = 0;

  // A page that shows remote lines and logs while doing so would otherwise loop.
  function quiet() {
    return busy || NODE_IM.debugging || !!(window.NODE_IM && window.NODE_IM.debugging);
  }
  function refill() {
    var now = Date.now();
    tokens = Math.min(BURST, tokens + Math.max(0, now - filled) * RATE / 1000);
    filled = now;
    return tokens >= 1;
  }
  function page() {
    return location.href.split('#')[0].replace(/([?&][^=&]*(?:sign|token|password|passwd|secret)[^=&]*=)[^&]*/gi, '$1…').slice(0, 300);
  }
  function line(level, args, stack) {
    if (quiet()) return;
    busy = true; // a getter of the page may itself log
    try {
      seq++;
      if (!refill()) {
        dropped++;
        // If no other line follows soon, report the dropped ones with an empty line.
        if (!timer) timer = setTimeout(function () { timer = 0; if (dropped) line('debug', []); }, 1500);
        return;
      }
      tokens--;
      left = RECORD;
      around = [];
      var record = { kind: 'console', level: level, args: [], user: user, page: page(), session: session, seq: seq, time: filled };
      if (stack) record.stack = text(stack, STACK);
      for (var i = 0; i < args.length && i < KEYS; i++) record.args.push(value(args[i], 0));
      if (dropped) record.dropped = dropped;
      dropped = 0;
      if (NODE_IM.connected()) NODE_IM.send_msg(record, room); else keep(record);
    } catch (e) { /* never interrupt the page */ } finally { busy = false; }
  }
  function keep(record) {
    queue.push(record);
    if (queue.length <= QUEUE) return;
    var oldest = queue.shift();
    queue[0].dropped = (queue[0].dropped || 0) + 1 + (oldest.dropped || 0);
  }
  function flush() {
    while (queue.length && NODE_IM.connected()) NODE_IM.send_msg(queue.shift(), room);
  }

  // The stack of a console.error call, without its first line and the frames of this file.
  function calledFrom() {
    return String(new Error().stack || '').split('\n').filter(function (frame, i) {
      return frame && frame !== 'Error' && (file ? frame.indexOf(file) < 0 : i > 2);
    }).join('\n');
  }
  var warn = console.warn, said = ''; // the console's own
  ['log', 'info', 'warn', 'error', 'debug'].forEach(function (level) {
    var original = console[level];
    if (typeof original !== 'function') return;
    try {
      console[level] = function () {
        var result = original.apply(console, arguments);
        if (!quiet()) line(level, arguments, level === 'error' ? calledFrom() : '');
        return result;
      };
    } catch (e) { /* a frozen console */ }
  });
  window.addEventListener('error', function (event) {
    var from = event.target, place;
    if (from && from !== window && from.nodeType) { // an image, script or style sheet: such events do not bubble
      return line('error', ['Failed to load <' + from.localName + '> ' + (from.currentSrc || from.src || from.href || '')]);
    }
    if (file && event.filename === file) return;
    place = event.filename ? 'at ' + event.filename + ':' + event.lineno + ':' + event.colno : '';
    line('error', ['Uncaught', event.error === undefined || event.error === null ? event.message : event.error], place);
  }, true);
  window.addEventListener('unhandledrejection', function (event) { line('error', ['Unhandled rejection', event.reason]); });

  // --- The connection, separate from any of the page's own.
  /** Says why nothing arrives at the viewer, on the page's own console only. */
  function complain(why) {
    try { if (warn && why !== said) warn.call(console, 'remote debugging: ' + why); } catch (e) { /* no console */ }
    said = why;
  }
  function origin() {
    try { return new URL(file).origin; } catch (e) { return location.origin; }
  }
  function start() {
    var url = given.url || origin(), enc = encodeURIComponent;
    NODE_IM.init(url + (url.indexOf('?') < 0 ? '?' : '&') + 'source=' + enc(source) + '&room_ids=' + enc(room) + '&sign=' + enc(sign) +
      '&userid=' + enc(user) + '&username=' + enc(user), {
      connected_callback: function () {
        said = '';
        flush();
      },
      receive_message_callback: function () {},
      recovery: false, // it only sends
      sys_error_callback: complain,
      connect_error_callback: function (error) { complain(error.message); },
      disconnected_callback: function (why) { if (why === 'io server disconnect') complain('relay ended the session'); },
      refresh_page_callback: function () {} // reloading is up to the page's own connection
    });
  }
  try { start(); } catch (e) { /* the page works without remote debugging */ }
}());
