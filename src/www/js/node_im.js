/* relay's browser client: XIN_NODE, also called NODE_IM. It uses Socket.IO protocol 5 over Engine.IO protocol 4, by
   WebSocket, or by polling where no WebSocket can be opened. node_im.d.ts documents the interface.

   The top level has only `var`s, and the first one keeps an existing client: a page that loads the script twice has one
   client. A script that wraps this file in a function, after `var module;`, has a private client. */
var NODE_IM = NODE_IM || (function () {
  'use strict';
  var OPEN_PATIENCE = 5000, LOGIN_PATIENCE = 20000, GRACE = 2000; // milliseconds
  var BACKOFF = 1000, BACKOFF_MOST = 5000, QUEUE_MOST = 100, SEPARATOR = '\x1e';
  var RESERVED = /^(connect|connect_error|disconnect|disconnecting|newListener|removeListener)$/;

  /** Calls a function of the page. An exception goes to window.onerror and does not interrupt the client. */
  function call(fn, args) {
    if (typeof fn !== 'function') return;
    try { fn.apply(null, args); } catch (e) { setTimeout(function () { throw e; }, 0); }
  }

  /** The length of a text in UTF-8, in bytes; each half of a surrogate pair counts as two. */
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

  /** Replaces placeholders by their attachments. */
  function fill(value, attachments) {
    if (!value || typeof value !== 'object') return value;
    if (value._placeholder === true) return attachments[value.num];
    Object.keys(value).forEach(function (key) { value[key] = fill(value[key], attachments); });
    return value;
  }

  /** Parses the url of `init`: returns a function from a transport's name to its address. */
  function locator(url, path) {
    url = String(url || '');
    if (/^[\w.-]+:\d+([\/?#]|$)/.test(url)) url = '//' + url; // only host and port
    var parts = /^(?:(\w+:)?\/\/([^\/?#]*))?[^?#]*\??([^#]*)/.exec(url);
    var rest = (/^(https|wss):$/i.test(parts[1] || location.protocol) ? 's' : '') + '://' + (parts[2] || location.host) +
      path.replace(/^\/?(.*?)\/?$/, '/$1/');
    // Unchanged, because it is signed. Only non-ASCII is escaped: a page in GBK would escape it as GBK.
    var query = parts[3].replace(/[\ud800-\udbff][\udc00-\udfff]|[^ -~]/g, function (c) {
      try { return encodeURIComponent(c); } catch (e) { return '%EF%BF%BD'; }
    });
    return function (transport) {
      return (transport === 'polling' ? 'http' : 'ws') + rest + '?EIO=4&transport=' + transport + (query && '&' + query);
    };
  }

  /* A transport calls onpacket(text or ArrayBuffer), and onclose() once; neither is called after close(politely). Its owner
     sets `sid` and `max` (bytes of a body) when the handshake has them. */

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
        // Packets that wait are still posted, in order, before the disconnect.
        outbox.push('41', '1');
        write();
      },
      /** Disconnects while the page unloads; a beacon may be sent after that. */
      beacon: function () { if (navigator.sendBeacon) navigator.sendBeacon(target(), '1'); }
    };

    function target() {
      // Unique, so that no cache answers.
      return address('polling') + '&t=' + Date.now().toString(36) + '.' + count++ + (self.sid ? '&sid=' + self.sid : '');
    }
    function request(method, body, done) {
      var xhr = new XMLHttpRequest();
      xhr.open(method, target(), true);
      if (body) {
        // A type that needs no CORS preflight.
        xhr.setRequestHeader('Content-Type', 'text/plain;charset=UTF-8');
        xhr.timeout = LOGIN_PATIENCE;
      }
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
          if (!stopped) onpacket(packet);
        });
        if (!stopped) read();
      });
    }
    // One request at a time keeps packets in order; each carries as many as fit.
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

  /** One session from init to its end: connects and reconnects. `ended` is called before the callbacks that report the end. */
  function live(url, config, ended) {
    var address = locator(url, config.path || '/socket.io/');
    var most = config.max_attemptNumber === undefined ? 10 : config.max_attemptNumber;
    var handlers = Object.create(null), queue = [], acks = {}, asked = 0, over = false;
    var kind, link, opened, timer, waiting, attempts = 0, socketWorked = false, pollingWorks = false;
    var heard, silence, assembling;
    var socket = { id: undefined, connected: false, emit: emit, on: on, off: off, disconnect: close };
    // The callbacks of the page's config, by event.
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
      } catch (e) { // not supported by this browser, or not allowed
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
      // Acknowledgements of sent events are lost; those of queued events can still arrive.
      if (socket.connected) acks = {};
      socket.connected = false;
      socket.id = undefined;
    }
    function lost(why) {
      var was = socket.connected;
      if (over) return;
      drop(false);
      if (kind === webSocket && !opened) return open(polling);
      // After polling failed, try a WebSocket again.
      if (!was) pollingWorks = false;
      if (was) fire('disconnect', [why]); else fire('connect_error', [new Error(why)]);
      if (over) return;
      if (attempts >= most) return end(false, 'reconnect_failed');
      // Half to one and a half times as long, so that the pages of a restarted relay do not reconnect all at once.
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
    /** Detects a dead connection: the relay pings, so silence means that it is gone. After sleep, a page's timers may run
        before the packets that arrived meanwhile, so only a second check decides. */
    function watch(delay, decide) {
      arm(delay, function () {
        var rest = heard + silence - Date.now();
        if (rest > 0) watch(rest);
        else if (!decide) watch(GRACE, true);
        else lost('ping timeout');
      });
    }
    /** Reconnects at once when the page or its network wakes up. Such attempts are not counted. */
    function wake() {
      if (waiting) connect(); else if (socket.connected) watch(GRACE, true);
    }

    /* Incoming packets */

    function received(packet) {
      heard = Date.now();
      try {
        if (typeof packet !== 'string') return attachment(packet);
        var rest = packet.slice(1);
        switch (packet.charAt(0)) {
          case '0': return handshake(JSON.parse(rest));
          case '1': return lost('transport close');
          case '2': return link.send('3' + rest);
          case '4': return parse(rest);
          case '6': return; // a noop
          case 'b': return attachment(bytes(rest)); // base64, as in polling
        }
        // Not a relay, but for example a captive portal: do not poll it for ever.
        throw new Error('no packet');
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
    /** A Socket.IO packet: type, number of attachments with a dash, acknowledgement id, JSON. */
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
        case '1': return end(true, 'disconnect', ['io server disconnect']);
        case '2': case '5':
          if (packet.id) data.push(function () { if (link === via) write('43' + packet.id, [].slice.call(arguments)); });
          return event(data.shift(), data);
        case '3': case '6':
          ack = acks[packet.id];
          delete acks[packet.id];
          return call(ack, data);
        case '4':
          end(true, 'sys_error', [data.message]);
          return fire('connect_error', [new Error(data.message)]);
      }
    }
    function joined(id) {
      attempts = 0;
      if (kind === webSocket) socketWorked = true;
      // If a WebSocket worked before on this page, it can be opened here and failed for another reason.
      pollingWorks = kind === polling && !socketWorked;
      socket.id = id;
      socket.connected = true;
      watch(silence);
      queue.splice(0).forEach(function (packet) { if (socket.connected) transmit(packet); });
      if (socket.connected) fire('connect', []);
    }
    function event(name, args) {
      // While this is set, node_im_remote_debug.js does not send what the page logs: it would loop.
      api.debugging = name === 'newMsg' && !!args[0] && args[0].source === 'remote_debug';
      fire(name, args);
      api.debugging = false;
    }

    /* Outgoing packets */

    function write(head, data) {
      if (over) return false;
      try { data = JSON.stringify(data); } catch (e) { return complain(String(e)); }
      if (socket.connected) return transmit(head + data);
      // When the queue is full, the oldest packet is dropped.
      if (queue.push(head + data) > QUEUE_MOST) queue.shift();
      return true;
    }
    function transmit(packet) {
      // The relay closes the connection on a larger packet.
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
