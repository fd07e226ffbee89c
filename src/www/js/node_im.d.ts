// Types of relay's scripts for pages: node_im.min.js (XIN_NODE, NODE_IM) and md5.js.

/** The client. The documents call it XIN_NODE, the old file NODE_IM: it is one object. */
declare var XIN_NODE: NodeIm.Client;
/** The client, the same object as XIN_NODE. */
declare var NODE_IM: NodeIm.Client;

/** Lower-case hex of the MD5 of the text's UTF-8. What is no string is made one by String(). */
declare function md5(text: unknown): string;

declare namespace NodeIm {
  interface Client {
    /**
     * Connects and stays connected: it comes back by itself after a loss.
     *
     * @param url Where the relay is and who connects, say
     *   `https://host?source=…&room_ids=…&sign=…&userid=…&username=…&ext_info=…`. The query is passed on as it is, so its
     *   values must be escaped. Without a host it is the page's own; a path is ignored (see `Config.path`).
     * @returns The client; or false, and nothing is done, while an earlier session lives.
     */
    init(url: string, config?: Config): Client | false;
    /**
     * Sends a message to rooms: anything that JSON can hold, except null and "". While there is no connection it waits for
     * one, with at most 99 others; of more the oldest are dropped.
     *
     * @param room_ids A room, several with commas between them, or an array.
     * @returns false if it was neither sent nor kept: before `init` and after the end; and, said by `sys_error_callback`
     *   too, if it has no JSON or is bigger than the relay takes.
     */
    send_msg(data: unknown, room_ids: string | readonly string[]): boolean;
    /** Whether there is a connection now. */
    connected(): boolean;
    /** Ends the session for good; then `init` may be called again. */
    close(): void;
    /** The session's socket; null before the first `init`. Each `init` makes another. */
    readonly socket_local: Socket | null;
    /** Whether a message of source `remote_debug` is being handled right now: what is logged meanwhile is not sent there. */
    readonly debugging: boolean;
  }

  interface Config {
    /** A message came. */
    receive_message_callback?: (message: Message) => void;
    /** A connection is there, the first or another. */
    connected_callback?: (socket: Socket) => void;
    /** The relay refused something: the login, which ends the session, or a message, which does not. Its words. */
    sys_error_callback?: (err: string) => void;
    /** How many attempts in a row to connect again may fail before the session ends; 10. */
    max_attemptNumber?: number;
    /** That many have failed, and the session has ended. */
    reconnect_attempt_failed_callback?: () => void;
    /**
     * The connection is gone. After 'io server disconnect' and 'io client disconnect' (`close`) it stays so; otherwise it
     * is opened again.
     */
    disconnected_callback?: (reason: string) => void;
    /** The relay asks the page to load itself again; without this callback the page does. */
    refresh_page_callback?: () => void;
    /** Where the relay speaks Socket.IO; `/socket.io/`. */
    path?: string;
  }

  /** What a member of a room receives. */
  interface Message {
    source: string;
    /** What was sent: a string if it came by a form of /api/notify. Binary is in it as ArrayBuffer. */
    data: any;
    room_id: string;
    from_sys: boolean;
    /** One per message, never used twice. */
    id: string;
    filename?: string;
  }

  /** What pages use of a socket of socket.io. */
  interface Socket {
    /** The session's name at the relay, while connected. */
    readonly id: string | undefined;
    readonly connected: boolean;
    /** Sends an event. A function as the last argument gets the relay's answer. Without a connection it waits for one. */
    emit(event: string, ...args: unknown[]): this;
    on(event: 'connect' | 'refreshPage' | 'reconnect_failed', fn: () => void): this;
    on(event: 'disconnect' | 'sys_error', fn: (why: string) => void): this;
    on(event: 'connect_error', fn: (error: Error) => void): this;
    on(event: 'newMsg', fn: (message: Message) => void): this;
    /** Any other event. If the relay wants an answer, the last argument is a function that gives it. */
    on(event: string, fn: (...args: any[]) => void): this;
    /** Takes one handler away, or all of an event. */
    off(event: string, fn?: (...args: any[]) => void): this;
    /** The same as the client's `close()`. */
    disconnect(): this;
  }
}
