'use strict';
// Watches under test: what an app was told, and when; and a door to one node at a time, as a load balancer has it.

const net = require('node:net');
const test = require('node:test');
const { packages } = require('./cluster');

// Node.js 20 has no WebSocket of its own.
globalThis.WebSocket = packages('ws');
// The packages narrate each step of a watch.
if (!process.env.YUNBASE_TEST_VERBOSE) console.log = console.warn = console.error = () => {};
// Beside telling the app of a watch that failed they reject a promise that nobody holds.
test.before(() => {
  const judges = process.listeners('unhandledRejection');
  process.removeAllListeners('unhandledRejection');
  process.on('unhandledRejection', (reason, promise) => {
    if (!/^Watch Error /.test(reason?.message)) for (const judge of judges) judge(reason, promise);
  });
});

// Watches that were closed leave timers behind that start themselves anew and would keep this process from ending.
const { setTimeout: start } = globalThis;
globalThis.setTimeout = (work, milliseconds, ...words) => {
  const timer = start(work, milliseconds, ...words);
  return milliseconds >= 5000 ? timer.unref() : timer;
};

/** A watch with everything that it was told. */
class Watch {
  constructor(query) {
    this.snapshots = [];
    this.errors = [];
    this.waiting = [];
    const tell = () => { for (const check of [...this.waiting]) check(); };
    this.listener = query.watch({
      onChange: (snapshot) => { this.snapshots.push(snapshot); tell(); },
      onError: (error) => { this.errors.push(error); tell(); },
    });
  }

  get last() { return this.snapshots.at(-1); }
  get docs() { return this.last ? this.last.docs : []; }

  /** Waits until `holds`. */
  until(what, holds, milliseconds = 20000) {
    return new Promise((resolve, reject) => {
      const end = (settle, value) => {
        clearTimeout(timer);
        this.waiting = this.waiting.filter((one) => one !== check);
        settle(value);
      };
      const check = () => {
        if (holds(this)) end(resolve, this.last);
        else if (this.errors.length && what !== 'an error') end(reject, new Error(`while waiting for ${what}: ${describe(this.errors[0])}`));
      };
      const timer = setTimeout(() => end(reject, new Error(`${what} did not come; last: ${JSON.stringify(this.last)}`)), milliseconds);
      this.waiting.push(check);
      check();
    });
  }

  close() { return this.listener.close(); }
}

const describe = (error) => `${error.message || ''} ${JSON.stringify(error)}`;

/** A TCP port that leads to the node it was last pointed at. */
class Door {
  static async open(target) {
    const door = new Door();
    door.connections = new Set();
    door.target = target;
    door.server = net.createServer((client) => {
      const [host, port] = door.target.split(':');
      const node = net.connect(Number(port), host);
      door.connections.add(client);
      client.on('close', () => door.connections.delete(client));
      for (const [from, to] of [[client, node], [node, client]]) {
        from.on('error', () => to.destroy());
        from.on('close', () => to.destroy());
        from.pipe(to);
      }
    });
    await new Promise((resolve) => door.server.listen(0, '127.0.0.1', resolve));
    door.host = `127.0.0.1:${door.server.address().port}`;
    return door;
  }

  /** Ends all connections, as a lost network does. */
  cut() { for (const connection of this.connections) connection.destroy(); }

  close() {
    this.server.close();
    this.cut();
  }
}

module.exports = { Door, Watch, describe };
