/* relay's browser client: XIN_NODE, also called NODE_IM. Speaks Socket.IO 5 over Engine.IO 4, by WebSocket or, where none
   can be opened, by polling. Its types and what each function does: node_im.d.ts.

   Nothing but `var`s at the top level, and the first one keeps what is there. So a page that has the script twice has one
   client; and a script that puts all of this into a function of its own, after `var module;`, has a private client there. */
var NODE_IM = NODE_IM || (function () {
  'use strict';
  var OPEN_PATIENCE = 5000, LOGIN_PATIENCE = 20000, GRACE = 2000; // milliseconds
  var BACKOFF = 1000, BACKOFF_MOST = 5000, QUEUE_MOST = 100, SEPARATOR = '\x1e';
  var RESERVED = /^(connect|connect_error|disconnect|disconnecting|newListener|removeListener)$/;

  /** Calls what belongs to the page. Its mistakes are for window.onerror, not for us to stumble over. */
  function call(fn, args) {
    if (typeof fn !== 'function') return;
    try { fn.apply(null, args); } catch (e) { setTimeout(function () { throw e; }, 0); }
  }

  /** Bytes of a text in UTF-8; each half of a surrogate pair counts two. */
  function size(text) {
    for (var sum = 0, i = 0, c; i < text.length; i++) {
      c = text.charCodeAt(i);
      sum += c < 0x80 ? 1 : c < 0x800 || c >= 0xd800 && c < 0xe000 ? 2 : 3;
    }
    return sum;
  }

  function bytes(base64) {
    var text = atob(base64), array = new Uint8Array(text.length), i;
    for (i = 0; i < text.length; i++) array[i] = text.charCodeAt(i);
    return array.buffer;
  }

  /** Puts attachments where their placeholders are. */
  function fill(value, attachments) {
    if (!value || typeof value !== 'object') return value;
    if (value._placeholder === true) return attachments[value.num];
    for (var key in value) value[key] = fill(value[key], attachments);
    return value;
  }

  /** Where the relay is: a function that gives a transport's address. */
  function locator(url, path) {
    url = String(url || '');
    if (/^[\w.-]+:\d+([\/?#]|$)/.test(url)) url = '//' + url; // just host and port
    var parts = /^(?:(\w+:)?\/\/([^\/?#]*))?[^?#]*\??([^#]*)/.exec(url);
    var rest = (/^(https|wss):$/i.test(parts[1] || location.protocol) ? 's' : '') + '://' + (parts[2] || location.host) +
      path.replace(/^\/?(.*?)\/?$/, '/$1/');
    // As it is, for it is signed. Only what is not ASCII is escaped here, since a page in GBK would escape it as GBK.
    var query = parts[3].replace(/[\ud800-\udbff][\udc00-\udfff]|[^ -~]/g, function (c) {
      try { return encodeURIComponent(c); } catch (e) { return '%EF%BF%BD'; }
    });
    return function (transport) {
      return (transport === 'polling' ? 'http' : 'ws') + rest + '?EIO=4&transport=' + transport + (query && '&' + query);
    };
  }

  /* A transport calls onpacket(text or ArrayBuffer) and, once, onclose(); not any more after close(politely). Its owner
     tells it `sid` and `max` (bytes of a body) when it knows them. */

  function webSocket(address, onpacket, onclose) {
    var socket = new WebSocket(address('websocket'));
    socket.binaryType = 'arraybuffer';
    socket.onmessage = function (event) { onpacket(event.data); };
    socket.onclose = socket.onerror = onclose;
    return {
      send: function (packet) { socket.send(packet); },
      close: function (politely) {
        socket.onmessage = socket.onclose = socket.onerror = null;
        if (politely && socket.readyState === 1) socket.send('41');
        socket.close();
      }
    };
  }

  function polling(address, onpacket, onclose) {
    var outbox = [], count = 0, stopped = false, leaving = false, get, post;
    var self = {
      send: function (packet) {
        outbox.push(packet);
        write();
      },
      close: function (politely) {
        stopped = true;
        leaving = politely && self.sid;
        if (!leaving) return abort();
        // What the page sent before is still posted, in order, and then the goodbye.
        outbox.push('41', '1');
        write();
      },
      /** The page goes away: this request may outlive it. */
      beacon: function () { if (navigator.sendBeacon) navigator.sendBeacon(target(), '1'); }
    };

    function target() {
      // No cache between here and the relay may think that it knows the answer.
      return address('polling') + '&t=' + Date.now().toString(36) + '.' + count++ + (self.sid ? '&sid=' + self.sid : '');
    }
    function request(method, body, done) {
      var xhr = new XMLHttpRequest();
      xhr.open(method, target(), true);
      // Not with `charset` spelled otherwise nor as another type: this one needs no preflight from other origins.
      if (body) xhr.setRequestHeader('Content-Type', 'text/plain;charset=UTF-8');
      if (body) xhr.timeout = LOGIN_PATIENCE;
      xhr.onload = function () { if (xhr.status === 200) done(xhr.responseText); else fail(); };
      xhr.onerror = xhr.ontimeout = fail;
      xhr.send(body);
      return xhr;
    }
    function abort() {
      [get, post].forEach(function (xhr) {
        if (!xhr) return;
        xhr.onload = xhr.onerror = xhr.ontimeout = null;
        xhr.abort();
      });
    }
    function fail() {
      var told = stopped;
      stopped = true;
      abort();
      if (!told) onclose();
    }
    function read() {
      get = request('GET', null, function (body) {
        body.split(SEPARATOR).forEach(function (packet) {
          if (!stopped) onpacket(packet.charAt(0) === 'b' ? bytes(packet.slice(1)) : packet);
        });
        if (!stopped) read();
      });
    }
    // One request at a time, or packets might overtake each other; each takes as many packets as fit.
    function write() {
      if (post || !outbox.length) return;
      var body = outbox.shift(), sum = size(body);
      while (outbox.length && (sum += 1 + size(outbox[0])) <= self.max) body += SEPARATOR + outbox.shift();
      post = request('POST', body, function () {
        post = null;
        if (leaving && !outbox.length) abort(); else write();
      });
    }
    read();
    return self;
  }

  /** One life, from init to its end: connects, and connects again. `ended` is called before anybody is told of the end. */
  function live(url, config, ended) {
    var address = locator(url, config.path || '/socket.io/');
    var most = config.max_attemptNumber === undefined ? 10 : config.max_attemptNumber;
    var handlers = Object.create(null), queue = [], acks = {}, asked = 0, over = false;
    var kind, link, opened, timer, waiting, attempts = 0, socketWorked = false, pollingWorks = false;
    var heard, silence, assembling;
    var socket = { id: undefined, connected: false, emit: emit, on: on, off: off, disconnect: close };
    // What the page gave to init, by the event it is for.
    var callbacks = {
      connect: function () { call(config.connected_callback, [socket]); },
      disconnect: config.disconnected_callback,
      newMsg: config.receive_message_callback,
      sys_error: config.sys_error_callback,
      reconnect_failed: config.reconnect_attempt_failed_callback,
      refreshPage: config.refresh_page_callback || function () { location.reload(); }
    };

    function on(event, fn) {
      handlers[event] = (handlers[event] || []).concat(fn);
      return socket;
    }
    function off(event, fn) {
      handlers[event] = fn && (handlers[event] || []).filter(function (known) { return known !== fn; });
      return socket;
    }
    function fire(event, args) {
      if (Object.prototype.hasOwnProperty.call(callbacks, event)) call(callbacks[event], args);
      (handlers[event] || []).forEach(function (fn) { call(fn, args); });
    }
    function complain(why) {
      fire('sys_error', [why]);
      return false;
    }

    /* The connection */

    function arm(delay, fn) {
      clearTimeout(timer);
      timer = setTimeout(fn, delay);
    }
    function open(transport) {
      kind = transport;
      opened = false;
      arm(kind === webSocket ? OPEN_PATIENCE : LOGIN_PATIENCE, function () { lost('timeout'); });
      try {
        link = kind(address, received, function () { lost('transport close'); });
      } catch (e) { // there is none in this browser, or it is not allowed
        lost(String(e));
      }
    }
    function connect() {
      clearTimeout(waiting);
      waiting = null;
      open(pollingWorks ? polling : webSocket);
    }
    function drop(politely) {
      clearTimeout(timer);
      clearTimeout(waiting);
      waiting = assembling = null;
      if (link) link.close(politely);
      link = null;
      // Answers to what was sent will not come; those to what is still queued will.
      if (socket.connected) acks = {};
      socket.connected = false;
      socket.id = undefined;
    }
    function lost(why) {
      var was = socket.connected;
      if (over) return;
      drop(false);
      if (kind === webSocket && !opened) return open(polling);
      // Polling that fails now is no reason to do without a WebSocket the next time.
      if (!was) pollingWorks = false;
      if (was) fire('disconnect', [why]); else fire('connect_error', [new Error(why)]);
      if (over) return;
      if (attempts >= most) return end(false, 'reconnect_failed');
      // Half to one and a half times as long: the pages of a relay that restarts do not come back all at once.
      waiting = setTimeout(function () {
        attempts++;
        connect();
      }, Math.min(BACKOFF * Math.pow(2, attempts), BACKOFF_MOST) * (0.5 + Math.random()));
    }
    function end(politely, event, args) {
      over = true;
      drop(politely);
      queue = [];
      ended();
      if (event) fire(event, args || []);
    }
    function close() {
      if (!over) end(true, socket.connected && 'disconnect', ['io client disconnect']);
      return socket;
    }
    /** Silence is death, since the relay pings. But a page that slept wakes with its timers first and gets what arrived
        meanwhile after that: a look that comes late only leads to a second one. */
    function watch(delay) {
      var due = Date.now() + delay;
      arm(delay, function () {
        var now = Date.now(), rest = heard + silence - now;
        if (rest > 0) watch(rest);
        else if (now > due + GRACE) watch(GRACE);
        else lost('ping timeout');
      });
    }
    /** The page woke up, or its network did. Attempts for this reason are not counted. */
    function wake() {
      if (waiting) connect(); else if (socket.connected) watch(GRACE);
    }

    /* What comes in */

    function received(packet) {
      heard = Date.now();
      try {
        if (typeof packet !== 'string') attachment(packet);
        else if (packet.charAt(0) === '0') handshake(JSON.parse(packet.slice(1)));
        else if (packet.charAt(0) === '1') lost('transport close');
        else if (packet.charAt(0) === '2') link.send('3' + packet.slice(1));
        else if (packet.charAt(0) === '4') parse(packet.slice(1));
      } catch (e) {
        lost('parse error');
      }
    }
    function handshake(its) {
      opened = true;
      link.sid = its.sid;
      link.max = its.maxPayload;
      silence = its.pingInterval + its.pingTimeout;
      arm(LOGIN_PATIENCE, function () { lost('timeout'); });
      link.send('40');
    }
    /** A packet of Socket.IO: type, number of attachments and a dash, id of an acknowledgement, JSON. */
    function parse(text) {
      var head = /^(\d)(?:(\d+)-)?(\d*)/.exec(text), json = text.slice(head[0].length);
      var packet = { type: head[1], id: head[3], data: json && JSON.parse(json), wanted: +head[2] || 0, attachments: [] };
      if (packet.wanted) assembling = packet; else handle(packet);
    }
    function attachment(buffer) {
      var packet = assembling;
      if (packet.attachments.push(buffer) < packet.wanted) return;
      assembling = null;
      packet.data = fill(packet.data, packet.attachments);
      handle(packet);
    }
    function handle(packet) {
      var data = packet.data, via = link, ack;
      switch (packet.type) {
        case '0': return joined(data.sid);
        case '1': return end(false, 'disconnect', ['io server disconnect']);
        case '2': case '5':
          if (packet.id) data.push(function () { if (link === via) write('43' + packet.id, [].slice.call(arguments)); });
          return event(data.shift(), data);
        case '3': case '6':
          ack = acks[packet.id];
          delete acks[packet.id];
          return call(ack, data);
        case '4':
          end(false, 'sys_error', [data.message]);
          return fire('connect_error', [new Error(data.message)]);
      }
    }
    function joined(id) {
      attempts = 0;
      if (kind === webSocket) socketWorked = true;
      // A WebSocket that worked on this page failed now for another reason than that it cannot be opened here.
      pollingWorks = kind === polling && !socketWorked;
      socket.id = id;
      socket.connected = true;
      watch(silence);
      queue.splice(0).forEach(function (packet) { if (socket.connected) transmit(packet); });
      if (socket.connected) fire('connect', []);
    }
    function event(name, args) {
      // Tells node_im_remote_debug.js that what the page logs now is about what it logged.
      api.debugging = name === 'newMsg' && !!args[0] && args[0].source === 'remote_debug';
      fire(name, args);
      api.debugging = false;
    }

    /* What goes out */

    function write(head, data) {
      if (over) return false;
      try { data = JSON.stringify(data); } catch (e) { return complain(String(e)); }
      if (socket.connected) return transmit(head + data);
      // Too many: the oldest goes, for what is newer is nearer to what the page means now.
      if (queue.push(head + data) > QUEUE_MOST) queue.shift();
      return true;
    }
    function transmit(packet) {
      // The relay would close the connection.
      if (packet.length * 3 > link.max && size(packet) > link.max) return complain('the message is bigger than ' + link.max + ' bytes');
      link.send(packet);
      return true;
    }
    function emit(name) {
      var args = [].slice.call(arguments), ack = '';
      if (RESERVED.test(name)) throw new Error('"' + name + '" is a reserved event name');
      if (typeof args[args.length - 1] === 'function') acks[ack = asked++] = args.pop();
      write('42' + ack, args);
      return socket;
    }

    return {
      socket: socket, connect: connect, close: close, wake: wake,
      send: function (data, rooms) { return write('42', ['postMsg', data, rooms]); },
      leave: function () { if (link && link.sid && link.beacon) link.beacon(); }
    };
  }

  var life = null;
  var api = {
    socket_local: null,
    debugging: false,
    init: function (url, config) {
      if (life) return false;
      life = live(url, config || {}, function () { life = null; });
      api.socket_local = life.socket;
      life.connect();
      return api;
    },
    send_msg: function (data, room_ids) { return !!life && life.send(data, room_ids); },
    connected: function () { return !!life && life.socket.connected; },
    close: function () { if (life) life.close(); }
  };

  if (typeof window === 'object' && window.addEventListener) {
    var wake = function () { if (life) life.wake(); };
    window.addEventListener('online', wake);
    window.addEventListener('pageshow', wake);
    window.addEventListener('pagehide', function () { if (life) life.leave(); });
    document.addEventListener('visibilitychange', function () { if (!document.hidden) wake(); });
  }
  return api;
}());
var XIN_NODE = NODE_IM;
if (typeof module === 'object' && module && module.exports) module.exports = NODE_IM;
