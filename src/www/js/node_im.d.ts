// Types of relay's browser scripts: node_im.min.js (XIN_NODE, NODE_IM) and md5.js.

/** The client. XIN_NODE and NODE_IM are two names of one object. */
declare var XIN_NODE: NodeIm.Client;
/** The client, the same object as XIN_NODE. */
declare var NODE_IM: NodeIm.Client;

/** The MD5 of the text in UTF-8, as lower-case hex. Other values are converted with String(). */
declare function md5(text: unknown): string;

declare namespace NodeIm {
  interface Client {
    /**
     * Connects, and reconnects when the connection is lost.
     *
     * @param url The relay and the login:
     *   `https://host?source=…&room_ids=…&sign=…&userid=…&username=…&ext_info=…`. The query is forwarded verbatim, so its
     *   values must be escaped. The host defaults to the page's; a path is ignored (see `Config.path`). A function is called
     *   before every attempt and returns the address or a promise of it, so that a login can expire: a refused login is then
     *   tried again with the next address.
     * @returns The client, or false, without any effect, if the previous session has not ended.
     */
    init(url: string | (() => string | PromiseLike<string>), config?: Config): Client | false;
    /** A new client with a session of its own, for a page that uses several relays, logins or namespaces. */
    create(): Client;
    /**
     * Sends a message to rooms: any JSON value except null and "". While disconnected, up to 100 messages are queued; when
     * the queue is full, the oldest is dropped.
     *
     * @param room_ids One room, several separated by commas, or an array.
     * @returns false if the message was neither sent nor queued: before `init`, after the session has ended, or, reported to
     *   `sys_error_callback` too, if it cannot be encoded as JSON or is larger than the relay accepts.
     */
    send_msg(data: unknown, room_ids: string | readonly string[]): boolean;
    /** Whether the client is connected and logged in. */
    connected(): boolean;
    /** Ends the session. After that, `init` may be called again. */
    close(): void;
    /** The session's socket; null before the first `init`. Each `init` creates a new one. */
    readonly socket_local: Socket | null;
    /** Whether a message of source `remote_debug` is being handled. The remote console sends nothing meanwhile. */
    readonly debugging: boolean;
  }

  interface Config {
    /**
     * The token of the login (a JWT), in place of `sign` in the address; or a function that returns one or a promise of one. The
     * function is called for each login, and when the relay announces that the login expires: then the client renews it without
     * an interruption.
     */
    jwt?: string | (() => string | PromiseLike<string>);
    /** Called for each message. */
    receive_message_callback?: (message: Message) => void;
    /** Called after each connect, the first and every reconnect, before the messages that were missed. */
    connected_callback?: (socket: Socket) => void;
    /**
     * Called after each connect, before the messages that were missed, and when the client falls behind while it is connected.
     * If `recovered` is false, messages are missing in `rooms`: the page should load its state from its backend. Older relays
     * and `recovery: false` do not cause it.
     */
    recovery_callback?: (recovery: Recovery) => void;
    /**
     * By default, a client that has reconnected gets the messages that it missed, as far as the relay keeps them (`[history]`),
     * and drops those that it has had. `false` turns this off.
     */
    recovery?: boolean;
    /**
     * Called with the relay's reason when it refuses the login, which ends the session unless `init` was given a function, or
     * a message, which does not. Without it, the console has the reason.
     */
    sys_error_callback?: (err: string) => void;
    /** Called for every attempt to connect that failed. Without it, the console has the reason, again only when it changes. */
    connect_error_callback?: (error: ConnectError) => void;
    /** Consecutive failed attempts to reconnect after which the session ends. By default there is no limit. */
    max_attemptNumber?: number;
    /**
     * Called when `max_attemptNumber` attempts have failed and the session has ended. By default it is called once after 10
     * failed attempts, and the client keeps trying.
     */
    reconnect_attempt_failed_callback?: () => void;
    /**
     * Called when the connection is lost. The client reconnects, except after 'io server disconnect' and
     * 'io client disconnect' (`close`).
     */
    disconnected_callback?: (reason: string) => void;
    /** Called when the relay asks the page to reload; by default, the page reloads. */
    refresh_page_callback?: () => void;
    /** The path of the relay's Socket.IO endpoint; `/socket.io/` by default. */
    path?: string;
    /** The namespace; `/` by default. */
    nsp?: string;
  }

  /** What became of the messages that a client missed. */
  interface Recovery {
    /** Whether no message is missing. */
    recovered: boolean;
    /** How many of them follow. */
    missed: number;
    /** The rooms in which messages are missing; empty if `recovered`. */
    rooms: string[];
    /** The position: `since=ID` in the address continues after it. */
    id: string;
  }

  /** Why an attempt failed. `message` is for the page's developer. */
  interface ConnectError extends Error {
    /**
     * - `refused`: relay refuses the login; `message` is its text.
     * - `origin`: relay does not allow pages of this origin.
     * - `unreachable`: nobody answers at this address, or the browser does not let the page connect to it.
     * - `timeout`: no answer in time.
     * - `http`: relay, a proxy or another server answers with an error.
     * - `closed`: the connection was closed before the login was complete.
     * - `address`: the address is not valid, or the function of `init` or `jwt` returned nothing usable. The cause is its
     *   exception.
     */
    readonly reason: 'refused' | 'origin' | 'unreachable' | 'timeout' | 'http' | 'closed' | 'address';
    readonly cause?: unknown;
  }

  /** A message, as the members of a room receive it. */
  interface Message {
    source: string;
    /** The data that was sent: a string if it was posted to /api/notify as a form. Binary values are ArrayBuffers. */
    data: any;
    room_id: string;
    from_sys: boolean;
    /** Unique for each message. */
    id: string;
    filename?: string;
  }

  /** The part of socket.io's socket that the client supports. */
  interface Socket {
    /** The session's id at the relay, while connected. */
    readonly id: string | undefined;
    readonly connected: boolean;
    /** Sends an event. A function as the last argument is called with the acknowledgement. Queued while disconnected. */
    emit(event: string, ...args: unknown[]): this;
    on(event: 'connect' | 'refreshPage' | 'reconnect_failed', fn: () => void): this;
    on(event: 'disconnect' | 'sys_error', fn: (why: string) => void): this;
    on(event: 'connect_error', fn: (error: ConnectError) => void): this;
    on(event: 'newMsg', fn: (message: Message) => void): this;
    /** The login expires in so many seconds. The client renews it if `jwt` is a function. */
    on(event: 'expiring', fn: (its: { seconds: number; exp: number }) => void): this;
    on(event: 'recovery', fn: (recovery: Recovery) => void): this;
    /** Any other event. If the relay asks for an acknowledgement, the last argument is a function that sends it. */
    on(event: string, fn: (...args: any[]) => void): this;
    /** Removes one handler of an event, or all of them. */
    off(event: string, fn?: (...args: any[]) => void): this;
    /** Ends the session, as the client's `close()` does. */
    disconnect(): this;
  }
}
