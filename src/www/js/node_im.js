/* relay's browser client: XIN_NODE, also called NODE_IM. It uses Socket.IO protocol 5 over Engine.IO protocol 4, by
   WebSocket, or by polling where no WebSocket can be opened. After a reconnect the page gets the messages that it has missed,
   each once, if the relay keeps them. node_im.d.ts documents the interface.

   The top level has only `var`s, and the first one keeps an existing client: a page that loads the script twice has one
   client. A script that wraps this file in a function, after `var module;`, has a private client. */
var NODE_IM = NODE_IM || (function () {
  'use strict';
  var OPEN_PATIENCE = 5000, LOGIN_PATIENCE = 20000, GRACE = 2000; // milliseconds
  var BACKOFF = 4000, BACKOFF_MOST = 30000, WAKE_PAUSE = 1000, TICK = 5000, SLEPT = 15000;
  var FEW = 10, QUEUE_MOST = 100, HAD_MOST = 256, SEPARATOR = '\x1e';
  // The id of a message: a number in base 32 that grows, its relay, and its place among the rooms of one publication.
  var ID = /^[0-9a-v]{17}(\.\d+)?$/;
  var RESERVED = /^(connect|connect_error|disconnect|disconnecting|newListener|removeListener)$/;
  // Refusals that say nothing about the login.
  var TEMPORARY = /^(the backend (is busy|does not answer)|relay is short of memory)!$/;

  /** Calls a function of the page. An exception goes to window.onerror and does not interrupt the client. */
  function call(fn, args) {
    if (typeof fn !== 'function') return false;
    try { fn.apply(null, args); } catch (e) { setTimeout(function () { throw e; }, 0); }
    return true;
  }

  function say(level, text) {
    if (typeof console === 'object' && console[level]) console[level]('XIN_NODE: ' + text);
  }

  /** The length of a text in UTF-8, in bytes; each half of a surrogate pair counts as two. */
  function size(text) {
    for (var sum = 0, i = 0, c; i < text.length; i++) {
      c = text.charCodeAt(i);
      sum += c < 0x80 ? 1 : c < 0x800 || c >= 0xd800 && c < 0xe000 ? 2 : 3;
    }
    return sum;
  }

  /** The place of a message in the order of its relay's messages. */
  function stamp(id) { return parseInt(id.slice(0, 11), 32) + +(id.slice(18) || 0); }

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

  /** Parses the url of `init`: returns a function from a transport's name to its address. Throws what is wrong with it. */
  function locator(url, path) {
    var page = typeof location === 'object' ? location : {}, error = new Error(), parts, rest, query;
    url = String(url || '');
    if (/^[\w.-]+:\d+([\/?#]|$)/.test(url)) url = '//' + url; // only host and port
    parts = /^(?:([\w.+-]+:)?\/\/([^\/?#]*))?[^?#]*\??([^#]*)/.exec(url);
    rest = (/^(https|wss):$/i.test(parts[1] || page.protocol) ? 's' : '') + '://' + (parts[2] || page.host) +
      path.replace(/^\/?(.*?)\/?$/, '/$1/');
    // Unchanged, because it is signed. Only non-ASCII is escaped: a page in GBK would escape it as GBK.
    query = parts[3].replace(/[\ud800-\udbff][\udc00-\udfff]|[^ -~]/g, function (c) {
      try { return encodeURIComponent(c); } catch (e) { return '%EF%BF%BD'; }
    });
    url = url.split('?')[0];
    if (parts[1] && !/^(http|ws)s?:$/i.test(parts[1])) error.message = 'must begin with http:, https:, ws: or wss:';
    else if (!parts[2] && (/^[\w.+-]+:\/\//.test(url) || !page.host)) error.message = 'names no host';
    else if (typeof URL === 'function') try { new URL('http' + rest); } catch (e) { error.message = 'is not valid'; }
    if (error.message) {
      error.message = 'the address ' + JSON.stringify(url) + ' ' + error.message;
      throw error;
    }
    return function (transport) {
      return (transport === 'polling' ? 'http' : 'ws') + rest + '?EIO=4&transport=' + transport + (query && '&' + query);
    };
  }

  /* A transport calls onpacket(text or ArrayBuffer), and onclose(answer) once, where `answer` is what HTTP or the close
     frame said: {status, body} or {code, body}. Neither is called after close(), which sends the packet `goodbye` first if
     there is one. Its owner sets `sid` and `max` (bytes of a body) when the handshake has them. `dead()` says whether it
     cannot work any more although it has not called onclose. */

  function webSocket(address, onpacket, onclose) {
    var socket = new WebSocket(address('websocket'));
    socket.binaryType = 'arraybuffer';
    socket.onmessage = function (event) { onpacket(event.data); };
    socket.onclose = function (event) { onclose({ code: event.code, body: event.reason }); };
    // The close that follows says it. In Node, an error without a handler would end the process.
    socket.onerror = function () {};
    return {
      send: function (packet) { socket.send(packet); },
      dead: function () { return socket.readyState > 1; },
      close: function (goodbye) {
        socket.onmessage = socket.onclose = null;
        if (goodbye && socket.readyState === 1) socket.send(goodbye);
        socket.close();
      }
    };
  }

  function polling(address, onpacket, onclose) {
    var outbox = [], count = 0, stopped = false, leaving = false, left = false, get, post;
    var self = {
      send: function (packet) {
        outbox.push(packet);
        write();
      },
      close: function (goodbye) {
        stopped = true;
        leaving = goodbye && self.sid;
        if (!leaving) return abort();
        // Packets that wait are still posted, in order, before the disconnect.
        outbox.push(goodbye, '1');
        write();
      },
      dead: function () { return left; },
      /** Disconnects while the page unloads; a beacon may be sent after that. */
      beacon: function () { left = !!navigator.sendBeacon && navigator.sendBeacon(target(), '1'); }
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
      xhr.onload = function () { if (xhr.status === 200) done(xhr.responseText); else fail({ status: xhr.status, body: xhr.responseText }); };
      xhr.onerror = function () { fail({ status: 0 }); };
      xhr.ontimeout = function () { fail(); };
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
    function fail(answer) {
      var told = stopped;
      stopped = true;
      abort();
      if (!told) onclose(answer);
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
  function live(api, given, config, ended) {
    var address, path = config.path || '/socket.io/', most = config.max_attemptNumber, nsp = String(config.nsp || '/');
    var handlers = Object.create(null), queue = [], acks = {}, asked = 0, over = false;
    // `attempts` counts failures in a row, `pace` those since the page woke up; `turn` changes with each attempt, so that
    // what an earlier one still reports (an address, an explanation) is ignored.
    var kind, link, opened, timer, waiting, ticker, ticked, attempts = 0, pace = 0, turn = 0, tried = 0, said = '', few = false, full = false;
    var socketWorked = false, pollingWorks = false, heard, silence, assembling, prefix;
    // Where the page stands, as relay is told after a reconnect: the newest message that it has had, or what `recovery` said.
    // `had` are the ids of its last messages; those up to `began` say nothing about the position.
    var recovers = config.recovery !== false, position = '', began = 0, had = [];
    var socket = { id: undefined, connected: false, emit: emit, on: on, off: off, disconnect: close };
    // The callbacks of the page's config, by event.
    var callbacks = {
      connect: config.connected_callback && function () { call(config.connected_callback, [socket]); },
      connect_error: config.connect_error_callback,
      disconnect: config.disconnected_callback,
      newMsg: config.receive_message_callback,
      recovery: config.recovery_callback,
      sys_error: config.sys_error_callback,
      reconnect_failed: config.reconnect_attempt_failed_callback,
      refreshPage: config.refresh_page_callback || function () { location.reload(); }
    };
    if (nsp.charAt(0) !== '/') nsp = '/' + nsp;
    prefix = nsp === '/' ? '' : nsp + ',';
    if (most === undefined || most === null) most = Infinity;

    function on(event, fn) {
      handlers[event] = (handlers[event] || []).concat(fn);
      return socket;
    }
    function off(event, fn) {
      handlers[event] = fn && (handlers[event] || []).filter(function (known) { return known !== fn; });
      return socket;
    }
    /** Calls all that the page has for an event. Returns whether it has anything. */
    function fire(event, args) {
      var known = Object.prototype.hasOwnProperty.call(callbacks, event) && call(callbacks[event], args);
      (handlers[event] || []).forEach(function (fn) { known = call(fn, args) || known; });
      return known;
    }
    /** Reports what cannot be sent: to the page, or else to the console. */
    function complain(why) {
      if (!fire('sys_error', [why])) say('error', why);
      return false;
    }

    /* The connection */

    function arm(delay, fn) {
      clearTimeout(timer);
      timer = setTimeout(fn, delay);
    }
    function start() {
      listen('addEventListener');
      ticked = Date.now();
      ticker = setInterval(function () {
        var late = Math.abs(Date.now() - ticked) > SLEPT;
        ticked = Date.now();
        if (late && typeof document === 'object' && !document.hidden) wake(true);
      }, TICK);
      connect();
    }
    /** Begins an attempt: first of all, its address. */
    function connect() {
      var mine = ++turn;
      clearTimeout(waiting);
      waiting = null;
      tried = Date.now();
      if (typeof given !== 'function') return go(given);
      arm(LOGIN_PATIENCE, function () { failed('address', 'the address function gave no address within ' + LOGIN_PATIENCE / 1000 + ' s'); });
      ask(given, 'address', function () { return mine === turn; }, go);
    }
    /** Asks a function of the page for a text. `ok` gets it, or else `bad` what is wrong; from outside of the page's function, once,
        and only while `wanted()`. */
    function ask(fn, what, wanted, ok, bad) {
      var settled = false, text;
      function settle(fn) {
        if (!settled) setTimeout(function () { if (wanted()) fn(); }, 0);
        settled = true;
      }
      function wrong(why, cause) {
        settle(function () {
          why = 'the ' + what + ' function ' + why;
          if (bad) bad(why); else failed('address', why, cause);
        });
      }
      function got(text) {
        if (typeof text !== 'string') return wrong('returned ' + (text === null ? 'null' : typeof text) + ', not a string');
        settle(function () { ok(text); });
      }
      function threw(e) { wrong('failed: ' + (e && e.message || e), e); }
      try {
        text = fn();
        if (text && typeof text.then === 'function') text.then(got, threw); else got(text);
      } catch (e) { threw(e); }
    }
    function go(url) {
      try {
        if (/[,?#]/.test(nsp)) throw new Error('the namespace ' + JSON.stringify(nsp) + ' must not contain , ? or #');
        address = locator(url, path);
      } catch (e) {
        // The page's init returns first.
        return arm(0, function () { failed('address', e.message, e, typeof given !== 'function'); });
      }
      open(pollingWorks ? polling : webSocket);
    }
    function open(transport) {
      kind = transport;
      opened = false;
      arm(kind === webSocket ? OPEN_PATIENCE : LOGIN_PATIENCE, function () { lost('timeout'); });
      try {
        link = kind(address, received, function (answer) { lost('transport close', answer); });
      } catch (e) { // not supported by this browser, or not allowed
        lost(String(e));
      }
    }
    function drop(politely) {
      turn++;
      clearTimeout(timer);
      clearTimeout(waiting);
      waiting = assembling = null;
      if (link) link.close(politely && '41' + prefix);
      link = null;
      // Acknowledgements of sent events are lost; those of queued events can still arrive.
      if (socket.connected) acks = {};
      socket.connected = false;
      socket.id = undefined;
    }
    function lost(why, answer) {
      var was = socket.connected;
      if (over) return;
      drop(false);
      if (kind === webSocket && !opened) return open(polling);
      // After polling failed, try a WebSocket again.
      if (!was) pollingWorks = false;
      if (!was) return explain(why, answer || {});
      fire('disconnect', [why]);
      if (!over) again();
    }
    /** Reports why an attempt failed. A browser hides what a WebSocket or another origin answered, so ask what can be known. */
    function explain(why, answer) {
      var host = /\/\/[^\/]*/.exec(address('polling'))[0].slice(2), mine = turn, its = {};
      try { its = JSON.parse(answer.body) || its; } catch (e) { /* not of relay */ }
      if (answer.status === 403 && its.code === 4 || /origin/.test(its.msg)) {
        return failed('origin', host + ' does not allow pages of ' + location.origin + ': add it to "origins" in the configuration of relay');
      }
      if (answer.status) return failed('http', host + ' answers ' + answer.status + (its.message || its.msg ? ': ' + (its.message || its.msg) : ', and the answer is not from relay') +
        (answer.status === 404 ? '; is the path ' + path + ' right?' : ''));
      if (answer.code) return failed('closed', host + ' closed the connection before the login was complete: ' + answer.code + ' ' + answer.body);
      if (why === 'timeout') return failed('timeout', host + ' does not answer in time');
      if (why === 'parse error') return failed('http', host + ' answers, but not as relay does');
      if (answer.status !== 0) return failed('closed', host + ': ' + why);
      if (/^https/.test(location.protocol) && !/^https/.test(address('polling')) && !/^(localhost|127\.|\[::1\])/.test(host)) {
        return failed('unreachable', host + ' cannot be reached without TLS from a page with https: use wss: or https: in the address');
      }
      function tell(answers) {
        if (mine !== turn) return;
        if (answers) failed('http', host + ' answers, but not to pages of ' + location.origin +
          ': it may be a proxy without relay behind it, another server, or a relay that does not list this origin');
        else failed('unreachable', host + ' cannot be reached: the device is offline, the name is unknown, nothing listens there, ' +
          'its certificate is not valid, or the browser does not let this page connect to it');
      }
      // An answer that this page may not read is one all the same. This asks for nothing that relay has.
      arm(OPEN_PATIENCE, function () { tell(false); });
      try {
        fetch(address('polling').split('?')[0], { mode: 'no-cors', credentials: 'omit', cache: 'no-store' })
          .then(function () { tell(true); }, function () { tell(false); });
      } catch (e) { tell(false); }
    }
    /** Reports a failed attempt, and plans the next one. `hopeless`: none can succeed. */
    function failed(reason, message, cause, hopeless) {
      var error = new Error(message);
      error.reason = reason;
      if (cause) error.cause = cause;
      drop(false);
      // The console gets each message once, and again only when it changes.
      if (!fire('connect_error', [error]) && said !== message) say('warn', message);
      said = message;
      if (over) return;
      if (hopeless) end(false, 'reconnect_failed'); else again();
    }
    function again() {
      if (attempts >= most) {
        if (!end(false, 'reconnect_failed')) say('error', 'not connected after ' + most + ' attempts (max_attemptNumber): the session has ended');
        return;
      }
      // A page may wait for this to tell its user.
      if (most === Infinity && attempts >= FEW && !few) {
        few = true;
        fire('reconnect_failed', []);
        if (over) return;
      }
      // From a tenth of the interval on, so that the pages of a restarted relay do not reconnect all at once.
      waiting = setTimeout(function () {
        attempts++;
        connect();
      }, Math.min(BACKOFF * Math.pow(2, pace++), BACKOFF_MOST) * (0.1 + 0.9 * Math.random()));
    }
    function end(politely, event, args) {
      over = true;
      drop(politely);
      clearInterval(ticker);
      listen('removeEventListener');
      queue = [];
      ended();
      return !event || fire(event, args || []);
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
        if (rest > 0) watch(Math.min(rest, silence)); // the clock may have been set back
        else if (!decide) watch(GRACE, true);
        else lost('ping timeout');
      });
    }
    /** Reconnects at once when the page or its network wakes up. Such attempts are not counted. `anew` also gives up an
        attempt that takes long, because it may have begun on another network. */
    function wake(anew) {
      var since = Math.abs(Date.now() - tried);
      pace = 0;
      if (socket.connected) {
        if (link.dead()) lost('transport close'); else return watch(GRACE, true);
      } else if (anew && !waiting && since > OPEN_PATIENCE) {
        drop(false);
        waiting = true;
      }
      if (!waiting) return;
      clearTimeout(waiting);
      waiting = setTimeout(connect, Math.max(WAKE_PAUSE - since, 0));
    }

    /* The page */

    function online() { wake(true); }
    function shown() { if (!document.hidden) wake(); }
    function hidden() { if (link && link.sid && link.beacon) link.beacon(); }
    function listen(how) {
      if (typeof window !== 'object' || !window[how]) return;
      window[how]('online', online);
      window[how]('pageshow', shown);
      window[how]('pagehide', hidden);
      document[how]('visibilitychange', shown);
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
      if (typeof config.jwt === 'function') fresh(join); else join(config.jwt);
    }
    function join(jwt) {
      var auth = {};
      // The page may say in its address since when it wants messages at first. Empty means from now on: a page that wants none of
      // those that it missed says so at each login, because relay would remember them for it.
      if (position || !/[?&]since=/.test(address(''))) auth.since = position;
      if (jwt) auth.jwt = jwt;
      link.send('40' + prefix + (Object.keys(auth).length ? JSON.stringify(auth) : ''));
    }
    /** Asks the page for a token, for this connection. */
    function fresh(ok, bad) {
      var via = link;
      ask(config.jwt, 'jwt', function () { return via && link === via; }, ok, bad);
    }
    /** Renews the login before it expires. Without that the relay ends the session, and the next login has a new token. */
    function renew() {
      fresh(function (jwt) {
        emit('renew', jwt, function (its) { if (its.code !== 1) complain(its.reason || its.msg); });
      }, complain);
    }
    /** A Socket.IO packet: type, number of attachments with a dash, namespace with a comma, acknowledgement id, JSON. */
    function parse(text) {
      var head = /^(\d)(?:(\d+)-)?(?:(\/[^,]*),?)?(\d*)/.exec(text), json = text.slice(head[0].length);
      var packet = { type: head[1], id: head[4], data: json && JSON.parse(json), wanted: +head[2] || 0, attachments: [] };
      packet.other = (head[3] || '/') !== nsp;
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
      if (packet.other) return; // not of this namespace
      switch (packet.type) {
        case '0': return joined(data.sid);
        case '1':
          if (!end(true, 'disconnect', ['io server disconnect'])) say('warn', 'relay ended the session');
          return;
        case '2': case '5':
          if (packet.id) data.push(function () { if (link === via) write('3', packet.id, [].slice.call(arguments)); });
          return event(data.shift(), data);
        case '3': case '6':
          ack = acks[packet.id];
          delete acks[packet.id];
          return call(ack, data);
        case '4': return refused(String(data.message));
      }
    }
    /** Ends the session, unless the next attempt may be admitted: with another address, or at another time. */
    function refused(why) {
      var error = new Error(why), told;
      error.reason = 'refused';
      if (typeof given === 'function' || typeof config.jwt === 'function' || TEMPORARY.test(why)) {
        drop(true);
        told = fire('sys_error', [why]);
        told = fire('connect_error', [error]) || told;
        if (!over) again();
      } else {
        told = end(true, 'sys_error', [why]);
        told = fire('connect_error', [error]) || told;
      }
      if (!told && said !== why) say('error', 'relay refuses the login: ' + why);
      said = why;
    }
    function joined(id) {
      attempts = pace = 0;
      said = '';
      few = full = false;
      began = 0;
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
      if (recovers ? !isNew(name, args[0]) : name === 'recovery') return;
      if (name === 'expiring' && typeof config.jwt === 'function') renew();
      // While this is set, node_im_remote_debug.js does not send what the page logs: it would loop.
      api.debugging = name === 'newMsg' && !!args[0] && args[0].source === 'remote_debug';
      if (!fire(name, args) && name === 'sys_error') say('error', args[0]);
      api.debugging = false;
    }

    /** Moves the position before the page handles an event. Returns false for a message that the page has had: it can come
        again from another relay. */
    function isNew(name, its) {
      var id = its && its.id;
      if (typeof id !== 'string' || !ID.test(id)) return true;
      if (name === 'recovery') {
        position = id;
        began = stamp(id);
        its.rooms = its.rooms || [];
      } else if (name === 'newMsg') {
        // An older one is the last value of its room, which a login gets however old it is.
        if (stamp(id) > began) position = id;
        if (had.indexOf(id) >= 0) return false;
        if (had.push(id) > HAD_MOST) had.shift();
      }
      return true;
    }

    /* Outgoing packets */

    function write(type, id, data) {
      var head = '4' + type + prefix + id;
      if (over) return false;
      try { data = JSON.stringify(data); } catch (e) { return complain(String(e)); }
      if (socket.connected) return transmit(head + data);
      // When the queue is full, the oldest packet is dropped.
      if (queue.push(head + data) > QUEUE_MOST) {
        queue.shift();
        if (!full) say('warn', 'more than ' + QUEUE_MOST + ' messages wait for a connection: the oldest are dropped');
        full = true;
      }
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
      write('2', ack, args);
      return socket;
    }

    return {
      socket: socket, start: start, close: close,
      send: function (data, rooms) { return write('2', '', ['postMsg', data, rooms]); }
    };
  }

  /** A client of its own, for a page with several relays or namespaces. */
  function create() {
    var life = null;
    var api = {
      socket_local: null,
      debugging: false,
      create: create,
      init: function (url, config) {
        if (life) return false;
        life = live(api, url, config || {}, function () { life = null; });
        api.socket_local = life.socket;
        life.start();
        return api;
      },
      send_msg: function (data, room_ids) { return !!life && life.send(data, room_ids); },
      connected: function () { return !!life && life.socket.connected; },
      close: function () { if (life) life.close(); }
    };
    return api;
  }
  return create();
}());
var XIN_NODE = NODE_IM;
if (typeof module === 'object' && module && module.exports) module.exports = NODE_IM;
