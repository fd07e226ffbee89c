'use strict'
// nginx in front of relay, with no more than what WebSockets need.

const { spawn } = require('node:child_process')
const { once } = require('node:events')
const fs = require('node:fs')
const path = require('node:path')

/**
 * Starts nginx with a server for each of `sites`: it listens at `listen` and passes to the port `target` on loopback; `more` are
 * directives. `directory` is for its files, and `prefix` is what its command begins with.
 */
function startNginx(directory, sites, prefix = []) {
  const server = ({ listen, target, more = '' }) => `
  server {
    listen ${listen};
    client_max_body_size 2m;
    location / {
      proxy_pass http://127.0.0.1:${target};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Host $host;
      ${more}
    }
  }`
  const file = path.join(directory, 'nginx.conf')
  fs.writeFileSync(file, `
daemon off; master_process off; pid ${directory}/nginx.pid; error_log ${directory}/error.log; events { worker_connections 1024; }
http {
  access_log off; client_body_temp_path ${directory}/body; proxy_temp_path ${directory}/proxy; fastcgi_temp_path ${directory}/f;
  uwsgi_temp_path ${directory}/u; scgi_temp_path ${directory}/s;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }${sites.map(server).join('')}
}
`)
  const [program, ...words] = [...prefix, '/usr/sbin/nginx', '-c', file, '-e', path.join(directory, 'error.log')]
  const child = spawn(program, words, { stdio: 'inherit' })
  const ended = once(child, 'exit')
  return { stop: () => { child.kill(); return ended } }
}

module.exports = { startNginx }
